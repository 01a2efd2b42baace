//! What an archive directory holds, and what it proves must have existed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{Error, load_identity};
use crate::wal::{
    Chain, FileName, HistoryEntry, Identity, Lsn, Packing, SegmentSize, parse_history,
};

/// How far the WAL in a segment must reach, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required {
    pub until: Lsn,
    pub evidence: String,
}

/// The files of an archive.
#[derive(Debug)]
pub struct Listing {
    pub dir: PathBuf,
    /// Whole segments, by timeline and number.
    pub segments: BTreeMap<u32, BTreeSet<u64>>,
    pub partials: BTreeMap<u32, BTreeSet<u64>>,
    /// Readable history files.
    pub histories: BTreeMap<u32, Vec<HistoryEntry>>,
    /// History files that cannot be understood, and why.
    pub bad_histories: BTreeMap<u32, String>,
    pub backups: Vec<String>,
    /// Names that are no WAL files.
    pub others: Vec<String>,
    /// `None` in an archive without any readable segment.
    pub identity: Option<Identity>,
    /// Whole segments that exist in compressed form only; see [`Listing::with_packed`].
    pub packed: BTreeMap<(u32, u64), String>,
}

impl Listing {
    /// Lists a directory completely or fails.
    pub fn read(dir: &Path) -> Result<Listing, Error> {
        Listing::read_as(dir, None)
    }

    /// As [`Listing::read`], for a directory whose cluster is known.
    pub fn read_as(dir: &Path, identity: Option<Identity>) -> Result<Listing, Error> {
        let mut listing = Listing {
            dir: dir.to_path_buf(),
            segments: BTreeMap::new(),
            partials: BTreeMap::new(),
            histories: BTreeMap::new(),
            bad_histories: BTreeMap::new(),
            backups: Vec::new(),
            others: Vec::new(),
            packed: BTreeMap::new(),
            identity: identity.map_or_else(|| load_identity(dir), |known| Ok(Some(known)))?,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(|e| Error::io("list", dir, e))? {
            let entry = entry.map_err(|e| Error::io("list", dir, e))?;
            let text = entry.file_name().to_string_lossy().into_owned();
            match FileName::parse(&text) {
                Some(name) => names.push((name, text)),
                None if text.starts_with('.') => {}
                None => listing.others.push(text),
            }
        }
        listing.others.sort();
        let has_segments = names
            .iter()
            .any(|(n, _)| matches!(n, FileName::Segment { .. }));
        if listing.identity.is_none() && has_segments {
            listing.identity = Identity::of_directory(dir).ok();
        }
        // A receiver that has just begun has nothing else yet.
        let mut partials = names
            .iter()
            .filter(|(n, _)| matches!(n, FileName::Partial { .. }));
        if listing.identity.is_none() {
            listing.identity =
                partials.find_map(|(_, text)| Identity::of_file(&dir.join(text)).ok().flatten());
        }
        let size = listing.segment_size();
        for (name, text) in names {
            match (name, name.number(size)) {
                (FileName::Segment { timeline, .. }, Some(number)) => {
                    listing.segments.entry(timeline).or_default().insert(number);
                }
                (FileName::Partial { timeline, .. }, Some(number)) => {
                    listing.partials.entry(timeline).or_default().insert(number);
                }
                (FileName::History { timeline }, _) => listing.read_history(timeline, &text),
                (FileName::Backup { .. }, _) => listing.backups.push(text),
                (_, None) => listing.others.push(text),
            }
        }
        listing.backups.sort();
        Ok(listing)
    }

    /// Counts compressed segments, too. Recovery cannot use them as they are, so only those who read WAL
    /// themselves ask for this.
    pub fn with_packed(mut self) -> Listing {
        let known = |text: &String| Packing::parse(text).map(|(name, _)| (name, text.clone()));
        let found: Vec<_> = self.others.iter().filter_map(known).collect();
        self.others.retain(|text| Packing::parse(text).is_none());
        if self.identity.is_none() && !found.is_empty() {
            self.identity = Identity::of_directory(&self.dir).ok();
        }
        let size = self.segment_size();
        for (name, text) in found {
            let timeline = name.timeline();
            match (name, name.number(size)) {
                (FileName::Segment { .. }, Some(number)) => {
                    if self.segments.entry(timeline).or_default().insert(number) {
                        self.packed.insert((timeline, number), text);
                    }
                }
                (FileName::Partial { .. }, Some(number)) => {
                    self.partials.entry(timeline).or_default().insert(number);
                }
                _ => self.others.push(text),
            }
        }
        self.others.sort();
        self
    }

    /// The name of the file that holds a segment.
    pub fn file_of(&self, timeline: u32, number: u64) -> String {
        let packed = self.packed.get(&(timeline, number)).cloned();
        packed.unwrap_or_else(|| self.segment_size().name(timeline, number))
    }

    fn read_history(&mut self, timeline: u32, name: &str) {
        let parsed = fs::read(self.dir.join(name))
            .map_err(|e| e.to_string())
            .and_then(|bytes| {
                parse_history(timeline, &String::from_utf8_lossy(&bytes)).map_err(|e| e.to_string())
            });
        match parsed {
            Ok(history) => {
                self.histories.insert(timeline, history);
            }
            Err(problem) => {
                self.bad_histories.insert(timeline, problem);
            }
        }
    }

    pub fn segment_size(&self) -> SegmentSize {
        self.identity
            .map_or(SegmentSize::DEFAULT, |i| i.segment_size)
    }

    /// The chain that leads to `timeline`; when its history is not here, any lower timeline may
    /// be a parent.
    pub fn chain(&self, timeline: u32) -> Chain {
        match self.histories.get(&timeline) {
            Some(history) => Chain::from_history(timeline, history),
            None => Chain::unknown(timeline),
        }
    }

    /// What the rest of the archive proves about segment `number` of `timeline`: a later segment
    /// of the same timeline, or a timeline that branched off behind the segment's start. `None`:
    /// the WAL of that timeline may well end before or in this segment.
    pub fn required(&self, timeline: u32, number: u64) -> Option<Required> {
        let size = self.segment_size();
        let (start, end) = (size.start(number), size.start(number.saturating_add(1)));
        if let Some(last) = self.histories.get(&timeline).and_then(|h| h.last())
            && number < size.number(last.switchpoint)
        {
            // The timeline had not begun: recovery asks its parent.
            return None;
        }
        let later = self
            .segments
            .get(&timeline)
            .and_then(|numbers| numbers.range(number.saturating_add(1)..).next());
        if let Some(later) = later {
            return Some(Required {
                until: end,
                evidence: format!("a later segment exists: {}", size.name(timeline, *later)),
            });
        }
        let receiving = self
            .partials
            .get(&timeline)
            .and_then(|numbers| numbers.range(number.saturating_add(1)..).next());
        if let Some(partial) = receiving {
            return Some(Required {
                until: end,
                evidence: format!(
                    "a later segment was begun: {}.partial",
                    size.name(timeline, *partial)
                ),
            });
        }
        self.histories
            .iter()
            .flat_map(|(child, history)| history.iter().map(move |entry| (child, entry)))
            .filter(|(_, entry)| entry.timeline == timeline && entry.switchpoint > start)
            .max_by_key(|(_, entry)| entry.switchpoint)
            .map(|(child, entry)| Required {
                until: entry.switchpoint.min(end),
                evidence: format!(
                    "timeline {child} left timeline {timeline} later, at {}",
                    entry.switchpoint
                ),
            })
    }

    /// What proves that `timeline` exists although its history file does not.
    pub fn needs_history(&self, timeline: u32) -> Option<String> {
        // The first timeline has none, and yet recovery asks for it when it writes the history of
        // the second (`writeTimeLineHistory`).
        if timeline <= 1 {
            return None;
        }
        let size = self.segment_size();
        let own = [&self.segments, &self.partials]
            .into_iter()
            .find_map(|set| set.get(&timeline)?.first())
            .map(|number| size.name(timeline, *number));
        if let Some(name) = own {
            return Some(format!("there is WAL of timeline {timeline}: {name}"));
        }
        let child = self
            .histories
            .iter()
            .find(|(_, history)| history.iter().any(|entry| entry.timeline == timeline));
        child.map(|(child, _)| format!("timeline {child} descends from timeline {timeline}"))
    }
}
