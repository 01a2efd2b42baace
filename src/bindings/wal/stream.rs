//! WAL read by a thread of its own and handed to the script in batches, so that an archive of any
//! size needs no more memory than a few of them. A stream nobody reads from any more ends its thread.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::thread;

use mlua::{Lua, Table, UserData, UserDataRef};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::incident::rows_table;
use super::request::Request;
use super::{view, xact_table};
use crate::bindings::internal;
use crate::bindings::value::LuaLsn;
use crate::engine::{HostTable, guard};
use crate::failure::{Failure, Kind};
use crate::wal::{Commit, Lsn, Options, Reader, Wal, XactKind, commits, rmgr_name};

const BATCH: usize = 256;
const BATCHES: usize = 4;

/// One thing a stream yields.
#[derive(Debug)]
enum Item {
    Commit(Box<Commit>),
    Record(RecordLine),
}

/// A record as `pg_waldump` would list it.
#[derive(Debug)]
struct RecordLine {
    start: Lsn,
    end: Lsn,
    prev: Lsn,
    timeline: u32,
    xid: u32,
    rmgr: u8,
    info: u8,
    bytes: u32,
}

type Batch = Result<Vec<Item>, Failure>;

#[derive(Debug)]
struct Stream(Rc<RefCell<Option<Receiver<Batch>>>>);
impl UserData for Stream {}

/// The reading end of a channel's other side: collects items into batches.
struct Feed {
    sender: Sender<Batch>,
    batch: Vec<Item>,
}

impl Feed {
    /// False when nobody listens any more.
    fn push(&mut self, item: Item) -> bool {
        self.batch.push(item);
        self.batch.len() < BATCH || self.flush()
    }

    fn flush(&mut self) -> bool {
        let batch = std::mem::take(&mut self.batch);
        batch.is_empty() || self.sender.blocking_send(Ok(batch)).is_ok()
    }

    fn finish(mut self, outcome: Result<(), Failure>) {
        let listening = self.flush();
        if let (true, Err(failure)) = (listening, outcome) {
            // Nobody left to tell is fine.
            let _ = self.sender.blocking_send(Err(failure));
        }
    }
}

/// A directory as these functions look at it: along one timeline, unfinished segments included.
pub(super) fn open(folder: &Path, timeline: Option<u32>) -> Result<Wal, Failure> {
    let options = Options {
        timeline,
        partials: true,
        ..Options::default()
    };
    Ok(Wal::open(folder, &options)?)
}

fn read_commits(request: &Request, feed: &mut Feed) -> Result<(), Failure> {
    let wal = open(&request.folder, request.timeline)?;
    let feed = RefCell::new(feed);
    let analysis = commits(
        &wal,
        &request.wanted,
        &request.options(),
        |_| !feed.borrow().sender.is_closed(),
        |commit| {
            feed.borrow_mut()
                .push(Item::Commit(Box::new(commit.clone())))
        },
    )?;
    let end = analysis.summary.end;
    if !analysis.stopped && end.is_damage() {
        Err(end.into())
    } else {
        Ok(())
    }
}

fn read_records(request: &Request, feed: &mut Feed) -> Result<(), Failure> {
    let wal = open(&request.folder, request.timeline)?;
    let wanted = &request.wanted;
    let first = wal.first().unwrap_or_default();
    let start = wanted.from.map_or(first, |from| from.max(first));
    let mut reader = Reader::new(&wal, start);
    loop {
        let record = match reader.read() {
            Ok(record) if wanted.to.is_some_and(|to| record.start >= to) => return Ok(()),
            Ok(record) => record,
            Err(end) if end.is_damage() => return Err((*end).into()),
            Err(_) => return Ok(()),
        };
        let header = record.header;
        let show = wanted.xid.is_none_or(|xid| header.xid == xid)
            && request
                .rmgr
                .as_ref()
                .is_none_or(|name| rmgr_name(header.rmgr).eq_ignore_ascii_case(name));
        let line = RecordLine {
            start: record.start,
            end: record.end,
            prev: header.prev,
            timeline: record.timeline,
            xid: header.xid,
            rmgr: header.rmgr,
            info: header.info,
            bytes: header.total_len,
        };
        if show && !feed.push(Item::Record(line)) || feed.sender.is_closed() {
            return Ok(());
        }
    }
}

pub(super) fn register(host: &HostTable) -> mlua::Result<()> {
    host.waiting(
        "wal_stream",
        |_, (kind, request): (String, Table)| async move {
            let request = Request::read(&request).map_err(internal)?;
            view(&request.folder.to_string_lossy()).await?;
            let read = match kind.as_str() {
                "commits" => read_commits,
                _ => read_records,
            };
            let (sender, receiver) = channel(BATCHES);
            let work = move || {
                let mut feed = Feed {
                    sender,
                    batch: Vec::new(),
                };
                let outcome = read(&request, &mut feed);
                feed.finish(outcome);
            };
            // Not a thread of the runtime's: that would wait for it when the program ends.
            thread::Builder::new()
                .name("wal".into())
                .spawn(work)
                .map_err(|error| Failure::new(Kind::Environment, error.to_string()))?;
            Ok(Stream(Rc::new(RefCell::new(Some(receiver)))))
        },
    )?;
    // The next batch, a list; nothing at the end.
    host.waiting("wal_stream_next", |lua, stream: UserDataRef<Stream>| {
        let cell = stream.0.clone();
        async move {
            let Some(mut receiver) = cell.take() else {
                return Ok(None);
            };
            match guard(receiver.recv()).await? {
                Some(Ok(batch)) => {
                    cell.replace(Some(receiver));
                    fill(&lua, &batch).map(Some).map_err(internal)
                }
                Some(Err(failure)) => Err(failure),
                None => Ok(None),
            }
        }
    })?;
    host.function("wal_stream_close", |_, stream: UserDataRef<Stream>| {
        stream.0.take();
        Ok(())
    })
}

fn fill(lua: &Lua, batch: &[Item]) -> mlua::Result<Table> {
    let list = lua.create_table_with_capacity(batch.len(), 0)?;
    for item in batch {
        list.raw_push(match item {
            Item::Commit(detail) => commit_table(lua, detail)?,
            Item::Record(line) => record_table(lua, line)?,
        })?;
    }
    Ok(list)
}

fn commit_table(lua: &Lua, commit: &Commit) -> mlua::Result<Table> {
    let transaction = &commit.transaction;
    let xact = &transaction.xact;
    let table = xact_table(lua, xact)?;
    table.raw_set("first_lsn", LuaLsn(transaction.first_lsn))?;
    table.raw_set("committed", xact.kind.is_commit())?;
    let prepared = matches!(
        xact.kind,
        XactKind::CommitPrepared | XactKind::AbortPrepared
    );
    table.raw_set("prepared", prepared)?;
    table.raw_set("gid", transaction.gid.as_deref())?;
    table.raw_set("subtransactions", transaction.subxacts.clone())?;
    let tables = lua.create_table()?;
    for (relation, rows) in &commit.tables {
        tables.raw_set(relation.to_string(), rows_table(lua, rows)?)?;
    }
    table.raw_set("tables", tables)?;
    table.raw_set("catalogs", rows_table(lua, &commit.catalogs)?)?;
    let destroyed = lua.create_table()?;
    for (kind, names) in &commit.destroyed {
        let entry = lua.create_table()?;
        entry.raw_set("kind", kind.word())?;
        entry.raw_set("names", names.clone())?;
        destroyed.raw_push(entry)?;
    }
    table.raw_set("destroyed", destroyed)?;
    Ok(table)
}

fn record_table(lua: &Lua, line: &RecordLine) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 8)?;
    table.raw_set("lsn", LuaLsn(line.start))?;
    table.raw_set("end_lsn", LuaLsn(line.end))?;
    table.raw_set("prev", LuaLsn(line.prev))?;
    table.raw_set("timeline", line.timeline)?;
    table.raw_set("xid", line.xid)?;
    table.raw_set("rmgr", rmgr_name(line.rmgr))?;
    table.raw_set("info", line.info)?;
    table.raw_set("bytes", line.bytes)?;
    Ok(table)
}
