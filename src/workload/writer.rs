//! One writer: connect, send, wait no longer than the deadline, write down what happened.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

use super::content::{Content, Ending, Operation};
use super::crew::{Clock, Control};
use super::error::Error;
use super::line::Line;
use super::log::Log;
use crate::sql::{Connection, Error as SqlError, Settings};
use crate::wal::Lsn;

pub(super) struct Writer {
    pub number: u32,
    pub settings: Rc<Settings>,
    pub content: Content,
    /// Connections it had before.
    pub sessions: u32,
    pub deadline: Duration,
    pub log: Rc<RefCell<Log>>,
    pub clock: Clock,
    pub control: Arc<Control>,
}

/// What came back before the answer ended, or broke off.
#[derive(Default)]
struct Answer {
    /// Commands the server has completed.
    completed: usize,
    rows: Vec<Vec<String>>,
}

impl Writer {
    /// Works until the crew is stopped. Whatever a server does is an outcome; only a log that
    /// cannot be written is an error.
    pub async fn work(mut self) -> Result<(), Error> {
        let mut session = self.sessions;
        let mut connection: Option<Connection> = None;
        while self.rest().await {
            let open = match connection.take().filter(|open| !open.is_closed()) {
                Some(open) => open,
                None => match self.connect().await {
                    Some(open) => {
                        session += 1;
                        open
                    }
                    None => continue,
                },
            };
            if self.operate(&open, session).await? {
                connection = Some(open);
            }
        }
        Ok(())
    }

    /// The pause between two operations; false when the crew was stopped.
    async fn rest(&mut self) -> bool {
        let pause = self.content.think();
        if !pause.is_zero() {
            self.control.sleep(pause).await;
        }
        self.control.may_write().await
    }

    /// A server that is down is asked again after a moment.
    async fn connect(&self) -> Option<Connection> {
        let attempt = timeout(self.deadline, Connection::connect(&self.settings)).await;
        if let Ok(Ok(open)) = attempt {
            self.control.stats.sessions.fetch_add(1, Relaxed);
            return Some(open);
        }
        self.control.stats.refused.fetch_add(1, Relaxed);
        self.control.sleep(Duration::from_millis(50)).await;
        None
    }

    /// One operation; whether the connection is good for another.
    async fn operate(&mut self, open: &Connection, session: u32) -> Result<bool, Error> {
        let operation = self.content.invent();
        let sent = self.clock.now();
        self.log.borrow_mut().add(&Line::Send {
            op: operation.op,
            writer: self.number,
            seq: operation.seq,
            items: operation.items,
            hash: operation.hash.clone(),
            at: sent,
            session,
        })?;
        let mut answer = Answer::default();
        let asked = open.simple_each(&operation.sql, |message| answer.take(message));
        let ended = timeout(self.deadline, asked).await;
        let at = self.clock.now();
        let warnings = warnings(open);
        let line = outcome(&operation, &answer, &ended, warnings, at);
        self.log.borrow_mut().add(&line)?;
        self.control.count(&line, at - sent);
        match ended {
            Ok(Ok(())) => Ok(true),
            // The transaction block is still open, and refuses everything.
            Ok(Err(SqlError::Server(_))) if !open.is_closed() => {
                let rollback = timeout(self.deadline, open.exec("ROLLBACK")).await;
                Ok(matches!(rollback, Ok(Ok(_))))
            }
            _ => {
                open.close();
                Ok(false)
            }
        }
    }
}

impl Answer {
    fn take(&mut self, message: SimpleQueryMessage) {
        match message {
            SimpleQueryMessage::Row(row) => {
                let cell = |i| {
                    row.try_get(i)
                        .ok()
                        .flatten()
                        .unwrap_or_default()
                        .to_string()
                };
                self.rows.push((0..row.len()).map(cell).collect());
            }
            SimpleQueryMessage::CommandComplete(_) => self.completed += 1,
            _ => {}
        }
    }

    fn cell<T: std::str::FromStr>(row: Option<&Vec<String>>, column: usize) -> Option<T> {
        row?.get(column)?.parse().ok()
    }
}

fn warnings(open: &Connection) -> Vec<String> {
    let kept = |code: &str| code.starts_with("01");
    open.take_notices()
        .into_iter()
        .filter(|notice| kept(&notice.code))
        .map(|notice| format!("{}: {}", notice.code, notice.message))
        .collect()
}

type Ended = Result<Result<(), SqlError>, tokio::time::error::Elapsed>;

fn outcome(
    operation: &Operation,
    answer: &Answer,
    ended: &Ended,
    warnings: Vec<String>,
    at: i64,
) -> Line {
    let op = operation.op;
    let info = |reason: String, warnings| Line::Info {
        op,
        reason,
        warnings,
        at,
    };
    // RETURNING gives a row for each entry; the bounds behind the COMMIT stand in the last row.
    let (inside, behind) = (answer.rows.first(), answer.rows.last());
    if operation.ending == Ending::Commit && answer.completed >= operation.commit_at {
        if !warnings.is_empty() {
            return info("warning".into(), warnings);
        }
        let complete = answer.completed > operation.commit_at;
        let behind = behind.filter(|_| complete);
        return match (
            Answer::cell(inside, 0),
            Answer::cell(inside, 1),
            Answer::cell(inside, 2),
        ) {
            (Some(xid), Some(low), Some(clock)) => Line::Ok {
                op,
                xid,
                low,
                clock,
                high: Answer::cell::<Lsn>(behind, 0),
                after: Answer::cell(behind, 1),
                at,
            },
            _ => info("unreadable answer".into(), warnings),
        };
    }
    match ended {
        Ok(Ok(())) if operation.ending == Ending::Rollback => Line::Fail {
            op,
            code: "rollback".into(),
            at,
        },
        // An ERROR before COMMIT was answered: the server says that it did not happen. FATAL and
        // PANIC can come while a commit that is already local waits for its standby.
        Ok(Err(SqlError::Server(error))) if error.severity == "ERROR" => Line::Fail {
            op,
            code: error.code.clone(),
            at,
        },
        Ok(Err(SqlError::Server(error))) => info(error.code.clone(), warnings),
        Ok(Err(error)) => info(reason(error).into(), warnings),
        Ok(Ok(())) => info("unreadable answer".into(), warnings),
        Err(_) => info("deadline".into(), warnings),
    }
}

fn reason(error: &SqlError) -> &'static str {
    match error {
        SqlError::Lost { .. } | SqlError::Closed { .. } => "connection lost",
        SqlError::Timeout { .. } => "deadline",
        _ => "no answer",
    }
}
