//! Tells the legal end of WAL from damage.
//!
//! The rule: an end is damage when anything proves that WAL went on. Proofs are a later segment
//! of the chain, a later page of the same segment that carries its own address, and a valid
//! record behind the bad one.

use super::*;

impl Reader<'_> {
    pub(super) fn judge(&mut self, fail: Fail) -> End {
        let size = self.wal.segment_size();
        let number = size.number(fail.page);
        let file = self.wal.files.get(&number).cloned();
        let missing = matches!(
            fail.reason,
            Reason::NoMoreSegments { .. } | Reason::MissingSegment { .. }
        );
        let verdict = match self.evidence(&fail, number) {
            Some(evidence) => Verdict::Damage { evidence },
            None => Verdict::Tip,
        };
        let wrong_size = match (&fail.reason, &file) {
            (Reason::WrongSize { .. }, _) => None,
            (_, Some(file)) if !missing && !file.partial => {
                Source::open(&file.path, file.packing, false)
                    .and_then(|mut source| source.len())
                    .ok()
                    .filter(|len| *len != size.bytes())
            }
            _ => None,
        };
        let (reason, verdict) = match wrong_size {
            Some(found) => (
                Reason::WrongSize {
                    found,
                    expected: size.bytes(),
                },
                Verdict::Damage {
                    evidence: "recovery refuses a segment of another size".to_string(),
                },
            ),
            None => (fail.reason, verdict),
        };
        let offset = if self.next >= fail.page && size.number(self.next) == number {
            size.offset(self.next)
        } else {
            size.offset(fail.page)
        };
        End {
            lsn: self.next,
            last_record: self.prev,
            file: file.filter(|_| !missing).map(|f| f.path),
            offset,
            reason,
            verdict,
        }
    }

    /// What proves that WAL existed behind the failure.
    fn evidence(&mut self, fail: &Fail, number: u64) -> Option<String> {
        if matches!(fail.reason, Reason::NoMoreSegments { .. }) {
            return None;
        }
        if let Some(later) = self.wal.later(number) {
            let name = later.path.file_name().unwrap_or_default();
            return Some(format!(
                "a later segment exists: {}",
                name.to_string_lossy()
            ));
        }
        let partial = self.wal.files.get(&number).is_some_and(|f| f.partial);
        let first = self.wal.segment_size().offset(fail.page) == 0;
        match &fail.reason {
            Reason::WrongSize { .. } if !partial => {
                return Some("recovery refuses a segment of another size".to_string());
            }
            Reason::Io { .. } => return Some("the file cannot be read".to_string()),
            // A recycled file keeps its cluster, sizes and version.
            Reason::WrongMagic { .. }
            | Reason::ForeignSystem { .. }
            | Reason::WrongSegmentSize { .. }
            | Reason::WrongPageSize { .. }
            | Reason::NoContinuation
            | Reason::BadContinuation { .. }
            | Reason::UnexpectedContinuation
            | Reason::OverwriteMismatch => {
                return Some("no server leaves such a page at the end of its WAL".to_string());
            }
            Reason::ZeroPage | Reason::RecycledPage { .. } | Reason::BadPageFlags { .. }
                if first && !self.wal.live && !partial =>
            {
                return Some("an archived segment has at least a first page".to_string());
            }
            _ => {}
        }
        let start = Lsn(self.next.0 - self.next.0 % PAGE);
        self.valid_record_on(start)
            .or_else(|| {
                (start != fail.page)
                    .then(|| self.valid_record_on(fail.page))
                    .flatten()
            })
            .or_else(|| self.valid_page_after(fail.page))
    }

    /// A record on the page, behind the failed one, whose checksum is right and which follows it.
    fn valid_record_on(&mut self, address: Lsn) -> Option<String> {
        if !self.has(address) && self.fill(address).is_err() {
            return None;
        }
        let at = (address.0 - self.buffered.0) as usize;
        let page = self.buffer.get(at..at + PAGE_SIZE)?;
        let major = self.wal.identity().major();
        let first = if address.0 > self.next.0 {
            SHORT_HEADER
        } else {
            (self.next.0 - address.0) as usize + 8
        };
        for offset in (first..PAGE_SIZE.saturating_sub(HEADER)).step_by(8) {
            let Some(header) = RecordHeader::parse(&page[offset..]) else {
                break;
            };
            let len = header.total_len as usize;
            let position = address.plus(offset as u64);
            let plausible = (HEADER..=PAGE_SIZE - offset).contains(&len)
                && header.prev >= self.next
                && header.prev < position
                && header.rmgr_is_known(major);
            if plausible && checksum(&page[offset..offset + len]) == header.crc {
                return Some(format!("a valid record follows at {position}"));
            }
        }
        None
    }

    /// A later page of the same segment that carries its own address.
    fn valid_page_after(&mut self, failed: Lsn) -> Option<String> {
        let size = self.wal.segment_size();
        let end = size.start(size.number(failed).saturating_add(1));
        let expect = self.wal.expect();
        let mut address = failed.plus(PAGE);
        while address < end {
            if !self.has(address) && self.fill(address).is_err() {
                return None;
            }
            let at = (address.0 - self.buffered.0) as usize;
            let valid = self
                .buffer
                .get(at..at + PAGE_SIZE)
                .and_then(PageHeader::parse)
                .is_some_and(|header| header.check(address, &expect).is_ok());
            if valid {
                return Some(format!("a valid page follows at {address}"));
            }
            address = address.plus(PAGE);
        }
        None
    }
}
