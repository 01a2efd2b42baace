//! The handle to one session: life cycle, cancellation, notices and notifications.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::config::Settings;
use super::connect;
use super::error::{Error, Notice, Result};
use super::session::{Notification, Opened, Shared};

/// Whether a transaction is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxStatus {
    Idle,
    Open,
    /// Open, and refusing everything but ROLLBACK.
    Failed,
}

/// A session with a server. Clones share it; calls from several tasks take turns.
///
/// A call may be dropped at any await: the connection stays usable. The next call then first
/// waits for the abandoned statement to end; [`Connection::cancel_and_drain`] ends it.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(crate) shared: Rc<Shared>,
}

impl Connection {
    /// Connects to the first acceptable server of the settings.
    pub async fn connect(settings: &Settings) -> Result<Connection> {
        connect::connect(settings).await
    }

    pub(crate) fn new(opened: Opened, target: String) -> Connection {
        let shared = Shared::new(opened, target);
        Connection {
            shared: Rc::new(shared),
        }
    }

    /// `user@host:port/dbname`.
    pub fn describe(&self) -> &str {
        &self.shared.target
    }

    /// The server process of this session.
    pub fn backend_pid(&self) -> i32 {
        self.shared.pid.get()
    }

    /// Whether the session is encrypted.
    pub fn is_tls(&self) -> bool {
        self.shared.tls.is_some()
    }

    /// 150014 for 15.14; development versions count as minor 0; 0 when unknown.
    pub fn server_version(&self) -> u32 {
        self.shared.version
    }

    /// Asks the server whether a transaction is open, unless none can be.
    pub async fn transaction_status(&self) -> Result<TxStatus> {
        if !self.shared.maybe_open.get() {
            return Ok(TxStatus::Idle);
        }
        let begun = self.shared.begun.get();
        // Outside of a transaction block every statement starts a transaction of its own.
        let question = "SELECT pg_catalog.now() = pg_catalog.statement_timestamp()";
        let answer = match self.simple_query(question).await {
            Err(Error::Server(error)) if error.code == "25P02" => return Ok(TxStatus::Failed),
            answer => answer?,
        };
        let cell = answer
            .first()
            .and_then(|result| result.rows.first()?.first()?.as_deref());
        if cell != Some("t") {
            return Ok(TxStatus::Open);
        }
        self.shared.note_end(begun);
        Ok(TxStatus::Idle)
    }

    /// Whether the session is over. Looks at the socket, so that a server that went away is
    /// noticed without a statement.
    pub fn is_closed(&self) -> bool {
        self.shared.poll_now();
        self.shared.is_closed()
    }

    /// Whether a statement runs, or one that was abandoned may not have ended yet.
    pub fn is_busy(&self) -> bool {
        self.shared.is_busy()
    }

    /// Ends the session politely; later calls fail. A statement that runs is not waited for.
    pub fn close(&self) {
        self.shared.end();
    }

    /// Asks the server to stop the statement that runs, if any. The statement then fails with
    /// 57014. Like every cancel request this is a race: the statement may end just before.
    pub async fn cancel(&self) -> Result<()> {
        let shared = &self.shared;
        connect::cancel(
            &shared.token,
            &shared.peer,
            shared.tls.as_ref(),
            &shared.target,
        )
        .await
    }

    /// Brings the connection back after a call on it was dropped: cancels what runs and waits
    /// until the server is idle. After `limit` the connection is given up (closed).
    pub async fn cancel_and_drain(&self, limit: Duration) -> Result<()> {
        if !self.is_busy() {
            return Ok(());
        }
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_millis(100);
        loop {
            // A failed request changes nothing: the statement may end by itself in time.
            let _ = timeout_at(deadline, self.cancel()).await;
            let mut drain = pin!(self.drain());
            // A request that came before the statement began had no effect: ask again.
            match timeout_at(deadline.min(Instant::now() + pause), drain.as_mut()).await {
                Ok(result) => return result,
                Err(_) if Instant::now() < deadline => pause *= 2,
                Err(_) => {
                    self.close();
                    return Err(Error::Timeout {
                        what: format!("stopping the statement on {}", self.shared.target),
                        after: limit,
                    });
                }
            }
        }
    }

    /// Waits until the server has answered everything.
    pub(crate) async fn drain(&self) -> Result<()> {
        let client = self.shared.client()?;
        self.shared.call(client.check_connection()).await
    }

    /// Sends ROLLBACK without waiting for the answer, if a transaction may be open.
    pub(crate) fn send_rollback(&self) {
        if self.shared.maybe_open.replace(false) {
            self.shared.send("ROLLBACK");
        }
    }

    /// The notices that came since the last call.
    pub fn take_notices(&self) -> Vec<Notice> {
        self.shared.notices.borrow_mut().drain(..).collect()
    }

    /// A notification that has already been read.
    pub fn try_notification(&self) -> Option<Notification> {
        self.shared.notifications.borrow_mut().pop_front()
    }

    /// Waits for the next notification. Other tasks may use the connection meanwhile.
    pub async fn notification(&self) -> Result<Notification> {
        self.shared.client()?;
        let next = poll_fn(|_| match self.try_notification() {
            Some(notification) => Poll::Ready(Ok(notification)),
            None if self.shared.is_closed() => Poll::Ready(Err(self.shared.lost())),
            None => Poll::Pending,
        });
        self.shared.drive(self.shared.next_id(), next).await
    }
}
