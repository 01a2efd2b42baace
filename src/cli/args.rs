//! The command line's grammar. Global options may stand before or after the script's name.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

use super::new::ScriptKind;
use super::wal::WalCommand;
use crate::engine::{ErrorFormat, Keep};
use crate::report::ColorChoice;

/// PostgreSQL recovery that can be proved: drills, point-in-time recovery, faults, verification.
#[derive(Debug, Parser)]
#[command(
    name = "rpitr",
    version,
    disable_help_subcommand = true,
    subcommand_value_name = "FILE|COMMAND",
    override_usage = "rpitr [OPTIONS] FILE [ARGUMENTS]\n       rpitr [OPTIONS] COMMAND",
    after_help = "rpitr help FILE shows what a drill does and its arguments. \
                  Exit codes: 0 pass, 2 usage, 10 a check failed, 11 script error, 12 environment, \
                  13 deadline, 14 cleanup incomplete, 130 interrupted."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,

    /// Run CODE instead of a file
    #[arg(short = 'e', long = "eval", value_name = "CODE")]
    pub eval: Option<String>,

    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options for every command")]
pub struct Global {
    /// Where labs run: local (plain processes) or docker (containers)
    #[arg(global = true, long, env = "RPITR_RUNTIME", default_value = "local", value_parser = ["local", "docker"])]
    pub runtime: String,
    /// Run against a standing environment (rpitr lab up NAME) instead of a lab of the script's own
    #[arg(id = "standing", global = true, long = "lab", value_name = "NAME", value_parser = ["recovery", "pitr"])]
    pub lab: Option<String>,
    /// Keep labs after the run: always, or only when it failed
    #[arg(global = true, long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always", default_value = "never")]
    pub keep: Keep,
    /// Seed of everything random in the run
    #[arg(global = true, long, value_name = "N")]
    pub seed: Option<u64>,
    /// Deadline of the whole run, such as 90s or 10m
    #[arg(global = true, long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Write the reports of a drill into this folder: HTML, JSON, JUnit, Prometheus, a checklist
    #[arg(global = true, long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Show every frame of an error
    #[arg(global = true, long, action = ArgAction::SetTrue)]
    pub trace: bool,
    /// Show what a drill would do, start nothing
    #[arg(global = true, long, action = ArgAction::SetTrue)]
    pub dry_run: bool,
    /// Do not ask, assume yes
    #[arg(global = true, long, action = ArgAction::SetTrue)]
    pub yes: bool,
    /// Colours
    #[arg(global = true, long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// How errors are printed
    #[arg(global = true, long, value_name = "FORMAT", default_value = "human")]
    pub error_format: ErrorFormat,
    /// Results only, no narration
    #[arg(global = true, long, short, action = ArgAction::SetTrue)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a script or drill (the word run may be left out)
    Run {
        file: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// List the drills and scripts that come with rpitr
    List,
    /// Show what a drill does and the arguments it takes
    Help { file: Option<String> },
    /// Check scripts without starting anything: syntax, headers, names, options, values
    Check {
        #[arg(required = true)]
        files: Vec<String>,
        /// One finding a line, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a first script of your own: a drill that runs, with comments that teach
    New {
        /// Its name, or a path: NAME.lua is written (a test: NAME_test.lua)
        name: String,
        #[arg(long, value_enum, default_value_t)]
        kind: ScriptKind,
    },
    /// Write into a project what an editor needs to complete and check scripts: .luarc.json and stubs
    Setup {
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// An interactive session: Lua with everything loaded, on a lab
    Repl {
        /// A lab to attach to; rpitr lab ls lists them
        #[arg(long, value_name = "LAB")]
        attach: Option<String>,
        /// Run this file first
        #[arg(long, short = 'l', value_name = "FILE")]
        load: Option<String>,
    },
    /// Labs that exist, and standing environments: list, logs, psql, stop, start, remove, up, down
    #[command(subcommand)]
    Lab(LabCommand),
    /// The chaos drill; also `chaos heal`: heal what a run left behind, `chaos replay DIR`: repeat a schedule,
    /// `chaos resume DIR`: go on with a run that was killed
    #[command(disable_help_flag = true)]
    Chaos {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Read WAL: list, count, verify, commits, incidents, timelines
    #[command(subcommand)]
    Wal(WalCommand),
    /// Judge a finished chaos or stress run again, from its bundle alone
    Verify {
        /// The bundle: the folder the run wrote
        dir: PathBuf,
        /// The verdict as JSON
        #[arg(long)]
        json: bool,
    },
    /// Reports of runs: compare two, see how a drill develops
    #[command(subcommand)]
    Report(ReportCommand),
    /// The reference: every module, or one module, function, method or option
    Doc {
        /// pitr, pitr.restore, node:stop, pitr.restore.to
        name: Option<String>,
        /// Write the reference as Markdown pages into this folder
        #[arg(long, value_name = "DIR", conflicts_with = "name")]
        markdown: Option<PathBuf>,
    },
    /// Print the completions of a shell: bash, zsh, fish, elvish, powershell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page
    Man,
    /// Run the Lua tests (*_test.lua) in these files and folders
    Test {
        #[arg(default_value = "tests/lua")]
        paths: Vec<PathBuf>,
        /// Only tests whose "file: name" contains TEXT
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
    },
    #[command(external_subcommand)]
    File(Vec<String>),
}

#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// What differs between two runs; exit code 10 when something got worse
    Diff {
        /// A folder given with --report, or its report.json
        before: PathBuf,
        after: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// The recovery times of a drill's runs on this machine
    Trend {
        /// Default: every drill
        drill: Option<String>,
        /// How many runs
        #[arg(long, default_value_t = 20)]
        last: usize,
        /// As JSON, one run a line
        #[arg(long)]
        json: bool,
    },
    /// Make the other files again from report.json
    Render { folder: PathBuf },
}

#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// List labs and their nodes
    Ls {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a node's server log
    Logs {
        lab: String,
        /// Default: every node
        node: Option<String>,
    },
    /// Open psql on a node
    Psql {
        lab: String,
        /// Default: the first node
        node: Option<String>,
        /// Passed on to psql
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Stop the servers of a lab or an environment
    Stop { lab: String },
    /// Start the servers of a lab or an environment
    Start { lab: String },
    /// Bring up a standing environment: recovery or pitr
    Up {
        environment: String,
        /// What it may take until everything is ready
        #[arg(long, value_parser = duration, default_value = "5m")]
        wait: Duration,
    },
    /// Remove the containers and networks of an environment
    Down {
        environment: String,
        /// The data and the archive, too
        #[arg(long)]
        volumes: bool,
    },
    /// Show the containers of an environment
    Ps { environment: String },
    /// Check directories, tables, slots, replication and archiving of an environment
    Check { environment: String },
    /// Stop and start one container of an environment
    Restart {
        environment: String,
        service: String,
    },
    /// Remove an environment with its data and make it anew
    Rebuild {
        environment: String,
        #[arg(long, value_parser = duration, default_value = "5m")]
        wait: Duration,
    },
    /// Promote a standby of an environment
    Promote {
        environment: String,
        service: String,
    },
    /// Remove labs: their servers and files
    Rm {
        #[arg(required = true)]
        labs: Vec<String>,
    },
    /// Remove what dead runs left behind
    Gc {
        /// Labs that were kept, too
        #[arg(long)]
        all: bool,
        /// Only labs at least this old, such as 30m
        #[arg(long, value_parser = duration)]
        older: Option<Duration>,
    },
}

/// What `rpitr chaos` does besides running the drill of that name.
#[derive(Debug, Parser)]
#[command(name = "rpitr chaos", disable_help_subcommand = true)]
pub struct Chaos {
    #[command(subcommand)]
    pub command: ChaosCommand,
}

#[derive(Debug, Subcommand)]
pub enum ChaosCommand {
    /// Undo the faults of runs that are over
    Heal {
        /// Only those of this journal, also while its run goes on
        #[arg(long, value_name = "FILE")]
        journal: Option<PathBuf>,
    },
    /// Go on with a run that was killed, on the lab it left
    Resume {
        /// The bundle: the folder the run wrote
        dir: PathBuf,
        /// Arguments of the drill
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the schedule of a bundle again, on a new lab
    Replay {
        /// The bundle: the folder the run wrote
        dir: PathBuf,
        /// Arguments of the drill
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// A number with a unit: `250ms`, `90s`, `10m`, `2h`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("\"{unit}\" is not a unit; use ms, s, m or h")),
    };
    match number.parse::<f64>() {
        Ok(value) => Ok(Duration::from_secs_f64((value * factor).min(1e9))),
        Err(_) => Err("write a duration like 90s or 10m".into()),
    }
}

/// Splits what follows a script's name into global options and the script's own arguments. The
/// global options are read from clap's definition, so there is one list of them. Everything after
/// `--` is the script's.
pub fn split_trailing(arguments: &[String]) -> (Vec<String>, Vec<String>) {
    let grammar = Cli::command();
    let global = |name: &str| {
        grammar
            .get_arguments()
            .filter(|argument| argument.get_id() != "eval")
            .find(|argument| argument.get_long() == Some(name))
    };
    let is_short = |flag: &str| {
        let mut letters = flag.strip_prefix('-').unwrap_or_default().chars();
        let only = (letters.next(), letters.next());
        matches!(only, (Some(letter), None) if letter != 'e'
            && grammar.get_arguments().any(|argument| argument.get_short() == Some(letter)))
    };
    let (mut ours, mut theirs) = (vec!["rpitr".to_string()], Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            theirs.extend(rest.cloned());
            break;
        }
        let found = argument.strip_prefix("--").and_then(|flag| {
            let (name, value) = flag
                .split_once('=')
                .map_or((flag, None), |(name, value)| (name, Some(value)));
            global(name).map(|definition| (definition, value))
        });
        match found {
            None if is_short(argument) => ours.push(argument.clone()),
            None => theirs.push(argument.clone()),
            Some((definition, value)) => {
                ours.push(argument.clone());
                let takes_next =
                    definition.get_action().takes_values() && !definition.is_require_equals_set();
                if value.is_none() && takes_next {
                    ours.extend(rest.next().cloned());
                }
            }
        }
    }
    (ours, theirs)
}

/// The long names of the global options, for suggestions.
pub fn global_flags() -> Vec<String> {
    let grammar = Cli::command();
    grammar
        .get_arguments()
        .filter_map(|argument| argument.get_long())
        .map(str::to_string)
        .collect()
}

/// The names of the commands, for suggestions.
pub fn command_names() -> Vec<String> {
    let grammar = Cli::command();
    let names = grammar.get_subcommands().map(|command| command.get_name());
    names.map(str::to_string).collect()
}

/// Whether a name is a command with a help of its own. The drill that is also a command has a drill's help.
pub fn has_help(name: &str) -> bool {
    let grammar = Cli::command();
    let found = grammar.find_subcommand(name);
    found.is_some_and(|command| !command.is_disable_help_flag_set())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> (String, String) {
        let words: Vec<String> = line.split(' ').map(str::to_string).collect();
        let (ours, theirs) = split_trailing(&words);
        (ours[1..].join(" "), theirs.join(" "))
    }

    #[test]
    fn globals_are_found_among_script_arguments() {
        assert_eq!(
            split("--rows 5 --report out --keep --to x --timeout=9s"),
            (
                "--report out --keep --timeout=9s".into(),
                "--rows 5 --to x".into()
            )
        );
        assert_eq!(
            split("--keep=failed -- --report x"),
            ("--keep=failed".into(), "--report x".into())
        );
    }

    #[test]
    fn durations() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("5 parsecs").is_err());
        assert!(duration("").is_err());
    }

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }
}
