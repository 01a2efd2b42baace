//! The documentation does what it says: every command shown is run, every output shown is printed,
//! every error text quoted is in the sources. A block that is not run says why.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;
mod page;
mod reader;
mod shown;
mod texts;

use std::fs;
use std::path::Path;

use page::Mark;

/// One test for each page with commands, or for each part of a long one, so that they run beside each
/// other. A part is the sections whose heading begins with the given text.
macro_rules! pages {
    ($($name:ident: $path:literal $(/ $section:literal)?),* $(,)?) => {
        $(#[test] fn $name() { reader::follow(Path::new($path), concat!($($section)?)); })*

        #[test]
        fn no_command_is_forgotten() {
            let followed = [$(($path, concat!($($section)?))),*];
            for path in page::all() {
                let commands = |section: &str| {
                    let acts = page::acts(&path, section);
                    acts.iter().filter(|act| matches!(act, page::Act::Run(_))).count()
                };
                let parts = followed.iter().filter(|(of, _)| Path::new(of) == path);
                let followed: usize = parts.map(|(_, section)| commands(section)).sum();
                assert_eq!(followed, commands(""), "{}: commands nobody runs", path.display());
            }
        }
    };
}

pages! {
    readme: "README.md",
    getting_started: "docs/getting-started.md",
    writing_drills: "docs/writing-drills.md",
    course_lag: "docs/course.md" / "## 1. ",
    course_pitr: "docs/course.md" / "## 2. ",
    course_full_recovery: "docs/course.md" / "## 3. ",
    course_naive_copy: "docs/course.md" / "## 4. ",
    course_replication_lag: "docs/course.md" / "## 5. ",
    course_wal_capture: "docs/course.md" / "## 6. ",
    course_restore: "docs/course.md" / "## 7. ",
    course_stress: "docs/course.md" / "## 8. ",
    course_chaos: "docs/course.md" / "## 9. ",
    operating_pitr: "docs/operating-pitr.md",
    troubleshooting: "docs/troubleshooting.md",
    wal: "docs/wal.md",
    reports: "docs/reports.md",
}

/// Files that a reason names exist, and hold the words of the commands: what one says is run elsewhere is.
fn check_runs_elsewhere(place: &str, reason: &str, block: &page::Block) {
    let named = reason
        .split_whitespace()
        .map(|word| word.trim_end_matches([',', '.', ';']));
    let files: Vec<&str> = named
        .filter(|word| word.starts_with("tests/") || word.starts_with("docs/"))
        .collect();
    let read = |file: &&str| {
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{place}: {file}: {error}"))
    };
    let text: String = files.iter().map(read).collect();
    if files.is_empty() {
        return;
    }
    for command in block.commands() {
        let typed = command.text.split('#').next().unwrap();
        let Some(arguments) = typed.strip_prefix("rpitr ") else {
            continue;
        };
        let plain = |word: &&str| {
            word.chars()
                .all(|c| c.is_ascii_lowercase() || c == '_' || c == '-')
        };
        for word in arguments.split_whitespace().filter(plain) {
            assert!(
                text.contains(word),
                "{place}: {} is not run by {files:?}: {word}",
                command.text
            );
        }
    }
}

/// Every exemption has a reason, and a test it names exists. The count is printed.
#[test]
fn what_is_not_run_says_why() {
    let (mut run, mut not_run) = (0, Vec::new());
    for path in page::all() {
        for block in page::blocks(&path) {
            let place = format!("{}:{}", path.display(), block.line);
            match &block.mark {
                Mark::NotRun(reason) => {
                    assert!(block.has_commands(), "{place}: there is nothing to run");
                    assert!(reason.len() > 10, "{place}: say why it is not run");
                    check_runs_elsewhere(&place, reason, &block);
                    not_run.extend(
                        block
                            .commands()
                            .iter()
                            .map(|command| format!("{place}: {}: {reason}", command.text)),
                    );
                }
                _ if block.has_commands() => run += block.commands().len(),
                _ => {}
            }
        }
    }
    eprintln!(
        "{run} commands are run, {} are not:\n{}",
        not_run.len(),
        not_run.join("\n")
    );
    assert!(
        run > not_run.len(),
        "{run} commands are run, {} are not",
        not_run.len()
    );
}

/// A command in a block of plain text would be run by nobody.
#[test]
fn commands_stand_in_blocks_that_are_run() {
    for path in page::all() {
        for block in page::blocks(&path) {
            if block.has_commands() || matches!(block.mark, Mark::File(_)) {
                continue;
            }
            let hidden = block.lines.iter().find(|line| {
                let line = line.trim_start();
                line.starts_with("$ ") || line.starts_with("rpitr ") || line.starts_with("docker ")
            });
            assert!(
                hidden.is_none(),
                "{}:{}: {:?} is a command in a block of {:?}",
                path.display(),
                block.line,
                hidden.unwrap(),
                block.language
            );
        }
    }
}

/// The exit codes of the sources, by name and number, as the documentation lists them.
#[test]
fn exit_codes_are_documented() {
    let source = fs::read_to_string("src/exit.rs").unwrap();
    let errors = fs::read_to_string("docs/errors.md").unwrap();
    let mut codes = 0;
    for line in source.lines().filter(|line| line.starts_with("pub const ")) {
        let number = line.split_once('=').unwrap().1.trim().trim_end_matches(';');
        assert!(
            errors.contains(&format!("\n| {number} |")),
            "docs/errors.md does not list {line}"
        );
        codes += 1;
    }
    let listed = errors.lines().filter(|line| {
        let cell = line.split('|').nth(1).unwrap_or_default().trim();
        !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit())
    });
    assert_eq!(
        listed.count(),
        codes,
        "docs/errors.md lists codes that do not exist"
    );
}

/// Every command and option of the program stands in `docs/command-line.md`, and in `rpitr --help` what stands there.
#[test]
fn commands_and_options_are_documented() {
    let page = fs::read_to_string("docs/command-line.md").unwrap();
    let bench = common::Bench::new();
    let help = bench.run(&["--help"]).stdout;
    let section = |title: &str| {
        let rest = help.split_once(title).unwrap().1;
        rest.split("\n\n").next().unwrap().to_string()
    };
    let commands = section("\nCommands:\n");
    let options = section("\nOptions for every command:\n");
    for line in commands.lines().chain(options.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let long = words.iter().find(|word| word.starts_with("--"));
        let Some(name) = long.or(words.first()) else {
            continue;
        };
        let name = name.split(['[', '=']).next().unwrap();
        let known = page.contains(&format!("`{name}")) || page.contains(&format!("`rpitr {name}"));
        assert!(
            known,
            "docs/command-line.md says nothing of {name}:\n{line}"
        );
    }
    let each = commands
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let all: String = each
        .map(|command| bench.run(&[command, "--help"]).stdout)
        .collect();
    let words = page.split([' ', '`', '[', '\n']);
    for flag in words.filter_map(|word| word.strip_prefix("--")) {
        let flag = flag
            .split(|c: char| !c.is_ascii_lowercase() && c != '-')
            .next()
            .unwrap();
        let option = format!("--{flag}");
        let known = flag == "args" || help.contains(&option) || all.contains(&option);
        assert!(
            known,
            "docs/command-line.md tells of --{flag}, which does not exist"
        );
    }
}
