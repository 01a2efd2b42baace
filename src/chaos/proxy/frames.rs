//! Just enough of PostgreSQL's protocol to see a COMMIT being acknowledged.

use std::sync::atomic::{AtomicU8, Ordering};

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

const PLAIN: u8 = 0;
/// The client asked for encryption; the server answers with one byte.
const ASKED: u8 = 1;
const OPAQUE: u8 = 2;

/// What both directions of a connection know about its encryption.
#[derive(Debug, Default)]
pub struct Negotiation(AtomicU8);

/// The client's bytes: only its first packets matter, which may ask for encryption.
#[derive(Debug, Default)]
pub struct ClientFrames {
    head: Vec<u8>,
    done: bool,
}

impl ClientFrames {
    pub fn feed(&mut self, mut bytes: &[u8], negotiation: &Negotiation) {
        while !self.done && !bytes.is_empty() {
            let (first, rest) = bytes.split_at(1);
            self.head.extend_from_slice(first);
            bytes = rest;
            if self.head.len() == 8 {
                let code =
                    u32::from_be_bytes([self.head[4], self.head[5], self.head[6], self.head[7]]);
                if code == SSL_REQUEST || code == GSS_REQUEST {
                    negotiation.0.store(ASKED, Ordering::SeqCst);
                    self.head.clear();
                } else {
                    self.done = true;
                }
            }
        }
    }
}

/// The server's bytes.
#[derive(Debug, Default)]
pub struct ServerFrames {
    /// Type and length of the message that is being read.
    head: Vec<u8>,
    /// Bytes of its body that are still to come.
    left: usize,
    /// The start of the body of a CommandComplete.
    tag: Vec<u8>,
}

const TAG: &[u8] = b"COMMIT\0";

impl ServerFrames {
    /// Reads on. Stops after the message that acknowledges a COMMIT, if there is one: returns where it begins
    /// in `bytes` (0 if before them) and where it ends.
    pub fn next_commit(
        &mut self,
        bytes: &[u8],
        negotiation: &Negotiation,
    ) -> Option<(usize, usize)> {
        let mut at = 0;
        let mut start = 0;
        while at < bytes.len() {
            match negotiation.0.load(Ordering::SeqCst) {
                OPAQUE => return None,
                ASKED => {
                    let answer = if bytes[at] == b'N' { PLAIN } else { OPAQUE };
                    negotiation.0.store(answer, Ordering::SeqCst);
                    at += 1;
                    continue;
                }
                _ => {}
            }
            if self.head.len() < 5 {
                if self.head.is_empty() {
                    start = at;
                }
                self.head.push(bytes[at]);
                at += 1;
                if self.head.len() == 5 {
                    let length = u32::from_be_bytes([
                        self.head[1],
                        self.head[2],
                        self.head[3],
                        self.head[4],
                    ]);
                    self.left = (length as usize).saturating_sub(4);
                }
            } else {
                let taken = self.left.min(bytes.len() - at);
                if self.head[0] == b'C' {
                    let wanted = (TAG.len() + 1).saturating_sub(self.tag.len()).min(taken);
                    self.tag.extend_from_slice(&bytes[at..at + wanted]);
                }
                self.left -= taken;
                at += taken;
            }
            if self.head.len() == 5 && self.left == 0 {
                let commit = self.tag == TAG;
                self.head.clear();
                self.tag.clear();
                if commit {
                    return Some((start, at));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut all = vec![kind];
        all.extend((body.len() as u32 + 4).to_be_bytes());
        all.extend(body);
        all
    }

    #[test]
    fn commits_are_found_however_the_bytes_are_cut() {
        let mut stream = message(b'C', b"INSERT 0 1\0");
        stream.extend(message(b'Z', b"T"));
        let from = stream.len();
        stream.extend(message(b'C', b"COMMIT\0"));
        let to = stream.len();
        stream.extend(message(b'D', b"COMMIT\0"));
        stream.extend(message(b'C', b"COMMIT PREPARED\0"));
        for size in 1..=stream.len() {
            let (negotiation, mut frames) = (Negotiation::default(), ServerFrames::default());
            let (mut found, mut offset) = (Vec::new(), 0);
            for chunk in stream.chunks(size) {
                let mut at = 0;
                while let Some((start, end)) = frames.next_commit(&chunk[at..], &negotiation) {
                    found.push((offset + at + start, offset + at + end));
                    at += end;
                }
                offset += chunk.len();
            }
            assert_eq!(found.len(), 1, "chunks of {size}");
            assert_eq!(found[0].1, to);
            assert!(found[0].0 >= from);
        }
    }

    #[test]
    fn encryption_that_is_refused_is_one_byte_and_one_that_is_granted_hides_everything() {
        let request = [0, 0, 0, 8, 4, 210, 22, 47];
        let commit = message(b'C', b"COMMIT\0");
        for (answer, seen) in [(b'N', true), (b'S', false)] {
            let negotiation = Negotiation::default();
            ClientFrames::default().feed(&request, &negotiation);
            let mut stream = vec![answer];
            stream.extend(&commit);
            let found = ServerFrames::default().next_commit(&stream, &negotiation);
            assert_eq!(found.is_some(), seen);
        }
    }
}
