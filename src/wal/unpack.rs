//! The bytes of a segment, whether its file is plain or compressed.
//!
//! Compressed files are read as a stream: going forward is cheap, going back starts again.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::FileName;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Packing {
    #[default]
    None,
    Gzip,
    Lz4,
    Zstd,
}

const SUFFIXES: [(&str, Packing); 3] = [
    (".gz", Packing::Gzip),
    (".lz4", Packing::Lz4),
    (".zst", Packing::Zstd),
];

impl Packing {
    /// Takes the name of a WAL file apart that may be compressed. `pg_receivewal` puts the
    /// compression in front of `.partial`, other tools behind it.
    pub fn parse(name: &str) -> Option<(FileName, Packing)> {
        if let Some(name) = FileName::parse(name) {
            return Some((name, Packing::None));
        }
        let (stem, partial) = match name.strip_suffix(".partial") {
            Some(stem) => (stem, ".partial"),
            None => (name, ""),
        };
        let (stem, packing) = SUFFIXES
            .iter()
            .find_map(|(suffix, packing)| Some((stem.strip_suffix(suffix)?, *packing)))?;
        let name = FileName::parse(&format!("{stem}{partial}"))?;
        matches!(name, FileName::Segment { .. } | FileName::Partial { .. })
            .then_some((name, packing))
    }
}

/// An open file.
pub(super) enum Source {
    Plain(File),
    Packed {
        path: PathBuf,
        packing: Packing,
        /// It may be cut off anywhere: what can be unpacked counts.
        partial: bool,
        stream: Box<dyn Read + Send>,
        at: u64,
    },
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Plain(file) => file.fmt(f),
            Source::Packed { path, at, .. } => write!(f, "{} unpacked to {at}", path.display()),
        }
    }
}

impl Source {
    pub fn open(path: &Path, packing: Packing, partial: bool) -> io::Result<Source> {
        if packing == Packing::None {
            return Ok(Source::Plain(File::open(path)?));
        }
        Ok(Source::Packed {
            path: path.to_path_buf(),
            packing,
            partial,
            stream: decoder(path, packing)?,
            at: 0,
        })
    }

    /// Fills `buffer` from `offset` on; fewer bytes mean the end of the file.
    pub fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Source::Plain(file) => {
                let mut got = 0;
                while got < buffer.len() {
                    match file.read_at(&mut buffer[got..], offset + got as u64) {
                        Ok(0) => break,
                        Ok(n) => got += n,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(e),
                    }
                }
                Ok(got)
            }
            Source::Packed {
                path,
                packing,
                partial,
                stream,
                at,
            } => {
                if offset < *at {
                    *stream = decoder(path, *packing)?;
                    *at = 0;
                }
                if offset > *at {
                    let mut rest = stream.as_mut().take(offset - *at);
                    let skipped = lenient(io::copy(&mut rest, &mut io::sink()), *partial)?;
                    *at += skipped;
                    if *at < offset {
                        return Ok(0);
                    }
                }
                let got = fill(stream.as_mut(), buffer, *partial)?;
                *at += got as u64;
                Ok(got)
            }
        }
    }

    /// The length of the segment; a compressed one has to be unpacked for that.
    pub fn len(&mut self) -> io::Result<u64> {
        match self {
            Source::Plain(file) => Ok(file.metadata()?.len()),
            Source::Packed {
                partial,
                stream,
                at,
                ..
            } => {
                *at += lenient(io::copy(stream.as_mut(), &mut io::sink()), *partial)?;
                Ok(*at)
            }
        }
    }

    pub fn is_plain(&self) -> bool {
        matches!(self, Source::Plain(_))
    }
}

fn decoder(path: &Path, packing: Packing) -> io::Result<Box<dyn Read + Send>> {
    let file = File::open(path)?;
    Ok(match packing {
        Packing::None => Box::new(file),
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(
            BufReader::with_capacity(1 << 16, file),
        )),
        Packing::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(BufReader::new(file))),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::new(file)?),
    })
}

/// A partial file ends where it cannot be unpacked any further.
fn lenient(result: io::Result<u64>, partial: bool) -> io::Result<u64> {
    match result {
        Err(_) if partial => Ok(0),
        result => result,
    }
}

fn fill(stream: &mut dyn Read, buffer: &mut [u8], partial: bool) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match stream.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if partial => break,
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_compressed_files() {
        let segment = "00000001000000020000000A";
        for (suffix, packing, partial) in [
            ("", Packing::None, false),
            (".partial", Packing::None, true),
            (".gz", Packing::Gzip, false),
            (".lz4", Packing::Lz4, false),
            (".zst", Packing::Zstd, false),
            (".gz.partial", Packing::Gzip, true),
            (".partial.gz", Packing::Gzip, true),
            (".lz4.partial", Packing::Lz4, true),
        ] {
            let (name, found) = Packing::parse(&format!("{segment}{suffix}")).unwrap();
            assert_eq!(found, packing, "{suffix}");
            assert_eq!(
                matches!(name, FileName::Partial { .. }),
                partial,
                "{suffix}"
            );
        }
        for bad in [".gz.gz", ".bz2", ".gz.partial.gz", ".partial.partial"] {
            assert_eq!(Packing::parse(&format!("{segment}{bad}")), None, "{bad}");
        }
        assert_eq!(Packing::parse("00000002.history.gz"), None);
    }
}
