//! The files of a report, each written whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::document::{Document, SCHEMA};
use super::{Error, checklist, html, junit, metrics};

/// Writes every report of a run into `folder`. `finished` and `last_success` are Unix times.
pub fn write(
    folder: &Path,
    document: &Document,
    finished: i64,
    last_success: Option<i64>,
) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(io("create", folder))?;
    let json =
        serde_json::to_string_pretty(document).map_err(|error| Error::Render(error.to_string()))?;
    put(folder, "report.json", &format!("{json}\n"))?;
    put(folder, "junit.xml", &junit::junit(document)?)?;
    put(
        folder,
        "metrics.prom",
        &metrics::metrics(document, finished, last_success),
    )?;
    put(folder, "checklist.md", &checklist::checklist(document))?;
    put(folder, "report.html", &html::html(document)?)
}

/// Reads the report of a run: a folder given with `--report`, or its report.json.
pub fn read(path: &Path) -> Result<Document, Error> {
    let file = if path.is_dir() {
        path.join("report.json")
    } else {
        path.to_path_buf()
    };
    let text = fs::read_to_string(&file).map_err(io("read", &file))?;
    let unreadable = |reason: String| Error::Unreadable {
        path: file.display().to_string(),
        reason,
    };
    // The version first: what a newer one means is not to be guessed.
    let value: Value =
        serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let found = value.get("schema").and_then(Value::as_u64);
    match found {
        None => return Err(unreadable("it has no schema version".into())),
        Some(found) if found > SCHEMA => {
            return Err(Error::Newer {
                path: file.display().to_string(),
                found,
                known: SCHEMA,
            });
        }
        Some(_) => {}
    }
    serde_json::from_value(value).map_err(|error| unreadable(error.to_string()))
}

/// Whoever collects the file, such as the node exporter, never sees half of it.
fn put(folder: &Path, name: &str, text: &str) -> Result<(), Error> {
    let (path, part) = (folder.join(name), folder.join(format!(".{name}.part")));
    let written = File::create(&part).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(io("write", &part))?;
    fs::rename(&part, &path).map_err(io("write", &path))
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}
