//! Timelines: `.history` files and the chain of timelines that leads to a target
//! (`access/transam/timeline.c`).

use std::fs;
use std::path::Path;

use super::{Error, Lsn, SegmentSize};

/// One line of a `.history` file: the timeline ended at `switchpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    pub timeline: u32,
    pub switchpoint: Lsn,
    pub reason: String,
}

/// Reads the text of `TTTTTTTT.history`, with the checks of `readTimeLineHistory`.
pub fn parse_history(timeline: u32, text: &str) -> Result<Vec<HistoryEntry>, Error> {
    let mut entries: Vec<HistoryEntry> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |problem| Error::BadHistory {
            timeline,
            line: index + 1,
            problem,
        };
        let mut parts = line.splitn(3, char::is_whitespace);
        let parent: u32 = parts
            .next()
            .and_then(|p| p.parse().ok())
            .filter(|t| *t > 0)
            .ok_or_else(|| bad("expected a timeline number"))?;
        let switchpoint: Lsn = parts
            .next()
            .and_then(|p| p.parse().ok())
            .ok_or_else(|| bad("expected the position where that timeline ended"))?;
        if let Some(last) = entries.last() {
            if parent <= last.timeline {
                return Err(bad("timelines must increase"));
            }
            if switchpoint < last.switchpoint {
                return Err(bad("positions must not go backwards"));
            }
        }
        if parent >= timeline {
            return Err(bad("a parent must have a lower number than its child"));
        }
        entries.push(HistoryEntry {
            timeline: parent,
            switchpoint,
            reason: parts.next().unwrap_or_default().trim().to_string(),
        });
    }
    if entries.is_empty() {
        return Err(Error::BadHistory {
            timeline,
            line: 1,
            problem: "the file names no parent timeline",
        });
    }
    Ok(entries)
}

/// A timeline of a chain and the positions it covers: `begin <= lsn < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainLink {
    pub timeline: u32,
    pub begin: Lsn,
    /// `None` for the target timeline, which goes on.
    pub end: Option<Lsn>,
}

/// The timelines that lead to a target, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    links: Vec<ChainLink>,
}

impl Chain {
    /// A timeline without parents.
    pub fn single(timeline: u32) -> Chain {
        Chain {
            links: vec![ChainLink {
                timeline,
                begin: Lsn::INVALID,
                end: None,
            }],
        }
    }

    /// The chain described by the history of `timeline`.
    pub fn from_history(timeline: u32, history: &[HistoryEntry]) -> Chain {
        let mut begin = Lsn::INVALID;
        let mut links: Vec<ChainLink> = Vec::with_capacity(history.len() + 1);
        for entry in history {
            links.push(ChainLink {
                timeline: entry.timeline,
                begin,
                end: Some(entry.switchpoint),
            });
            begin = entry.switchpoint;
        }
        links.push(ChainLink {
            timeline,
            begin,
            end: None,
        });
        Chain { links }
    }

    /// A timeline whose history is not known: any lower number may be its parent.
    pub fn unknown(timeline: u32) -> Chain {
        let parents = (1..timeline.min(1024)).map(|timeline| HistoryEntry {
            timeline,
            switchpoint: Lsn::INVALID,
            reason: String::new(),
        });
        Chain::from_history(timeline, &parents.collect::<Vec<_>>())
    }

    /// Reads `dir/TTTTTTTT.history`. Timeline 1 has none.
    pub fn load(dir: &Path, timeline: u32) -> Result<Chain, Error> {
        if timeline <= 1 {
            return Ok(Chain::single(timeline.max(1)));
        }
        let path = dir.join(format!("{timeline:08X}.history"));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::MissingHistory {
                    timeline,
                    dir: dir.to_path_buf(),
                });
            }
            Err(error) => return Err(Error::io("read", path, error)),
        };
        let history = parse_history(timeline, &String::from_utf8_lossy(&bytes))?;
        Ok(Chain::from_history(timeline, &history))
    }

    /// Oldest first; never empty.
    pub fn links(&self) -> &[ChainLink] {
        &self.links
    }

    /// The timeline the chain leads to.
    pub fn target(&self) -> u32 {
        self.links.last().map_or(1, |link| link.timeline)
    }

    pub fn contains(&self, timeline: u32) -> bool {
        self.links.iter().any(|link| link.timeline == timeline)
    }

    /// The timeline `lsn` belongs to (`tliOfPointInHistory`).
    pub fn timeline_at(&self, lsn: Lsn) -> u32 {
        self.links
            .iter()
            .rev()
            .find(|link| link.begin <= lsn)
            .map_or(1, |link| link.timeline)
    }

    /// The timelines whose file may serve segment `number`, newest first, each with the position
    /// up to which that file is on the chain (`XLogFileReadAnyTLI`: a timeline that begins in a
    /// later segment is not asked; one that ended before the segment is a dead branch).
    pub fn serving(
        &self,
        number: u64,
        size: SegmentSize,
    ) -> impl Iterator<Item = (u32, Option<Lsn>)> + '_ {
        self.links
            .iter()
            .rev()
            .filter(move |link| size.number(link.begin) <= number)
            .filter(move |link| link.end.is_none_or(|end| end > size.start(number)))
            .map(|link| (link.timeline, link.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_postgresql_writes() {
        let text = "1\t0/446D8D8\tbefore LSN 0/446D8D8\n\n# note\n2\t0/B000E68\tno recovery target specified\n";
        let entries = parse_history(3, text).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[1].reason, "no recovery target specified");
        let chain = Chain::from_history(3, &entries);
        assert_eq!(chain.target(), 3);
        assert_eq!(chain.timeline_at(Lsn(0x446D8D7)), 1);
        assert_eq!(chain.timeline_at(Lsn(0x446D8D8)), 2);
        assert_eq!(chain.timeline_at(Lsn(0xFFFF_FFFF)), 3);
        let size = SegmentSize::DEFAULT;
        let serving = |n| chain.serving(n, size).map(|(t, _)| t).collect::<Vec<_>>();
        assert_eq!(serving(3), [1]);
        assert_eq!(serving(4), [2, 1]);
        assert_eq!(serving(5), [2]);
        assert_eq!(serving(0xB), [3, 2]);
        assert_eq!(serving(0xC), [3]);
    }

    #[test]
    fn refuses_nonsense() {
        for text in [
            "",
            "# only\n",
            "x\t0/1\n",
            "0\t0/1\n",
            "1\n",
            "1\tzero\n",
            "1\t0/2\n1\t0/3\n",
            "1\t0/9\n2\t0/3\n",
            "3\t0/1\n",
        ] {
            assert!(parse_history(3, text).is_err(), "{text:?} was accepted");
        }
    }
}
