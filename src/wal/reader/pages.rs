//! The reader's buffer: pages are read in stretches and believed only after a check.

use super::*;

impl Reader<'_> {
    /// Makes the page at `address` current, after checking its header.
    pub(super) fn page(&mut self, address: Lsn) -> Result<Page, Fail> {
        if let Some(page) = self.current
            && page.address == address
        {
            return Ok(page);
        }
        let bad = |reason| Fail {
            page: address,
            reason,
        };
        if !self.has(address) {
            self.fill(address).map_err(bad)?;
        }
        if address >= self.limit {
            return Err(bad(self.absent(self.wal.segment_size().number(address))));
        }
        let at = (address.0 - self.buffered.0) as usize;
        let header = PageHeader::parse(&self.buffer[at..at + PAGE_SIZE])
            .ok_or_else(|| bad(Reason::ZeroPage))?;
        header.check(address, &self.wal.expect()).map_err(bad)?;
        // A page carries the timeline of its first record, so a parent's number is right on the
        // pages a child copied from it.
        if header.timeline < self.page_timeline
            || header.timeline > self.file_timeline
            || !self.wal.chain().contains(header.timeline)
        {
            return Err(bad(Reason::WrongTimeline {
                found: header.timeline,
            }));
        }
        self.page_timeline = header.timeline;
        let page = Page {
            address,
            at,
            header,
        };
        self.current = Some(page);
        Ok(page)
    }

    /// Whether the buffer holds the page at `address`.
    pub(super) fn has(&self, address: Lsn) -> bool {
        let (base, len) = self.buffered;
        address.0 >= base && address.0.saturating_add(PAGE) <= base + len as u64
    }

    /// Why segment `number` cannot be read: nothing follows, or something does.
    pub(super) fn absent(&self, number: u64) -> Reason {
        let expected = self.wal.expected_name(number);
        match self.wal.later(number) {
            Some(_) => Reason::MissingSegment { expected },
            None => Reason::NoMoreSegments { expected },
        }
    }

    /// Reads a stretch of the segment that holds `address` into the buffer, whole pages only.
    pub(super) fn fill(&mut self, address: Lsn) -> Result<(), Reason> {
        let size = self.wal.segment_size();
        let number = size.number(address);
        let offset = size.offset(address);
        self.current = None;
        self.buffered = (0, 0);
        let Some(segment) = self.wal.files.get(&number) else {
            return Err(self.absent(number));
        };
        self.file_timeline = segment.timeline;
        self.limit = segment.until.unwrap_or(Lsn(u64::MAX));
        let wrong = |error: io::Error| Reason::Io {
            message: format!("cannot read: {error}"),
        };
        if self.open.as_ref().is_none_or(|(n, _)| *n != number) {
            let (path, packing) = (&segment.path, segment.packing);
            let mut source = Source::open(path, packing, segment.partial).map_err(wrong)?;
            if source.is_plain() && !segment.partial {
                let found = source.len().map_err(wrong)?;
                too_long(found, size.bytes())?;
            }
            self.open = Some((number, source));
        }
        let Some((_, source)) = &mut self.open else {
            return Err(Reason::ZeroPage);
        };
        self.buffer.resize(CHUNK, 0);
        let want = CHUNK.min((size.bytes() - offset) as usize);
        let mut got = source
            .read_at(&mut self.buffer[..want], offset)
            .map_err(wrong)?;
        let last = offset + want as u64 == size.bytes() && got == want;
        if last && !source.is_plain() && !segment.partial {
            too_long(source.len().map_err(wrong)?, size.bytes())?;
        }
        got -= got % PAGE_SIZE;
        self.buffered = (address.0, got);
        if got == 0 {
            return Err(Reason::WrongSize {
                found: source.len().map_err(wrong)?,
                expected: size.bytes(),
            });
        }
        Ok(())
    }
}

/// Recovery refuses a file that is longer than a segment.
fn too_long(found: u64, expected: u64) -> Result<(), Reason> {
    match found > expected {
        true => Err(Reason::WrongSize { found, expected }),
        false => Ok(()),
    }
}
