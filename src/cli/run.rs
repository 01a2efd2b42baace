//! `rpitr FILE`: from arguments to an exit code.

use std::ffi::OsString;
use std::io::{IsTerminal, Read};
use std::path::Path;

use clap::{CommandFactory, FromArgMatches, Parser};

use super::args::{
    Chaos, ChaosCommand, Cli, Command, Global, LabCommand, ReportCommand, command_names,
    global_flags, has_help, split_trailing,
};
use super::wal::WalCommand;
use super::{archive, chaos, check, doc, inspect, lab, new, report, setup, test, verify, wal};
use crate::engine::{
    Program, RunOptions, Source, find_script, find_script_or, run as run_engine, show_failure,
};
use crate::exit;
use crate::failure::{Failure, Kind};
use crate::runtime::{heed_supervisor, supervised_for};

/// The whole program. The archive commands come first: a server runs them for every segment, so
/// they must not pay for a command line grammar or a Lua state.
pub fn run(arguments: &[OsString]) -> i32 {
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("archive-push") => return archive::push_main(&arguments[2..]),
        Some("archive-fetch") => return archive::fetch_main(&arguments[2..]),
        Some("__guard") => return crate::chaos::guard_main(&arguments[2..]),
        _ => {}
    }
    if !heed_supervisor() {
        return exit::INTERNAL;
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let global = cli.global;
    if global.dry_run && cli.eval.is_none() && cli.command.as_ref().is_some_and(acts) {
        return no_dry_run();
    }
    if let Some(code) = cli.eval {
        let source = Source {
            name: "command line".into(),
            text: code,
            folder: None,
        };
        return start(&global, Program::Run, &source, &[]);
    }
    match cli.command {
        None => {
            // Without a command there is nothing to do but say what can be done.
            let _ = Cli::command().print_help();
            exit::USAGE
        }
        Some(Command::List) => inspect::list(),
        Some(Command::Help { file: None }) => {
            let _ = Cli::command().print_help();
            exit::PASS
        }
        Some(Command::Help { file: Some(name) }) if has_help(&name) => {
            match Cli::try_parse_from(["rpitr", &name, "--help"]) {
                Ok(_) => exit::USAGE,
                Err(help) => usage(&help),
            }
        }
        Some(Command::Help { file: Some(file) }) => with_script(&global, &file, &[], |source| {
            start(&global, Program::Help, source, &[])
        }),
        Some(Command::Check { files, json }) => check::check(&global, &files, json),
        Some(Command::New { name, kind }) => new::new(&name, kind)
            .unwrap_or_else(|failure| show_failure(&failure, global.color, global.error_format)),
        Some(Command::Setup { dir }) => setup::setup(&global, &dir)
            .unwrap_or_else(|failure| show_failure(&failure, global.color, global.error_format)),
        Some(Command::Repl { attach, load }) => repl(&global, attach, load),
        Some(Command::Lab(command)) => lab::run(&command, &global),
        Some(Command::Chaos { arguments }) => chaos_with(arguments, &global),
        Some(Command::Wal(command)) => wal::run(&command, &global),
        Some(Command::Report(command)) => report::report(&command)
            .unwrap_or_else(|failure| show_failure(&failure, global.color, global.error_format)),
        Some(Command::Doc { name, markdown }) => {
            doc::doc(&global, name.as_deref(), markdown.as_deref())
        }
        Some(Command::Completions { shell }) => inspect::completions(shell),
        Some(Command::Man) => inspect::manual(),
        Some(Command::Test { paths, only }) => test::test(&global, &paths, only),
        Some(Command::Verify { dir, json }) => verify::verify(&global, &dir, json),
        Some(Command::Run { file, arguments }) => file_with(arguments, &file, &global),
        Some(Command::File(words)) => match words.split_first() {
            Some((file, arguments)) => {
                file_or_command(arguments.to_vec(), file, &command_names(), &global)
            }
            None => exit::USAGE,
        },
    }
}

fn no_dry_run() -> i32 {
    usage(&Cli::command().error(
        clap::error::ErrorKind::ArgumentConflict,
        "--dry-run is for drills: this command cannot say what it would do",
    ))
}

/// Whether a command changes something, and is no drill, which knows `--dry-run` itself.
fn acts(command: &Command) -> bool {
    match command {
        Command::Lab(LabCommand::Ls { .. } | LabCommand::Logs { .. }) => false,
        Command::Wal(WalCommand::Watch(_) | WalCommand::Snapshot(_)) => true,
        Command::Report(ReportCommand::Render { .. }) => true,
        Command::Lab(_)
        | Command::Repl { .. }
        | Command::New { .. }
        | Command::Setup { .. }
        | Command::Test { .. } => true,
        _ => false,
    }
}

fn file_with(arguments: Vec<String>, file: &str, global: &Global) -> i32 {
    file_or_command(arguments, file, &[], global)
}

/// A script; `commands` are what else its name could have been meant to be.
fn file_or_command(
    arguments: Vec<String>,
    file: &str,
    commands: &[String],
    global: &Global,
) -> i32 {
    let (ours, theirs) = split_trailing(&arguments);
    let global = match merge(global, &ours) {
        Ok(global) => global,
        Err(error) => return usage(&error),
    };
    with_script(&global, file, commands, |source| {
        let help = theirs
            .iter()
            .any(|argument| argument == "--help" || argument == "-h");
        start(
            &global,
            if help { Program::Help } else { Program::Run },
            source,
            &theirs,
        )
    })
}

/// `rpitr chaos ...` is a drill, unless its first word is a command.
fn chaos_with(arguments: Vec<String>, global: &Global) -> i32 {
    let word = arguments.first().map(String::as_str);
    if !matches!(word, Some("heal" | "replay" | "resume")) {
        return file_with(arguments, "chaos", global);
    }
    let (ours, theirs) = split_trailing(&arguments);
    let parsed = merge(global, &ours).and_then(|global| {
        let words = std::iter::once("rpitr chaos".to_string()).chain(theirs);
        Ok((global, Chaos::try_parse_from(words)?.command))
    });
    match parsed {
        Err(error) => usage(&error),
        Ok((global, ChaosCommand::Replay { dir, arguments })) => {
            drill_on("--replay", &dir, arguments, &global)
        }
        Ok((global, ChaosCommand::Resume { dir, arguments })) => {
            drill_on("--resume", &dir, arguments, &global)
        }
        Ok((global, ChaosCommand::Heal { .. })) if global.dry_run => no_dry_run(),
        Ok((global, ChaosCommand::Heal { journal })) => chaos::heal(&global, journal.as_deref()),
    }
}

/// The drill `chaos` with a bundle.
fn drill_on(flag: &str, bundle: &Path, arguments: Vec<String>, global: &Global) -> i32 {
    let given = [flag.to_string(), bundle.display().to_string()];
    file_with(
        given.into_iter().chain(arguments).collect(),
        "chaos",
        global,
    )
}

/// Options after the script's name win over those before it.
fn merge(before: &Global, after: &[String]) -> Result<Global, clap::Error> {
    let matches = Cli::command().try_get_matches_from(after)?;
    let mut merged = before.clone();
    let given = matches
        .ids()
        .filter(|id| {
            matches.value_source(id.as_str()) == Some(clap::parser::ValueSource::CommandLine)
        })
        .count();
    if given > 0 {
        // Only what was written on the command line may replace what stood before.
        let parsed = Global::from_arg_matches(&matches)?;
        let set =
            |id: &str| matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine);
        if set("runtime") {
            merged.runtime = parsed.runtime;
        }
        if set("standing") {
            merged.lab = parsed.lab;
        }
        if set("keep") {
            merged.keep = parsed.keep;
        }
        if set("seed") {
            merged.seed = parsed.seed;
        }
        if set("timeout") {
            merged.timeout = parsed.timeout;
        }
        if set("report") {
            merged.report = parsed.report;
        }
        if set("color") {
            merged.color = parsed.color;
        }
        if set("error_format") {
            merged.error_format = parsed.error_format;
        }
        merged.trace |= parsed.trace;
        merged.dry_run |= parsed.dry_run;
        merged.yes |= parsed.yes;
        merged.quiet |= parsed.quiet;
    }
    Ok(merged)
}

fn repl(global: &Global, attach: Option<String>, load: Option<String>) -> i32 {
    let source = Source {
        name: "session".into(),
        text: String::new(),
        folder: Some(".".into()),
    };
    let arguments = [attach.unwrap_or_default(), load.unwrap_or_default()];
    start(global, Program::Repl, &source, &arguments)
}

fn with_script(
    global: &Global,
    file: &str,
    commands: &[String],
    action: impl FnOnce(&Source) -> i32,
) -> i32 {
    let found = match file {
        "-" => standard_input(),
        name => find_script_or(name, commands),
    };
    match found {
        Ok(source) => action(&source),
        Err(failure) => show_failure(&failure, global.color, global.error_format),
    }
}

/// A script by its name, or standard input as `-`.
pub(super) fn source(file: &str) -> Result<Source, Failure> {
    if file == "-" {
        standard_input()
    } else {
        find_script(file)
    }
}

fn standard_input() -> Result<Source, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(Kind::Io, format!("cannot read standard input: {error}")))?;
    Ok(Source {
        name: "standard input".into(),
        text,
        folder: None,
    })
}

fn start(global: &Global, program: Program, source: &Source, arguments: &[String]) -> i32 {
    run_engine(options(global), program, source, arguments).code
}

pub(super) fn options(global: &Global) -> RunOptions {
    RunOptions {
        // Beside an environment everything is in containers.
        runtime: match &global.lab {
            Some(_) => "docker".into(),
            None => global.runtime.clone(),
        },
        lab: global.lab.clone(),
        keep: global.keep,
        seed: global
            .seed
            .unwrap_or_else(|| u64::from(rand::random::<u32>())),
        run_id: format!("{:08x}", rand::random::<u32>()),
        timeout: global.timeout,
        spent: supervised_for(),
        report: global.report.clone(),
        trace: global.trace,
        dry_run: global.dry_run,
        quiet: global.quiet,
        yes: global.yes,
        color: global.color,
        error_format: global.error_format,
        inspecting: false,
        interactive: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        global_flags: global_flags(),
    }
}

fn usage(error: &clap::Error) -> i32 {
    let _ = error.print();
    if error.use_stderr() {
        exit::USAGE
    } else {
        exit::PASS
    }
}
