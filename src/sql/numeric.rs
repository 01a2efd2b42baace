//! The binary `numeric` format (base-10000 digits) to and from exact decimal text.

use std::fmt::Write as _;

use bytes::Buf;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEG_INFINITY: u16 = 0xF000;

/// Decimal text with the value's own number of decimals; `None` for damaged bytes.
pub(crate) fn decode(bytes: &[u8]) -> Option<String> {
    let mut reader = bytes;
    let count = reader.try_get_i16().ok()?;
    let weight = i32::from(reader.try_get_i16().ok()?);
    let sign = reader.try_get_i16().ok()? as u16;
    let scale = usize::from(reader.try_get_i16().ok()? as u16);
    let mut text = String::new();
    match sign {
        NAN => return Some("NaN".into()),
        INFINITY => return Some("Infinity".into()),
        NEG_INFINITY => return Some("-Infinity".into()),
        NEGATIVE => text.push('-'),
        POSITIVE => {}
        _ => return None,
    }
    let digits: Vec<i16> = (0..count)
        .map(|_| reader.try_get_i16().ok())
        .collect::<Option<_>>()?;
    let group = |place: i32| -> i16 {
        usize::try_from(weight - place)
            .ok()
            .and_then(|index| digits.get(index))
            .copied()
            .unwrap_or(0)
    };
    if weight < 0 {
        text.push('0');
    } else {
        let _ = write!(text, "{}", group(weight));
        for place in (0..weight).rev() {
            let _ = write!(text, "{:04}", group(place));
        }
    }
    if scale > 0 {
        text.push('.');
        let end = text.len() + scale;
        let mut place = -1;
        while text.len() < end {
            let _ = write!(text, "{:04}", group(place));
            place -= 1;
        }
        text.truncate(end);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The server's encoding of plain decimal text, to test against.
    fn encode(text: &str) -> Vec<u8> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (NEGATIVE, digits),
            None => (POSITIVE, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mut whole = "0".repeat((4 - whole.len() % 4) % 4) + whole;
        let mut weight = whole.len() as i32 / 4 - 1;
        whole.push_str(fraction);
        while !whole.len().is_multiple_of(4) {
            whole.push('0');
        }
        let mut groups: Vec<i16> = whole
            .as_bytes()
            .chunks(4)
            .map(|chunk| std::str::from_utf8(chunk).unwrap().parse().unwrap())
            .collect();
        while groups.first() == Some(&0) {
            groups.remove(0);
            weight -= 1;
        }
        while groups.last() == Some(&0) {
            groups.pop();
        }
        if groups.is_empty() {
            weight = 0;
        }
        let head = [
            groups.len() as i16,
            weight as i16,
            sign as i16,
            fraction.len() as i16,
        ];
        head.iter()
            .chain(&groups)
            .flat_map(|n| n.to_be_bytes())
            .collect()
    }

    #[test]
    fn special_values() {
        let special = |sign: u16| {
            let bytes: Vec<u8> = [0, 0, sign, 0]
                .iter()
                .flat_map(|n: &u16| n.to_be_bytes())
                .collect();
            decode(&bytes).unwrap()
        };
        assert_eq!(special(NAN), "NaN");
        assert_eq!(special(INFINITY), "Infinity");
        assert_eq!(special(NEG_INFINITY), "-Infinity");
        assert_eq!(decode(&[0, 1, 0]), None);
        assert_eq!(decode(&[0, 2, 0, 0, 0, 0, 0, 0, 0, 1]), None);
    }

    proptest! {
        #[test]
        fn round_trip(text in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?") {
            // The server has no negative zero.
            prop_assume!(!text.starts_with('-') || text.contains(['1', '2', '3', '4', '5', '6', '7', '8', '9']));
            prop_assert_eq!(decode(&encode(&text)), Some(text));
        }
    }
}
