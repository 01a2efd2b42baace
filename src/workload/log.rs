//! The verification log: append-only, one `write(2)` a line, nothing buffered in this process. A run that is resumed adds
//! to the log it has.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
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
        let open = || {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .open(path)?;
            // A line that was cut off stays as it is; the next one begins behind it.
            if is_cut_off(&mut file)? {
                file.write_all(b"\n")?;
            }
            Ok(file)
        };
        Ok(Log {
            file: open().map_err(|source| Error::Io {
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

/// Whether the last line has no end.
fn is_cut_off(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Reads a log. The last line of a crew that was killed may be cut off: at the end of the log, or in front of the next crew's
/// first line. It is left out; anything else that is not a line is an error.
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
    let mut lines = Vec::new();
    let mut cut_off: Option<Error> = None;
    let read = text[..whole].split_inclusive(|byte| *byte == b'\n');
    for (at, line) in read.enumerate() {
        let line = serde_json::from_slice(line).map_err(|error| Error::Line {
            path: path.to_path_buf(),
            number: at + 1,
            reason: error.to_string(),
        });
        match (cut_off.take(), line) {
            (None, Ok(line)) | (Some(_), Ok(line @ Line::Begin { .. })) => lines.push(line),
            (None, Err(error)) => cut_off = Some(error),
            (Some(error), _) => return Err(error),
        }
    }
    cut_off.map_or(Ok(lines), Err)
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

    #[test]
    fn a_crew_goes_on_behind_a_line_that_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "{\"e\":\"end\",\"at\":1}\n{\"e\":\"en").unwrap();
        let begin = Line::Begin {
            schema: 1,
            seed: 1,
            writers: 1,
            epoch: 2,
            at: 2,
        };
        let mut log = Log::append(&path).unwrap();
        log.add(&begin).unwrap();
        assert_eq!(
            read_log(&path).unwrap(),
            [Line::End { at: 1 }, begin.clone()]
        );
        // In front of any other line, it is damage.
        let mut log = Log::append(&path).unwrap();
        log.file.write_all(b"{\"e\":\n").unwrap();
        log.add(&Line::End { at: 3 }).unwrap();
        log.add(&begin).unwrap();
        let error = read_log(&path).unwrap_err();
        assert!(error.to_string().contains("line 4 "), "{error}");
    }
}
