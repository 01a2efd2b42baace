//! What the receiver got, against the archive. Both come from the same server by ways that know nothing of each other, so
//! each segment must be in both, with the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::wal::{FileName, Lsn, SegmentSize};

/// The WAL a run wrote: what both folders owe.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    pub timeline: u32,
    pub from: Lsn,
    pub to: Lsn,
    pub size: SegmentSize,
}

/// How the two compare.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    /// Segments that are in both, with the same bytes.
    pub same: usize,
    pub problems: Vec<String>,
}

/// The segments of a folder, by number.
#[derive(Debug, Default)]
struct Segments {
    whole: BTreeMap<u64, PathBuf>,
    partial: BTreeSet<u64>,
}

impl Stretch {
    /// Compares the folder of a receiver with an archive, segment by segment.
    pub fn compare(&self, archive: &Path, received: &Path) -> Compared {
        let mut compared = Compared::default();
        let (archived, received) = match (self.read(archive), self.read(received)) {
            (Ok(archived), Ok(received)) => (archived, received),
            (Err(problem), _) | (_, Err(problem)) => {
                compared.problems.push(problem);
                return compared;
            }
        };
        let first = self.size.number(self.from);
        let last = self.size.number(Lsn(self.to.0.saturating_sub(1)));
        for number in first..=last {
            let name = self.size.name(self.timeline, number);
            let problem = match (archived.whole.get(&number), received.whole.get(&number)) {
                (Some(archived), Some(received)) => differ(archived, received),
                (Some(_), None) if received.partial.contains(&number) => {
                    Some("is in the archive, but was received in part only".into())
                }
                (Some(_), None) => Some("is in the archive, but was not received".into()),
                (None, Some(_)) => Some("was received, but is not in the archive".into()),
                (None, None) => Some("was neither received nor archived".into()),
            };
            match problem {
                None => compared.same += 1,
                Some(problem) => compared.problems.push(format!("{name} {problem}")),
            }
        }
        compared
    }

    fn read(&self, folder: &Path) -> Result<Segments, String> {
        let failed = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
        let mut found = Segments::default();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(file) = name.and_then(FileName::parse) else {
                continue;
            };
            let Some(number) = file.number(self.size) else {
                continue;
            };
            match file {
                _ if file.timeline() != self.timeline => {}
                FileName::Segment { .. } => drop(found.whole.insert(number, path)),
                FileName::Partial { .. } => drop(found.partial.insert(number)),
                FileName::Backup { .. } | FileName::History { .. } => {}
            }
        }
        Ok(found)
    }
}

/// Where two files differ, in words; `None` when they are the same.
fn differ(archived: &Path, received: &Path) -> Option<String> {
    match first_difference(archived, received) {
        Ok(None) => None,
        Ok(Some(at)) => Some(format!(
            "was received with other bytes than the archive has, from byte {at} on"
        )),
        Err(error) => Some(format!("cannot be compared: {error}")),
    }
}

fn first_difference(a: &Path, b: &Path) -> std::io::Result<Option<u64>> {
    const BLOCK: usize = 1 << 16;
    let (mut a, mut b) = (BufReader::new(File::open(a)?), File::open(b)?);
    let (mut here, mut there) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut at = 0;
    loop {
        let (n, m) = (fill(&mut a, &mut here)?, fill(&mut b, &mut there)?);
        let same = here[..n]
            .iter()
            .zip(&there[..m])
            .take_while(|(a, b)| a == b);
        let same = same.count();
        at += same as u64;
        match (same == n && n == m, n) {
            (true, 0) => return Ok(None),
            (true, _) => {}
            (false, _) => return Ok(Some(at)),
        }
    }
}

/// Reads until the buffer is full or the file has ended.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SIZE: u64 = 1 << 20;

    fn stretch() -> Stretch {
        Stretch {
            timeline: 1,
            from: Lsn(2 * SIZE + 5),
            to: Lsn(5 * SIZE),
            size: SegmentSize::new(SIZE).unwrap(),
        }
    }

    /// Segments 2 to 5, the last of which begins where the run ended.
    fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let here = tempfile::tempdir().unwrap();
        let (archive, received) = (here.path().join("archive"), here.path().join("received"));
        for folder in [&archive, &received] {
            fs::create_dir(folder).unwrap();
            for number in 2..6 {
                let name = stretch().size.name(1, number);
                fs::write(folder.join(name), vec![number as u8; 200_000]).unwrap();
            }
        }
        (here, archive, received)
    }

    fn found(plant: impl FnOnce(&Path, &Path)) -> Compared {
        let (_here, archive, received) = folders();
        plant(&archive, &received);
        stretch().compare(&archive, &received)
    }

    #[test]
    fn the_same_segments_are_counted_and_what_lies_outside_is_left_alone() {
        let compared = found(|archive, received| {
            fs::remove_file(archive.join("000000010000000000000005")).unwrap();
            fs::write(received.join("000000010000000000000001.partial"), "x").unwrap();
            fs::write(received.join("notes.txt"), "x").unwrap();
        });
        assert_eq!((compared.same, compared.problems), (3, vec![]));
    }

    #[test]
    fn a_segment_that_is_gone_altered_cut_or_partial_is_found() {
        let name = "000000010000000000000003";
        let one = |plant: &dyn Fn(&Path, &Path)| found(|a, r| plant(&a.join(name), &r.join(name)));
        type Plant<'a> = &'a dyn Fn(&Path, &Path);
        let cases: [(Plant<'_>, &str); 5] = [
            (&|_, r| fs::remove_file(r).unwrap(), "was not received"),
            (&|a, _| fs::remove_file(a).unwrap(), "not in the archive"),
            (
                &|_, r| fs::rename(r, r.with_extension("partial")).unwrap(),
                "in part only",
            ),
            (
                &|_, r| {
                    let mut bytes = fs::read(r).unwrap();
                    bytes[150_000] ^= 1;
                    fs::write(r, bytes).unwrap();
                },
                "from byte 150000 on",
            ),
            (&|_, r| fs::write(r, [3; 100]).unwrap(), "from byte 100 on"),
        ];
        for (plant, says) in cases {
            let compared = one(plant);
            assert_eq!(compared.same, 2, "{:?}", compared.problems);
            assert_eq!(compared.problems.len(), 1, "{:?}", compared.problems);
            assert!(compared.problems[0].starts_with(name), "{says}");
            assert!(
                compared.problems[0].contains(says),
                "{:?}",
                compared.problems
            );
        }
        assert!(found(|_, r| fs::remove_dir_all(r).unwrap()).problems[0].contains("cannot read"));
    }
}
