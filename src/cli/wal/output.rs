//! How the WAL commands print: tables for people, one JSON document for programs, progress on a
//! terminal. A reader that goes away ends the command quietly.

use serde_json::Value;

use crate::cli::args::Global;
use crate::report::Printer;
use crate::wal::{End, Lsn};

/// Schema of every JSON document of these commands.
const SCHEMA: u32 = 1;

#[derive(Debug)]
pub struct Output {
    printer: Printer,
    pub json: bool,
    quiet: bool,
    closed: bool,
    document: Document,
}

/// How far a JSON document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Document {
    Closed,
    /// In the list; whether it has an entry yet.
    List(bool),
}

impl Output {
    pub fn new(global: &Global, json: bool) -> Self {
        Output {
            printer: Printer::new(global.color, global.quiet),
            json,
            quiet: global.quiet,
            closed: false,
            document: Document::Closed,
        }
    }

    /// Whether nobody reads any more.
    pub fn closed(&self) -> bool {
        self.closed
    }

    pub fn line(&mut self, text: &str) {
        self.closed |= !self.printer.line(text);
    }

    fn write(&mut self, text: &str) {
        self.closed |= !self.printer.write(text);
    }

    /// A remark for people, not part of the result.
    pub fn remark(&mut self, text: &str) {
        if !self.json && !self.quiet {
            self.line(text);
        }
    }

    /// A whole JSON document.
    pub fn document(&mut self, mut body: Value) {
        if let Some(fields) = body.as_object_mut() {
            fields.shift_insert(0, "schema".into(), SCHEMA.into());
        }
        self.line(&body.to_string());
    }

    /// Begins a document whose list is written entry by entry: WAL can be larger than memory.
    pub fn begin_list(&mut self, name: &str) {
        if self.json {
            self.write(&format!("{{\"schema\":{SCHEMA},\"{name}\":["));
            self.document = Document::List(false);
        }
    }

    pub fn entry(&mut self, entry: &Value) {
        let Document::List(some) = self.document else {
            return;
        };
        self.write(&format!("{}\n{entry}", if some { "," } else { "" }));
        self.document = Document::List(true);
    }

    /// Ends the list; `rest` are the document's other fields.
    pub fn end_list(&mut self, rest: &Value) {
        if let Document::List(_) = self.document {
            let mut text = String::from("\n]");
            for (name, value) in rest.as_object().into_iter().flatten() {
                text += &format!(",\"{name}\":{value}");
            }
            self.line(&(text + "}"));
            self.document = Document::Closed;
        }
    }

    /// Ends whatever is open: a document stays valid when an error ended the command.
    pub fn finish(&mut self) {
        self.printer.progress(None);
        self.end_list(&Value::Null);
    }

    pub fn color(&self, code: &str, text: &str) -> String {
        if self.printer.color() && !self.json {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    /// Shows how far reading is; see [`Progress`].
    pub fn progress(&self, text: Option<&str>) {
        self.printer.progress(text);
    }
}

/// How far a scan is, shown on a terminal whenever it has read a few more megabytes.
#[derive(Debug)]
pub struct Progress {
    from: Lsn,
    to: Lsn,
    shown: Lsn,
}

impl Progress {
    const STEP: u64 = 32 << 20;

    pub fn new(from: Lsn, to: Option<Lsn>) -> Self {
        Progress {
            from,
            to: to.unwrap_or_default(),
            shown: from,
        }
    }

    pub fn at(&mut self, output: &Output, lsn: Lsn) {
        if lsn.0 < self.shown.0.saturating_add(Self::STEP) {
            return;
        }
        self.shown = lsn;
        let total = self.to.0.saturating_sub(self.from.0).max(1);
        let done = lsn.0.saturating_sub(self.from.0).min(total);
        let percent = done * 100 / total;
        output.progress(Some(&format!("{percent} % read, at {lsn}")));
    }
}

/// A table whose columns are as wide as their contents.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Column {
    name: &'static str,
    right: bool,
}

impl Table {
    /// A column whose name begins with `>` is aligned to the right.
    pub fn new(columns: &[&'static str]) -> Self {
        let columns = columns.iter().map(|name| Column {
            name: name.trim_start_matches('>'),
            right: name.starts_with('>'),
        });
        Table {
            columns: columns.collect(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn print(&self, output: &mut Output) {
        let width = |text: &str| text.chars().count();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().filter_map(|row| row.get(at));
                let widest = cells.map(|cell| width(cell)).max().unwrap_or(0);
                widest.max(width(self.columns[at].name))
            })
            .collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for ((cell, column), wide) in cells.zip(&self.columns).zip(&widths) {
                let pad = " ".repeat(wide.saturating_sub(width(cell)));
                let (before, after) = if column.right {
                    (pad, String::new())
                } else {
                    (String::new(), pad)
                };
                text += &format!("{before}{cell}{after}  ");
            }
            text.trim_end().to_string()
        };
        let head = line(&mut self.columns.iter().map(|column| column.name));
        let head = output.color("2", &head);
        output.line(&head);
        for row in &self.rows {
            output.line(&line(&mut row.iter().map(String::as_str)));
        }
    }
}

/// Bytes as people read them.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// Where reading ended, as JSON.
pub fn end_json(end: &End) -> Value {
    serde_json::json!({
        "lsn": end.lsn.to_string(),
        "file": end.file_name(),
        "offset": end.offset,
        "damage": end.is_damage(),
        "code": end.reason.code(),
        "reason": end.reason.to_string(),
    })
}
