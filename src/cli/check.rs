//! `rpitr check FILE...`: all that is wrong with scripts, told without starting anything.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::args::Global;
use super::run::{options, source};
use crate::api::Api;
use crate::check::{Finding, Known, Outline, Place};
use crate::engine::{
    self, ErrorFormat, ErrorValue, Frame, Program, RenderOptions, Source, show_failure,
    syntax_error,
};
use crate::exit;
use crate::report::Printer;

/// What came of one file, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Clean,
    Findings,
    /// Lua or the drill's header refuses it.
    Unloadable,
    Unreadable,
}

impl Verdict {
    fn code(self) -> i32 {
        match self {
            Verdict::Clean => exit::PASS,
            Verdict::Findings => exit::FAILED,
            Verdict::Unloadable => exit::SCRIPT,
            Verdict::Unreadable => exit::USAGE,
        }
    }
}

/// A script may nest expressions deeper than the stack of the main thread allows.
const STACK: usize = 256 << 20;

/// Checks every file, whatever the others are like.
pub fn check(global: &Global, files: &[String], json: bool) -> i32 {
    std::thread::scope(|scope| {
        let checker = std::thread::Builder::new().stack_size(STACK);
        let checker = checker.spawn_scoped(scope, || check_all(global, files, json));
        let code = checker.ok().and_then(|checker| checker.join().ok());
        code.unwrap_or(exit::INTERNAL)
    })
}

fn check_all(global: &Global, files: &[String], json: bool) -> i32 {
    let known = known();
    let verdicts = files.iter().map(|file| match source(file) {
        Ok(source) => examine(global, &known, &source, json),
        Err(failure) => {
            show_failure(&failure, global.color, global.error_format);
            Verdict::Unreadable
        }
    });
    verdicts.max().unwrap_or(Verdict::Clean).code()
}

/// What scripts may use: the library of this binary.
fn known() -> Known {
    let parts = engine::library().filter_map(|(path, _)| {
        let name = path.strip_prefix("rpitr/")?.strip_suffix(".lua")?;
        Some(name.replace('/', "."))
    });
    Known::new(Api::embedded(), parts)
}

fn examine(global: &Global, known: &Known, source: &Source, json: bool) -> Verdict {
    let show = |error: &ErrorValue| show(global, source, error, json);
    if let Some(error) = syntax_error(source) {
        show(&error);
        return Verdict::Unloadable;
    }
    let text = source.lua();
    let findings = crate::check::check(known, &text, &globals_of_modules(source));
    for finding in &findings {
        show(&error_of(source, finding));
    }
    if !findings.is_empty() {
        return Verdict::Findings;
    }
    match engine::run(options(global), Program::Check, source, &[]).checked {
        Some(Ok(what)) => {
            if !json {
                outln!("{}: {what}", source.name);
            }
            Verdict::Clean
        }
        Some(Err(error)) => {
            show(&error);
            Verdict::Unloadable
        }
        None => Verdict::Unloadable,
    }
}

fn error_of(source: &Source, finding: &Finding) -> ErrorValue {
    let place = Place::of(&source.lua(), &finding.span);
    ErrorValue {
        kind: finding.rule.kind().into(),
        code: Some(finding.rule.name().into()),
        message: finding.message.clone(),
        hint: finding.hint.clone(),
        at: Some(Frame {
            file: source.name.clone(),
            line: place.line,
            function: None,
            column: Some(place.column),
            width: place.width,
        }),
        ..ErrorValue::default()
    }
}

fn show(global: &Global, source: &Source, error: &ErrorValue, json: bool) {
    if json {
        outln!("{}", line_of(source, error));
        return;
    }
    let printer = Printer::new(global.color, global.quiet);
    let text = match global.error_format {
        ErrorFormat::Json => engine::render_json(error),
        ErrorFormat::Human => {
            let lookup = |name: &str| (name == source.name).then(|| source.text.clone());
            let options = RenderOptions {
                color: printer.error_color(),
                trace: global.trace,
            };
            engine::render(error, &lookup, options)
        }
    };
    printer.notice(&text);
}

/// A finding as one line of JSON.
fn line_of(source: &Source, error: &ErrorValue) -> serde_json::Value {
    let at = error.at.as_ref();
    json!({
        "file": at.map_or(&source.name, |at| &at.file),
        "line": at.map(|at| at.line),
        "column": at.and_then(|at| at.column),
        "width": at.and_then(|at| at.column.map(|_| at.width)),
        "kind": error.kind,
        "rule": error.code,
        "message": error.message,
        "hint": error.hint,
    })
}

/// The globals that the script's own modules declare, as far as they are found.
fn globals_of_modules(source: &Source) -> Vec<String> {
    let mut globals = Vec::new();
    let mut seen = BTreeSet::new();
    let Some(home) = &source.folder else {
        return globals;
    };
    let mut next = vec![(home.clone(), Outline::of(&source.lua()).unwrap_or_default())];
    while let Some((folder, outline)) = next.pop() {
        for name in &outline.requires {
            let Some((path, text)) = find_module(name, &[&folder, home, &home.join("lib")]) else {
                continue;
            };
            if seen.insert(path.clone()) {
                let outline = Outline::of(&text).unwrap_or_default();
                globals.extend(outline.globals.clone());
                let folder = path.parent().unwrap_or(home).to_path_buf();
                next.push((folder, outline));
            }
        }
    }
    globals
}

/// A module as `require` finds it (`stdlib/prelude/modules.lua`).
fn find_module(name: &str, folders: &[&Path]) -> Option<(std::path::PathBuf, String)> {
    let relative = name.strip_prefix("./").unwrap_or(name).replace('.', "/");
    let files = [format!("{relative}.lua"), format!("{relative}/init.lua")];
    let paths = folders
        .iter()
        .flat_map(|folder| files.iter().map(|file| folder.join(file)));
    let mut found = paths.filter_map(|path| Some((std::fs::read_to_string(&path).ok()?, path)));
    found.next().map(|(text, path)| (path, text))
}
