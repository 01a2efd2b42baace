//! `rpitr list`: what comes with the binary; shell completions and the manual page.

use std::io::Write;

use clap::CommandFactory;

use super::args::Cli;
use crate::engine::scripts;
use crate::exit;

/// One line for each embedded script: its name and the first sentence of its opening comment.
pub fn list() -> i32 {
    let entries: Vec<(&str, &str)> = scripts()
        .filter(|(path, _)| !path.contains('/'))
        .map(|(path, source)| (path.trim_end_matches(".lua"), summary(source)))
        .collect();
    let width = entries
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    for (name, summary) in entries {
        outln!("{name:width$}  {summary}");
    }
    exit::PASS
}

fn summary(source: &str) -> &str {
    source
        .lines()
        .map(|line| line.trim_start_matches('-').trim())
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}

/// What a shell sources to complete the command line. The grammar knows no drills; bash asks for them.
pub fn completions(shell: clap_complete::Shell) -> i32 {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rpitr", &mut text);
    if shell == clap_complete::Shell::Bash {
        text.extend_from_slice(include_bytes!("completions.bash"));
    }
    put(&text)
}

/// The manual page, for `man -l -` or a package.
pub fn manual() -> i32 {
    let mut text = Vec::new();
    match clap_mangen::Man::new(Cli::command()).render(&mut text) {
        Ok(()) => put(&text),
        Err(_) => exit::INTERNAL,
    }
}

/// A reader that goes away is no failure.
fn put(text: &[u8]) -> i32 {
    match std::io::stdout().write_all(text) {
        Ok(()) => exit::PASS,
        Err(_) => exit::BROKEN_PIPE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_the_first_comment_line() {
        assert_eq!(
            summary("--- Recover from a TRUNCATE.\n-- more"),
            "Recover from a TRUNCATE."
        );
        assert_eq!(summary(""), "");
    }
}
