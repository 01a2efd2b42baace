//! `rpitr list`: what comes with the binary.

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
        println!("{name:width$}  {summary}");
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
