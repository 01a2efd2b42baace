//! Makes a segment of well-formed records with any contents: right headers, links and checksums,
//! so that what reads the contents is reached. Used by a property test and by the fuzz target.

const PAGE: usize = 8192;
pub const SEGMENT: usize = 1 << 20;
/// Segment 1, so that no record begins at position 0.
pub const START: u64 = SEGMENT as u64;
pub const SYSTEM: u64 = 7_000_000_000_000_000_001;
pub const MAGICS: [u16; 6] = [0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118];

/// A record without its header.
#[derive(Debug, Clone)]
pub struct Body {
    pub rmgr: u8,
    pub info: u8,
    pub xid: u32,
    pub bytes: Vec<u8>,
}

/// A segment that begins with `bodies`, as far as they fit.
pub fn segment(magic: u16, bodies: &[Body]) -> Vec<u8> {
    let mut segment = vec![0u8; SEGMENT];
    let mut at = 0;
    let mut prev = 0u64;
    for body in bodies {
        let total = 24 + body.bytes.len();
        // Room for the record and for all page headers in it.
        if at + total + (total / PAGE + 2) * 48 > SEGMENT {
            break;
        }
        if at % PAGE == 0 {
            at = page_header(&mut segment, magic, at, 0);
        }
        let start = START + at as u64;
        let record = record(body, prev);
        prev = start;
        let mut rest = &record[..];
        while !rest.is_empty() {
            if at % PAGE == 0 {
                at = page_header(&mut segment, magic, at, rest.len() as u32);
            }
            let take = rest.len().min(PAGE - at % PAGE);
            segment[at..at + take].copy_from_slice(&rest[..take]);
            rest = &rest[take..];
            at += take;
        }
        at = at.next_multiple_of(8);
    }
    segment
}

fn record(body: &Body, prev: u64) -> Vec<u8> {
    let mut record = Vec::with_capacity(24 + body.bytes.len());
    record.extend((24 + body.bytes.len() as u32).to_le_bytes());
    record.extend(body.xid.to_le_bytes());
    record.extend(prev.to_le_bytes());
    record.extend([body.info, body.rmgr, 0, 0]);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&body.bytes), &record);
    record.extend(crc.to_le_bytes());
    record.extend(&body.bytes);
    record
}

/// Writes the header of the page at `at` and says where its body begins.
fn page_header(segment: &mut [u8], magic: u16, at: usize, remaining: u32) -> usize {
    let long = at == 0;
    let info = u16::from(remaining > 0) | if long { 2 } else { 0 };
    let mut header = Vec::new();
    header.extend(magic.to_le_bytes());
    header.extend(info.to_le_bytes());
    header.extend(1u32.to_le_bytes());
    header.extend((START + at as u64).to_le_bytes());
    header.extend(remaining.to_le_bytes());
    header.extend([0; 4]);
    if long {
        header.extend(SYSTEM.to_le_bytes());
        header.extend((SEGMENT as u32).to_le_bytes());
        header.extend((PAGE as u32).to_le_bytes());
    }
    segment[at..at + header.len()].copy_from_slice(&header);
    at + header.len()
}
