//! PostgreSQL's own compression (`common/pg_lzcompress.c`): a control byte says of the next eight
//! items whether they are a literal byte or a reference into what was already written.

/// Unpacks exactly `length` bytes; `None` when the data cannot be that.
pub(super) fn unpack(source: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(length);
    let mut input = source.iter().copied();
    while out.len() < length {
        let control = input.next()?;
        for bit in 0..8 {
            if out.len() == length {
                break;
            }
            if control & (1 << bit) == 0 {
                out.push(input.next()?);
                continue;
            }
            let (first, second) = (input.next()?, input.next()?);
            let offset = usize::from(first & 0xF0) << 4 | usize::from(second);
            let mut count = usize::from(first & 0x0F) + 3;
            if count == 18 {
                count += usize::from(input.next()?);
            }
            if offset == 0 || offset > out.len() {
                return None;
            }
            for _ in 0..count.min(length - out.len()) {
                out.push(out[out.len() - offset]);
            }
        }
    }
    input.next().is_none().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::unpack;

    #[test]
    fn literals_and_overlapping_references() {
        // "abc", then 9 bytes from 3 back.
        let packed = [0b0000_1000, b'a', b'b', b'c', 0x06, 0x03];
        assert_eq!(unpack(&packed, 12).unwrap(), b"abcabcabcabc");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(unpack(&[], 1).is_none());
        assert!(unpack(&[0x01, 0x00, 0x05], 4).is_none(), "before the start");
        assert!(unpack(&[0x00, b'a', b'b'], 1).is_none(), "bytes left over");
    }
}
