//! Writing the reports of a run.

use std::path::PathBuf;

use mlua::Value;

use crate::engine::{HostTable, json_from_lua};
use crate::failure::{Failure, Kind};
use crate::report::{Document, History, write};
use crate::runtime::StateRoot;

pub fn register(host: &HostTable) -> mlua::Result<()> {
    // Keeps the run in the history; writes its reports into `folder`, if there is one. Returns why the
    // history could not be kept, if it could not: the run itself is none the worse for it.
    host.function(
        "report_write",
        |_, (folder, data): (Option<PathBuf>, Value)| {
            let mut document: Document = serde_json::from_value(json_from_lua(&data)?)
                .map_err(|error| Failure::new(Kind::Internal, format!("report: {error}")))?;
            describe_machine(&mut document);
            let finished = chrono::Utc::now().timestamp();
            let history = open_history();
            let last_success = match &history {
                Ok(history) => history.last_success(&document.drill).unwrap_or(None),
                Err(_) => None,
            };
            let kept = history.and_then(|history| Ok(history.add(&document, finished)?));
            if let Some(folder) = folder {
                write(&folder, &document, finished, last_success)?;
            }
            Ok(kept.err().map(|failure: Failure| failure.message))
        },
    )
}

fn open_history() -> Result<History, Failure> {
    let state = StateRoot::default_path()?;
    std::fs::create_dir_all(&state).map_err(|error| Failure::io("create", &state, &error))?;
    Ok(History::open(&state.join("history.db"))?)
}

fn describe_machine(document: &mut Document) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let facts = [
        ("rpitr", env!("CARGO_PKG_VERSION").to_string()),
        (
            "system",
            format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        ),
        ("cores", cores.to_string()),
    ];
    for (name, value) in facts {
        document
            .environment
            .entry(name.into())
            .or_insert(value.into());
    }
}
