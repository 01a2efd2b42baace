//! What is done only when somebody said so: with `--yes`, or at the terminal.

use std::io::{IsTerminal, Write};

use crate::failure::{Failure, Kind};

/// Asks whether to go on; `what` says what would happen. Without a terminal nobody agrees.
pub fn agreed(what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let mut answer = String::new();
    if std::io::stdin().is_terminal() {
        eprint!("{what}. Go on? [y/N]: ");
        let _ = std::io::stderr().flush();
        let _ = std::io::stdin().read_line(&mut answer);
    }
    match answer.trim_start().to_lowercase().starts_with('y') {
        true => Ok(()),
        false => Err(
            Failure::new(Kind::State, format!("{what}, and nobody agreed"))
                .code("consent")
                .hint("--yes agrees"),
        ),
    }
}
