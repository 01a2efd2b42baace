//! The verification log: append-only, one `write(2)` a line, nothing buffered in this process.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::line::Line;

/// The writing side. After [`Log::add`] has returned, no kill of this process takes the line back;
/// it is not fsynced, because a log on the machine that loses power proves nothing anyway.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
}

impl Log {
    pub fn append(path: &Path) -> Result<Log, Error> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        Ok(Log {
            file: file.map_err(|source| Error::Io {
                doing: "open",
                path: path.to_path_buf(),
                source,
            })?,
            path: path.to_path_buf(),
            buffer: Vec::with_capacity(512),
        })
    }

    pub fn add(&mut self, line: &Line) -> Result<(), Error> {
        self.buffer.clear();
        let written = serde_json::to_writer(&mut self.buffer, line)
            .map_err(std::io::Error::from)
            .and_then(|()| {
                self.buffer.push(b'\n');
                self.file.write_all(&self.buffer)
            });
        written.map_err(|source| Error::Io {
            doing: "write",
            path: self.path.clone(),
            source,
        })
    }
}

/// Reads a log. A last line without its end was being written when the writer died, and is left
/// out; anything else that is not a line is an error.
pub fn read_log(path: &Path) -> Result<Vec<Line>, Error> {
    let text = std::fs::read(path).map_err(|source| Error::Io {
        doing: "read",
        path: path.to_path_buf(),
        source,
    })?;
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    text[..whole]
        .split_inclusive(|byte| *byte == b'\n')
        .enumerate()
        .map(|(at, line)| {
            serde_json::from_slice(line).map_err(|error| Error::Line {
                path: path.to_path_buf(),
                number: at + 1,
                reason: error.to_string(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_left_out_and_a_torn_middle_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::append(&path).unwrap();
        for at in 0..3 {
            log.add(&Line::End { at }).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 3]).unwrap();
        assert_eq!(read_log(&path).unwrap().len(), 2);
        std::fs::write(&path, text.replacen("\"e\"", "", 1)).unwrap();
        let error = read_log(&path).unwrap_err();
        assert!(error.to_string().contains("line 1 "), "{error}");
    }
}
