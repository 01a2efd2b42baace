//! A reader who follows a page: writes its files, types its commands, compares what they print.
//!
//! Everything happens in a folder of its own, with a state root of its own, as an ordinary user:
//! PostgreSQL's programs refuse to run as root, and the pages use them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rpitr::postgres::{self, Lookup};
use rpitr::runtime::ServerUser;

use crate::common::{Bench, Finished};
use crate::page::{self, Act};
use crate::shown;

struct Reader {
    bench: Bench,
    user: ServerUser,
    folder: PathBuf,
    path: String,
    /// What the page has set so far: `NAME=value`.
    variables: BTreeMap<String, String>,
}

impl Reader {
    fn new() -> Self {
        let mut bench = Bench::new();
        let user = ServerUser::from_env().unwrap();
        let (folder, programs) = (bench.dir().join("page"), bench.dir().join("bin"));
        for made in [&folder, &programs] {
            fs::create_dir(made).unwrap();
            user.own(made).unwrap();
        }
        let copy = programs.join("rpitr");
        fs::copy(&bench.program, &copy).unwrap();
        bench.program = copy;
        bench.state = folder.join("state");
        let postgres = postgres::pick(&Lookup::from_env(), None).unwrap().bin_dir;
        let before = std::env::var("PATH").unwrap();
        Reader {
            path: format!("{}:{}:{before}", programs.display(), postgres.display()),
            bench,
            user,
            folder,
            variables: BTreeMap::new(),
        }
    }

    fn type_in(&self, line: &str) -> Finished {
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env("HOME", &self.folder)
            .env("RPITR_STATE", &self.bench.state)
            .env("NO_COLOR", "1")
            .env("PGTZ", "UTC")
            .env("LC_ALL", "C")
            .env_remove("RPITR_RUNTIME")
            .envs(&self.variables);
        self.user.apply(&mut command);
        self.bench.spawn(command).finish()
    }

    /// `NAME=value`, which later commands see.
    fn assign(&mut self, name: &str, line: &str) {
        let run = self.type_in(&format!("{line}\nprintf %s \"${name}\""));
        run.expect(0);
        assert!(!run.stdout.is_empty(), "{line} sets nothing");
        self.variables.insert(name.to_string(), run.stdout);
    }
}

/// The name in `NAME=value`.
fn assigned(line: &str) -> Option<&str> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, _) = line.split_once('=')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    is_name.then_some(name)
}

/// A target of the Makefile is compared, not made: it would build rpitr inside of its own tests.
fn check_make(place: &str, line: &str) {
    let makefile = fs::read_to_string("Makefile").unwrap();
    for target in line
        .split_whitespace()
        .skip(1)
        .take_while(|word| !word.starts_with('#'))
    {
        let rule = format!("\n{target}:");
        assert!(
            makefile.contains(&rule),
            "{place}: the Makefile has no target {target}"
        );
    }
}

/// Does what a page, or a section of it, says; fails where the page is wrong.
pub fn follow(path: &Path, section: &str) {
    let mut reader = Reader::new();
    for act in page::acts(path, section) {
        let command = match act {
            Act::Write { name, text } => {
                fs::write(reader.folder.join(&name), text).unwrap();
                continue;
            }
            Act::Run(command) => command,
        };
        let place = format!("{}:{}", path.display(), command.line);
        if command.text.starts_with("make ") {
            check_make(&place, &command.text);
            continue;
        }
        if let Some(name) = assigned(&command.text) {
            reader.assign(name, &command.text);
            continue;
        }
        let began = Instant::now();
        let run = reader.type_in(&format!("exec 2>&1\n{}", command.text));
        eprintln!(
            "{place}: {:.2} s: {}",
            began.elapsed().as_secs_f64(),
            command.text
        );
        assert_eq!(
            run.code,
            Some(command.exit_code),
            "{place}: exit code of {}\n{}",
            command.text,
            run.stdout
        );
        if let Some(line) = shown::missing(&command.shown, &run.stdout) {
            panic!(
                "{place}: {}\ndoes not print, in this order,\n{line}\nbut\n{}",
                command.text, run.stdout
            );
        }
    }
    reader.bench.assert_clean(&[]);
}
