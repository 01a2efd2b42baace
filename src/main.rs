//! The `rpitr` command. Everything behind it lives in the library.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().collect();
    ExitCode::from(rpitr::cli::run(&arguments) as u8)
}
