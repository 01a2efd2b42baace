//! `rpitr doc`: the reference, on the terminal or as Markdown pages.

use std::fs;
use std::path::Path;

use super::args::Global;
use crate::api::{Api, Help, pages};
use crate::engine::show_failure;
use crate::exit;
use crate::failure::Failure;
use crate::report::Printer;

/// What there is to read about `name`, or a line for each module.
pub fn doc(global: &Global, name: Option<&str>, markdown: Option<&Path>) -> i32 {
    let api = Api::embedded();
    if let Some(folder) = markdown {
        return match write_pages(api, folder) {
            Ok(()) => exit::PASS,
            Err(failure) => show_failure(&failure, global.color, global.error_format),
        };
    }
    let printer = Printer::new(global.color, false);
    let help = Help {
        api,
        color: printer.color(),
    };
    let text = match name {
        None => format!(
            "{}\n\nrpitr doc NAME tells more: rpitr doc pitr, rpitr doc pitr.restore, rpitr doc node:stop",
            help.overview()
        ),
        Some(name) => match help.named(name, false) {
            Ok(text) => text,
            Err(failure) => {
                return show_failure(&failure.code("usage"), global.color, global.error_format);
            }
        },
    };
    match printer.line(&text) {
        true => exit::PASS,
        false => exit::BROKEN_PIPE,
    }
}

fn write_pages(api: &Api, folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::io("create", folder, &error))?;
    for (name, text) in pages(api) {
        let path = folder.join(&name);
        fs::write(&path, text).map_err(|error| Failure::io("write", &path, &error))?;
    }
    Ok(())
}
