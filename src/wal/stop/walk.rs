//! The walk behind [`stop_point`].

use super::{Refusal, Stop, StopRequest, Target};
use crate::wal::scan::{Event, event};
use crate::wal::xact::Xact;
use crate::wal::xlog::XlogEvent;
use crate::wal::{End, Lsn, Reader, Wal};

/// Says what recovery will do. Reads each record from the backup's start to the commit behind the
/// stop once, in constant memory. A name is looked for to the end of the WAL: PostgreSQL takes
/// the first of several, which is rarely what was meant.
pub fn stop_point(wal: &Wal, request: &StopRequest) -> Result<Stop, Refusal> {
    if let (Target::Time(target_us), Some(backup_stop_us)) =
        (&request.target, request.backup_stop_time)
        && *target_us < backup_stop_us
    {
        return Err(Refusal::BeforeBackupStop {
            target_us: *target_us,
            backup_stop_us,
        });
    }
    let mut reader = Reader::new(wal, request.start);
    let mut walk = Walk::new(wal, request);
    match walk.replay(&mut reader) {
        Ok(stop) => walk.look_on(&mut reader, stop),
        Err(Halt::Refused(refusal)) => Err(refusal),
        Err(Halt::End(end)) if end.is_damage() => Err(Refusal::Damage(end)),
        Err(Halt::End(end)) => walk.exhausted(end),
    }
}

/// Why replay did not find a stop.
enum Halt {
    End(Box<End>),
    Refused(Refusal),
}

/// The parts of a record that decide about stopping.
struct Step {
    start: Lsn,
    end: Lsn,
    timeline: u32,
    event: Option<Event>,
}

impl Step {
    fn xact(&self) -> Option<Xact> {
        match &self.event {
            Some(Event::Xact(detail)) => Some(detail.xact),
            _ => None,
        }
    }

    fn commit(&self) -> Option<Xact> {
        self.xact().filter(|xact| xact.kind.is_commit())
    }

    fn restore_point(&self) -> Option<&str> {
        match &self.event {
            Some(Event::Xlog {
                event: XlogEvent::RestorePoint { name, .. },
                ..
            }) => Some(name),
            _ => None,
        }
    }
}

fn step(reader: &mut Reader<'_>) -> Result<Step, Box<End>> {
    let record = reader.read()?;
    let (start, end, timeline) = (record.start, record.end, record.timeline);
    match event(&record) {
        Ok(event) => Ok(Step {
            start,
            end,
            timeline,
            event,
        }),
        Err(error) => Err(Box::new(reader.reject(start, error))),
    }
}

struct Walk<'r> {
    request: &'r StopRequest,
    consistent: bool,
    replayed: Lsn,
    last_record: Option<Lsn>,
    last_commit: Option<Xact>,
    timeline: u32,
    names: Vec<String>,
    /// The commit whose subtransaction the target is.
    parent: Option<(u32, Lsn)>,
}

impl<'r> Walk<'r> {
    fn new(wal: &Wal, request: &'r StopRequest) -> Self {
        Walk {
            request,
            consistent: request.start >= request.consistent,
            replayed: request.start,
            last_record: None,
            last_commit: None,
            timeline: wal.chain().timeline_at(request.start),
            names: Vec::new(),
            parent: None,
        }
    }

    /// The main redo loop: stops before or after a record.
    fn replay(&mut self, reader: &mut Reader<'_>) -> Result<Stop, Halt> {
        loop {
            let step = step(reader).map_err(Halt::End)?;
            if let Some(why) = self.stops_before(&step) {
                self.must_be_consistent(step.start)?;
                let mut stop = self.stop(why);
                stop.stop_lsn = Some(step.start);
                stop.next_commit = step.commit();
                return Ok(stop);
            }
            self.apply(&step);
            if let Some(why) = self.stops_after(&step) {
                self.must_be_consistent(step.start)?;
                return Ok(self.stop(why));
            }
        }
    }

    fn apply(&mut self, step: &Step) {
        self.replayed = step.end;
        self.last_record = Some(step.start);
        self.timeline = step.timeline;
        self.last_commit = step.commit().or(self.last_commit);
        self.consistent |= step.end >= self.request.consistent;
        if let Some(name) = step.restore_point() {
            self.names.push(name.to_string());
        }
        if let (Target::Xid(wanted), Some(Event::Xact(detail))) =
            (&self.request.target, &step.event)
            && detail.xact.kind.is_commit()
            && detail.subxacts.contains(wanted)
        {
            self.parent = Some((detail.xact.xid, step.start));
        }
    }

    /// `recoveryStopsBefore`.
    fn stops_before(&self, step: &Step) -> Option<String> {
        let request = self.request;
        match &request.target {
            Target::Immediate if self.consistent => Some("the backup is consistent".to_string()),
            Target::Lsn(lsn) if !request.inclusive && step.start >= *lsn => {
                Some(format!("before the first record at or after {lsn}"))
            }
            Target::Xid(xid) if !request.inclusive => step
                .xact()
                .filter(|xact| xact.xid == *xid)
                .map(|_| format!("before the end of transaction {xid}")),
            Target::Time(time) => {
                let xact = step.xact()?;
                if request.inclusive {
                    (xact.unix_us > *time).then(|| {
                        format!(
                            "before transaction {}, the first to end after the target time",
                            xact.xid
                        )
                    })
                } else {
                    (xact.unix_us >= *time).then(|| {
                        format!(
                            "before transaction {}, the first to end at or after the target time",
                            xact.xid
                        )
                    })
                }
            }
            _ => None,
        }
    }

    /// `recoveryStopsAfter`.
    fn stops_after(&self, step: &Step) -> Option<String> {
        let request = self.request;
        match &request.target {
            Target::Name(name) => step
                .restore_point()
                .filter(|found| found == name)
                .map(|_| format!("after restore point \"{name}\"")),
            Target::Lsn(lsn) if request.inclusive && step.start >= *lsn => {
                Some(format!("after the first record at or after {lsn}"))
            }
            Target::Xid(xid) if request.inclusive => step
                .xact()
                .filter(|xact| xact.xid == *xid)
                .map(|xact| match xact.kind.is_commit() {
                    true => format!("after the commit of transaction {xid}"),
                    false => format!("after the abort of transaction {xid}"),
                }),
            Target::Immediate if self.consistent => Some("the backup is consistent".to_string()),
            _ => None,
        }
    }

    fn must_be_consistent(&self, at: Lsn) -> Result<(), Halt> {
        if self.consistent {
            return Ok(());
        }
        Err(Halt::Refused(Refusal::BeforeConsistent {
            at,
            consistent: self.request.consistent,
        }))
    }

    fn stop(&self, why: String) -> Stop {
        Stop {
            stop_lsn: None,
            switchpoint: self.replayed,
            last_record: self.last_record,
            last_replayed_commit: self.last_commit,
            next_commit: None,
            timeline: self.timeline,
            why,
        }
    }

    /// Behind the stop: the first record and the first commit that are lost, and other restore
    /// points of the same name. Damage there does not matter to the recovery.
    fn look_on(&self, reader: &mut Reader<'_>, mut stop: Stop) -> Result<Stop, Refusal> {
        let wanted = match &self.request.target {
            Target::Name(name) => Some(name.as_str()),
            _ => None,
        };
        let mut same: Vec<Lsn> = stop
            .last_record
            .filter(|_| wanted.is_some())
            .into_iter()
            .collect();
        while stop.next_commit.is_none() || stop.stop_lsn.is_none() || wanted.is_some() {
            let Ok(step) = step(reader) else { break };
            stop.stop_lsn = stop.stop_lsn.or(Some(step.start));
            stop.next_commit = stop.next_commit.or(step.commit());
            if wanted.is_some() && step.restore_point() == wanted {
                same.push(step.start);
            }
        }
        match wanted {
            Some(name) if same.len() > 1 => Err(Refusal::AmbiguousName {
                name: name.to_string(),
                at: same,
            }),
            _ => Ok(stop),
        }
    }

    /// The WAL ended, legally, before the target.
    fn exhausted(self, end: Box<End>) -> Result<Stop, Refusal> {
        let request = self.request;
        if let (Target::Xid(xid), Some((top, commit))) = (&request.target, self.parent) {
            return Err(Refusal::Subtransaction {
                xid: *xid,
                top,
                commit,
            });
        }
        if request.target == Target::Latest {
            if !self.consistent {
                return Err(Refusal::BeforeConsistent {
                    at: self.replayed,
                    consistent: request.consistent,
                });
            }
            return Ok(self.stop("the last valid record of the WAL".to_string()));
        }
        Err(Refusal::NotReached {
            last_lsn: self.replayed,
            last_record: self.last_record,
            last_commit: self.last_commit,
            restore_points: self.names,
            end,
        })
    }
}
