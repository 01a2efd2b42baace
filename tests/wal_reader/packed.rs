//! Compressed segments read like plain ones, and damage in them is told from a partial end.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rpitr::wal::{End, Error, Lsn, Options, Reader, Wal};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    // The block size of liblz4, and so of pg_receivewal.
    let info = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn read(dir: &Path, options: &Options) -> (Vec<(Lsn, u32)>, End) {
    let wal = Wal::open(dir, options).unwrap();
    let mut reader = Reader::new(&wal, wal.first().unwrap());
    let mut records = Vec::new();
    loop {
        match reader.read() {
            Ok(record) => records.push((record.start, record.header.crc)),
            Err(end) => return (records, *end),
        }
    }
}

struct Packed {
    dir: tempfile::TempDir,
    files: Vec<PathBuf>,
}

/// The archive with every segment packed and named by `suffix`.
fn packed(segments: &[PathBuf], suffix: &str, pack: fn(&[u8]) -> Vec<u8>) -> Packed {
    let dir = tempfile::tempdir().unwrap();
    let files = segments
        .iter()
        .map(|segment| {
            let name = segment.file_name().unwrap().to_str().unwrap();
            let to = dir.path().join(format!("{name}{suffix}"));
            fs::write(&to, pack(&fs::read(segment).unwrap())).unwrap();
            to
        })
        .collect();
    Packed { dir, files }
}

pub fn packed_archives(archive: &Path) {
    let wal = Wal::open(archive, &Options::default()).unwrap();
    let segments: Vec<PathBuf> = wal
        .files()
        .map(|(_, file)| file.path.clone())
        .take(6)
        .collect();
    let plain = packed(&segments, "", <[u8]>::to_vec);
    let (truth, _) = read(plain.dir.path(), &Options::default());
    assert!(truth.len() > 1000);
    for (suffix, pack) in [
        (".gz", gzip as fn(&[u8]) -> Vec<u8>),
        (".lz4", lz4),
        (".zst", zstd),
    ] {
        let whole = packed(&segments, suffix, pack);
        let (records, end) = read(whole.dir.path(), &Options::default());
        assert_eq!(records, truth, "{suffix}: {end}");
        assert!(!end.is_damage(), "{suffix}: {end}");

        // Cut in the middle: damage that names the file.
        let victim = &whole.files[3];
        let bytes = fs::read(victim).unwrap();
        for cut in [0, 5, bytes.len() / 2, bytes.len() - 1] {
            fs::write(victim, &bytes[..cut]).unwrap();
            let (records, end) = read(whole.dir.path(), &Options::default());
            assert!(truth.starts_with(&records), "{suffix} cut at {cut}");
            // The check value at the very end may be all that is missing.
            assert!(
                end.is_damage() || records == truth,
                "{suffix} cut at {cut}: {end}"
            );
            if end.is_damage() {
                assert_eq!(
                    end.file.as_deref(),
                    Some(victim.as_path()),
                    "{suffix} cut at {cut}: {end}"
                );
            }
        }
        // One byte too many after unpacking, at the end of the chain too.
        let mut long = fs::read(&segments[3]).unwrap();
        long.push(0);
        fs::write(victim, pack(&long)).unwrap();
        let (_, end) = read(whole.dir.path(), &Options::default());
        assert_eq!(end.reason.code(), "wrong_size", "{suffix}: {end}");
        assert!(end.is_damage());
    }
    partials(&segments, &truth);
    longer_than_a_segment(&segments);
    refuses_unknown_magic(&segments);
}

/// What `pg_receivewal --compress` leaves: the last file is cut anywhere.
fn partials(segments: &[PathBuf], truth: &[(Lsn, u32)]) {
    let with_partials = Options {
        partials: true,
        ..Options::default()
    };
    for (suffix, pack) in [(".gz", gzip as fn(&[u8]) -> Vec<u8>), (".lz4", lz4)] {
        let all = packed(segments, suffix, pack);
        let last = all.files.last().unwrap();
        let bytes = fs::read(last).unwrap();
        fs::remove_file(last).unwrap();
        let (before, _) = read(all.dir.path(), &with_partials);
        let mut counts = Vec::new();
        for cut in [0, 7, bytes.len() / 3, bytes.len() / 2, bytes.len()] {
            let partial = PathBuf::from(format!("{}.partial", last.display()));
            fs::write(&partial, &bytes[..cut]).unwrap();
            let (records, end) = read(all.dir.path(), &with_partials);
            assert!(truth.starts_with(&records), "{suffix} cut at {cut}: {end}");
            assert!(!end.is_damage(), "{suffix} cut at {cut}: {end}");
            counts.push(records.len());

            // Archive recovery never reads it.
            assert_eq!(read(all.dir.path(), &Options::default()).0, before);
        }
        assert!(counts.is_sorted(), "{counts:?}");
        assert_eq!(counts[0], before.len());
        assert_eq!(*counts.last().unwrap(), truth.len());
        assert!(
            counts[3] > counts[0],
            "half a file holds records: {counts:?}"
        );
    }
}

fn longer_than_a_segment(segments: &[PathBuf]) {
    let all = packed(segments, "", <[u8]>::to_vec);
    let mut bytes = fs::read(&segments[2]).unwrap();
    bytes.extend([0; 8192]);
    fs::write(&all.files[2], bytes).unwrap();
    let (_, end) = read(all.dir.path(), &Options::default());
    assert_eq!(end.reason.code(), "wrong_size");
    assert!(end.is_damage(), "{end}");
}

/// PostgreSQL 19's page magic is still moving; nothing is guessed about it.
fn refuses_unknown_magic(segments: &[PathBuf]) {
    let all = packed(segments, ".zst", |bytes| {
        let mut bytes = bytes.to_vec();
        for page in bytes.chunks_mut(8192) {
            page[..2].copy_from_slice(&0xD120u16.to_le_bytes());
        }
        zstd(&bytes)
    });
    match Wal::open(all.dir.path(), &Options::default()) {
        Err(error @ Error::UnknownMagic { magic: 0xD120, .. }) => {
            assert!(error.to_string().contains("D120"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
