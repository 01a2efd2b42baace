//! Damages real WAL in every way the reader knows, and many times at random.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rpitr::wal::{AnalysisOptions, End, Lsn, Options, Reader, Wal, incidents};

const FILES: usize = 4;
const PAGE: usize = 8192;

#[derive(Debug, Clone)]
enum Mutation {
    Flip {
        file: usize,
        at: usize,
        bit: u8,
    },
    Cut {
        file: usize,
        at: usize,
    },
    Zero {
        file: usize,
        page: usize,
        pages: usize,
    },
    ZeroFile {
        file: usize,
    },
    /// A page keeps what it held before the file was reused.
    Recycle {
        file: usize,
        page: usize,
    },
    Garbage {
        file: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    Foreign {
        file: usize,
    },
    Swap {
        a: usize,
        b: usize,
    },
    Remove {
        file: usize,
    },
    /// More bytes than a segment has.
    Grow {
        file: usize,
        by: usize,
    },
    Rename {
        file: usize,
    },
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let file = 0..FILES;
    let at = 0..(1usize << 20);
    let page = 0..128usize;
    prop_oneof![
        6 => (file.clone(), at.clone(), 0..8u8).prop_map(|(file, at, bit)| Mutation::Flip { file, at, bit }),
        // Page headers have no checksum: aim at them.
        3 => (file.clone(), page.clone(), 0..40usize, 0..8u8)
            .prop_map(|(file, page, byte, bit)| Mutation::Flip { file, at: page * PAGE + byte, bit }),
        2 => (file.clone(), at.clone()).prop_map(|(file, at)| Mutation::Cut { file, at }),
        2 => (file.clone(), page.clone(), 1..4usize).prop_map(|(file, page, pages)| Mutation::Zero { file, page, pages }),
        1 => file.clone().prop_map(|file| Mutation::ZeroFile { file }),
        2 => (file.clone(), page).prop_map(|(file, page)| Mutation::Recycle { file, page }),
        2 => (file.clone(), at, prop::collection::vec(any::<u8>(), 1..64))
            .prop_map(|(file, at, bytes)| Mutation::Garbage { file, at, bytes }),
        1 => file.clone().prop_map(|file| Mutation::Foreign { file }),
        1 => (file.clone(), file.clone()).prop_map(|(a, b)| Mutation::Swap { a, b }),
        1 => (file.clone(), 1..PAGE * 2).prop_map(|(file, by)| Mutation::Grow { file, by }),
        1 => (0..FILES - 1).prop_map(|file| Mutation::Remove { file }),
        1 => (0..FILES - 1).prop_map(|file| Mutation::Rename { file }),
    ]
}

impl Mutation {
    /// The last damaged byte, counted over all files: what lies behind it is intact. A whole file
    /// that is bad counts from its first, since a bad first page is proof enough.
    fn position(&self) -> usize {
        let (file, at) = match *self {
            Mutation::Flip { file, at, .. }
            | Mutation::Cut { file, at }
            | Mutation::Garbage { file, at, .. } => (file, at),
            Mutation::Zero { file, page, pages } => (file, (page + pages).min(128) * PAGE - 1),
            Mutation::Recycle { file, page } => (file, page * PAGE),
            Mutation::Swap { a, b } => (a.min(b), 0),
            Mutation::ZeroFile { file }
            | Mutation::Foreign { file }
            | Mutation::Grow { file, .. }
            | Mutation::Remove { file }
            | Mutation::Rename { file } => (file, 0),
        };
        (file << 20) + at
    }

    fn apply(&self, dir: &Path, sources: &[PathBuf]) {
        for source in sources {
            std::os::unix::fs::symlink(source, dir.join(source.file_name().unwrap())).unwrap();
        }
        let target = |file: usize| dir.join(sources[file].file_name().unwrap());
        let rewrite = |file: usize, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = fs::read(&sources[file]).unwrap();
            change(&mut bytes);
            fs::remove_file(target(file)).unwrap();
            fs::write(target(file), bytes).unwrap();
        };
        match self {
            Mutation::Flip { file, at, bit } => rewrite(*file, &|b| b[*at] ^= 1 << bit),
            Mutation::Cut { file, at } => rewrite(*file, &|b| b.truncate(*at)),
            Mutation::Zero { file, page, pages } => {
                rewrite(*file, &|b| {
                    b.iter_mut()
                        .skip(page * PAGE)
                        .take(pages * PAGE)
                        .for_each(|x| *x = 0)
                });
            }
            Mutation::Grow { file, by } => rewrite(*file, &|b| b.resize(b.len() + by, 0)),
            Mutation::ZeroFile { file } => rewrite(*file, &|b| b.fill(0)),
            Mutation::Recycle { file, page } => {
                let old = fs::read(&sources[(*file + 1) % FILES]).unwrap();
                rewrite(*file, &|b| {
                    b[page * PAGE..][..PAGE].copy_from_slice(&old[page * PAGE..][..PAGE])
                });
            }
            Mutation::Garbage { file, at, bytes } => {
                rewrite(*file, &|b| {
                    b.iter_mut().skip(*at).zip(bytes).for_each(|(x, y)| *x = *y)
                });
            }
            Mutation::Foreign { file } => rewrite(*file, &|b| b[24] ^= 1),
            Mutation::Swap { a, b } => {
                let (first, second) = (
                    fs::read(&sources[*a]).unwrap(),
                    fs::read(&sources[*b]).unwrap(),
                );
                rewrite(*a, &|bytes| *bytes = second.clone());
                rewrite(*b, &|bytes| *bytes = first.clone());
            }
            Mutation::Remove { file } => fs::remove_file(target(*file)).unwrap(),
            Mutation::Rename { file } => {
                fs::rename(target(*file), dir.join("0000000100000000000000F0")).unwrap()
            }
        }
    }
}

fn read(dir: &Path, from: Lsn) -> (Vec<(Lsn, u32)>, End) {
    let wal = Wal::open(dir, &Options::default()).unwrap();
    let mut reader = Reader::new(&wal, from);
    let mut records = Vec::new();
    loop {
        match reader.read() {
            Ok(record) => records.push((record.start, record.header.crc)),
            Err(end) => return (records, *end),
        }
    }
}

/// Segments read side by side, put together again.
fn analysed(dir: &Path, from: Lsn, threads: usize) -> (u64, End) {
    let wal = Wal::open(dir, &Options::default()).unwrap();
    let options = AnalysisOptions {
        from: Some(from),
        threads,
        ..AnalysisOptions::default()
    };
    let (_, analysis) = incidents(&wal, &options).unwrap();
    (analysis.summary.records, analysis.summary.end)
}

pub fn mutate(archive: &Path) {
    let wal = Wal::open(archive, &Options::default()).unwrap();
    let sources: Vec<PathBuf> = wal
        .files()
        .skip(1)
        .take(FILES)
        .map(|(_, file)| file.path.clone())
        .collect();
    assert_eq!(sources.len(), FILES);
    let from = wal.segment_size().start(wal.files().nth(1).unwrap().0);
    let healthy = tempfile::tempdir().unwrap();
    Mutation::Cut {
        file: 0,
        at: 1 << 20,
    }
    .apply(healthy.path(), &sources);
    let (truth, end) = read(healthy.path(), from);
    assert!(!end.is_damage(), "{end}");
    // A record that goes on in a segment nobody has may be damaged without proof.
    let last_page = truth.last().unwrap().0.0 / PAGE as u64 * PAGE as u64;
    let config = Config {
        cases: 250,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&mutation(), |mutation| {
            let dir = tempfile::tempdir().unwrap();
            mutation.apply(dir.path(), &sources);
            let (records, end) = read(dir.path(), from);
            prop_assert!(
                truth.starts_with(&records),
                "records that never existed: {end}"
            );
            let harmless = records.len() == truth.len();
            let at_tip = from.0 + mutation.position() as u64 >= last_page;
            prop_assert!(
                end.is_damage() || harmless || at_tip,
                "{end} after {} of {}",
                records.len(),
                truth.len()
            );
            let (count, same) = analysed(dir.path(), from, 2);
            prop_assert_eq!(count, records.len() as u64);
            prop_assert_eq!(&same, &end);
            if end.is_damage() {
                prop_assert!(!end.file_name().is_empty(), "{end} names no file");
            }
            Ok(())
        })
        .unwrap();
}
