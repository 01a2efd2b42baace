//! The rows of a database as a run wrote them down: one line an operation.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use super::error::Error;

/// One operation as it stands in a database. Entries without their operation have no `xid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub op: i64,
    pub xid: Option<u64>,
    pub items: Option<u32>,
    /// Rows of the second table that are there.
    pub found: u32,
    /// Of everything the operation wrote, as it is there now.
    pub hash: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub rows: Vec<Row>,
}

impl State {
    /// Reads a state: COPY text, compressed when the name ends in `.zst`.
    pub fn read(path: &Path) -> Result<State, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
        let text = if path.extension().is_some_and(|end| end == "zst") {
            let mut text = String::new();
            zstd::Decoder::new(bytes.as_slice())
                .and_then(|mut decoder| decoder.read_to_string(&mut text))
                .map_err(|source| Error::io(path, source))?;
            text
        } else {
            String::from_utf8(bytes).map_err(|error| Error::format(path, error))?
        };
        State::parse(&text).map_err(|reason| Error::format(path, reason))
    }

    pub fn parse(text: &str) -> Result<State, String> {
        let rows = text.lines().enumerate().map(|(at, line)| {
            row(line).ok_or_else(|| format!("line {} is not an operation: {line}", at + 1))
        });
        Ok(State {
            rows: rows.collect::<Result<_, _>>()?,
        })
    }

    /// How often each operation is there.
    pub fn count(&self) -> HashMap<i64, usize> {
        let mut count = HashMap::with_capacity(self.rows.len());
        for row in &self.rows {
            *count.entry(row.op).or_insert(0) += 1;
        }
        count
    }
}

fn row(line: &str) -> Option<Row> {
    let mut cells = line.split('\t').map(|cell| (cell != "\\N").then_some(cell));
    let mut next = || cells.next();
    let row = Row {
        op: next()??.parse().ok()?,
        xid: next()?.map(str::parse).transpose().ok()?,
        items: next()?.map(str::parse).transpose().ok()?,
        found: next()??.parse().ok()?,
        hash: next()?.map(str::to_string),
    };
    next().is_none().then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_copy() {
        let state = State::parse("1\t760\t2\t2\tab\n2\t\\N\t\\N\t1\t\\N\n").unwrap();
        assert_eq!(state.rows[0].xid, Some(760));
        assert_eq!(state.rows[1].hash, None);
        for bad in ["1\t2", "x\t1\t1\t1\ta", "1\t1\t1\t1\ta\tmore", ""] {
            assert_eq!(State::parse(bad).is_err(), !bad.is_empty(), "{bad}");
        }
    }
}
