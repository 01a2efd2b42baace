//! Just enough of tar to take one file out of what the engine's archive API sends, and to send one.

/// The archive of one file. Names have at most 100 bytes.
pub fn tar_of_one(name: &str, contents: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, &name.as_bytes()[..name.len().min(100)]);
    put(100, b"0000644\0");
    put(156, b"0");
    put(257, b"ustar\x0000");
    with_contents(&header, contents)
}

/// The contents of the first regular file of an archive.
pub fn first_file(archive: &[u8]) -> Option<&[u8]> {
    first_entry(archive).map(|(_, contents)| contents)
}

/// An archive of the first regular file with other contents; name, owner and mode stay.
pub(super) fn replaced(archive: &[u8], contents: &[u8]) -> Option<Vec<u8>> {
    first_entry(archive).map(|(header, _)| with_contents(header, contents))
}

/// An archive of one entry with this header, its size and checksum set.
fn with_contents(header: &[u8], contents: &[u8]) -> Vec<u8> {
    let mut archive = header.to_vec();
    archive[124..136].copy_from_slice(format!("{:011o}\0", contents.len()).as_bytes());
    // The checksum is that of the header with blanks in its place.
    archive[148..156].fill(b' ');
    let sum: u32 = archive.iter().map(|byte| u32::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.extend_from_slice(contents);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

/// The header and the contents of the first regular file.
fn first_entry(archive: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        let header = archive.get(at..at + 512)?;
        if header.iter().all(|byte| *byte == 0) {
            return None;
        }
        let size = size(&header[124..136])?;
        let start = at + 512;
        // "0" and NUL are regular files; extended headers and directories are passed over.
        if matches!(header[156], b'0' | 0) {
            return Some((header, archive.get(start..start + size)?));
        }
        at = start + size.div_ceil(512) * 512;
    }
}

/// Octal text, or for large files a binary number with the highest bit set.
fn size(field: &[u8]) -> Option<usize> {
    if field[0] & 0x80 != 0 {
        let digits = field[4..].iter();
        return usize::try_from(digits.fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte))).ok();
    }
    let text = std::str::from_utf8(field).ok()?;
    usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: u8, contents: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[124..135].copy_from_slice(format!("{:011o}", contents.len()).as_bytes());
        bytes[156] = kind;
        bytes.extend(contents);
        bytes.resize(bytes.len().div_ceil(512) * 512, 0);
        bytes
    }

    #[test]
    fn what_is_sent_can_be_read() {
        for contents in [&b""[..], b"hello", &[7; 1000]] {
            let archive = tar_of_one("a file", contents);
            assert_eq!(archive.len() % 512, 0);
            assert_eq!(first_file(&archive), Some(contents));
        }
    }

    #[test]
    fn skips_extended_headers() {
        let mut archive = entry(b'x', b"30 mtime=1\n");
        archive.extend(entry(b'0', b"hello"));
        archive.extend([0; 1024]);
        assert_eq!(first_file(&archive), Some(&b"hello"[..]));
        assert_eq!(first_file(&[0; 1024]), None);
        assert_eq!(first_file(b"short"), None);
    }

    #[test]
    fn a_file_is_replaced_by_a_shorter_or_a_longer_one() {
        let archive = entry(b'0', b"hello");
        for new in [&b"hi"[..], &[7; 1000]] {
            let sent = replaced(&archive, new).unwrap();
            assert_eq!(first_file(&sent), Some(new));
            assert_eq!(sent.len() % 512, 0);
            let sum = std::str::from_utf8(&sent[148..154]).unwrap();
            let mut blank = sent[..512].to_vec();
            blank[148..156].fill(b' ');
            let counted: u32 = blank.iter().map(|byte| u32::from(*byte)).sum();
            assert_eq!(u32::from_str_radix(sum, 8), Ok(counted));
        }
        assert_eq!(replaced(&[0; 1024], b"x"), None);
    }
}
