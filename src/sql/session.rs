//! One session: the client of `tokio_postgres`, its driver, and what came by the way.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error as _;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio_postgres::{AsyncMessage, CancelToken, Client};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connect::Peer;
use super::driver::{Driver, Hub};
use super::error::{Error, Notice, Result, ServerError};
use super::statement::Cache;

/// A message of `NOTIFY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub channel: String,
    pub payload: String,
    /// The process id of the notifying session.
    pub pid: i32,
}

/// Notices kept for a caller that asks later; older ones go first.
const KEPT_NOTICES: usize = 1000;

pub(crate) struct Shared {
    client: RefCell<Option<Rc<Client>>>,
    driver: RefCell<Option<Box<dyn Driver>>>,
    hub: Arc<Hub>,
    /// Wakes the hub.
    waker: Waker,
    pub token: CancelToken,
    pub peer: Peer,
    pub tls: Option<MakeRustlsConnect>,
    pub target: String,
    pub pid: Cell<i32>,
    pub version: u32,
    /// Why the session ended, unless it was closed here.
    lost: RefCell<Option<Loss>>,
    /// What owns the connection across calls, if anything: a row stream or a COPY.
    owner: Cell<Option<&'static str>>,
    pub cache: RefCell<Cache>,
    /// A statement that may have begun a transaction was sent, and none that surely ended it.
    pub maybe_open: Cell<bool>,
    /// Counts such statements.
    pub begun: Cell<u64>,
    names: Cell<u64>,
    pub notices: RefCell<VecDeque<Notice>>,
    pub notifications: RefCell<VecDeque<Notification>>,
    /// Calls are numbered; answers come in the order of the requests.
    calls: Cell<u64>,
    running: Cell<u64>,
    ended: Cell<u64>,
    /// The last call that was given up before its answer came.
    abandoned: Cell<u64>,
}

#[derive(Debug, Clone)]
enum Loss {
    Server(Box<ServerError>),
    Socket(String),
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("target", &self.target)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// Exclusive use of a connection across calls.
#[derive(Debug)]
pub(crate) struct Owner(Rc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.owner.set(None);
    }
}

impl Shared {
    pub(crate) fn new(opened: Opened, target: String) -> Shared {
        let hub = Arc::new(Hub::default());
        let version = opened.driver.parameter("server_version").map(version);
        Shared {
            token: opened.client.cancel_token(),
            client: RefCell::new(Some(Rc::new(opened.client))),
            driver: RefCell::new(Some(opened.driver)),
            waker: hub.clone().into(),
            hub,
            peer: opened.peer,
            tls: opened.tls,
            target,
            pid: Cell::new(0),
            version: version.unwrap_or(0),
            lost: RefCell::default(),
            owner: Cell::new(None),
            cache: RefCell::default(),
            maybe_open: Cell::new(false),
            begun: Cell::new(0),
            names: Cell::new(0),
            notices: RefCell::default(),
            notifications: RefCell::default(),
            calls: Cell::new(0),
            running: Cell::new(0),
            ended: Cell::new(0),
            abandoned: Cell::new(0),
        }
    }

    /// Whether a statement runs, or one that was abandoned may not have ended yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.running.get() > 0 || self.abandoned.get() > self.ended.get()
    }

    /// No transaction is open, if nothing was sent since `begun` that may begin one.
    pub(crate) fn note_end(&self, begun: u64) {
        if self.begun.get() == begun {
            self.maybe_open.set(false);
        }
    }

    pub(crate) fn own(self: &Rc<Self>, owner: &'static str) -> Result<Owner> {
        self.check_free()?;
        self.owner.set(Some(owner));
        Ok(Owner(self.clone()))
    }

    pub(crate) fn check_free(&self) -> Result<()> {
        match self.owner.get() {
            None => Ok(()),
            Some(owner) => Err(Error::State {
                message: format!("{owner} is still open on the connection to {}", self.target),
                hint: "finish or close it first, read rows inside a transaction, or use a second connection".into(),
            }),
        }
    }

    pub(crate) fn client(&self) -> Result<Rc<Client>> {
        self.client.borrow().clone().ok_or_else(|| Error::Closed {
            target: self.target.clone(),
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.borrow().is_none()
    }

    /// A name no other cursor of this session has.
    pub(crate) fn next_name(&self) -> String {
        self.names.set(self.names.get() + 1);
        format!("rpitr_c{}", self.names.get())
    }

    pub(crate) fn note_begin(&self) {
        self.maybe_open.set(true);
        self.begun.set(self.begun.get() + 1);
    }

    /// Waits for `work`, which uses the client.
    pub(crate) async fn call<T>(
        &self,
        work: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        let call = Call::new(self);
        let result = self.drive(call.0, work).await;
        call.finish();
        result.map_err(|error| self.error(error))
    }

    pub(crate) async fn drive<T>(&self, id: u64, work: impl Future<Output = T>) -> T {
        self.hub
            .run(id, &self.waker, work, |cx| self.poll_io(cx))
            .await
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.calls.set(self.calls.get() + 1);
        self.calls.get()
    }

    /// Sends what is queued and hands out what has arrived.
    fn poll_io(&self, cx: &mut Context<'_>) {
        let mut slot = self.driver.borrow_mut();
        while let Some(driver) = slot.as_mut() {
            match driver.poll(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(message))) => self.keep(message),
                Poll::Ready(end) => {
                    if let Some(Err(error)) = end {
                        self.lose(&error);
                    }
                    self.client.take();
                    // Fails the requests that wait for an answer.
                    *slot = None;
                    self.hub.mark();
                }
            }
        }
    }

    pub(crate) fn poll_now(&self) {
        self.poll_io(&mut Context::from_waker(&self.waker));
    }

    fn keep(&self, message: AsyncMessage) {
        match message {
            AsyncMessage::Notice(notice) => {
                let mut notices = self.notices.borrow_mut();
                if notices.len() == KEPT_NOTICES {
                    notices.pop_front();
                }
                notices.push_back(ServerError::from(&notice));
            }
            AsyncMessage::Notification(note) => {
                self.notifications.borrow_mut().push_back(Notification {
                    channel: note.channel().to_string(),
                    payload: note.payload().to_string(),
                    pid: note.process_id(),
                });
                self.hub.mark();
            }
            _ => {}
        }
    }

    fn lose(&self, error: &tokio_postgres::Error) {
        let loss = match error.as_db_error() {
            Some(server) => Loss::Server(Box::new(server.into())),
            None => Loss::Socket(match error.source() {
                Some(source) => source.to_string(),
                None => error.to_string(),
            }),
        };
        self.lost.borrow_mut().get_or_insert(loss);
    }

    pub(crate) fn lost(&self) -> Error {
        match self.lost.borrow().clone() {
            Some(Loss::Server(error)) => Error::Server(error),
            Some(Loss::Socket(reason)) => Error::Lost {
                target: self.target.clone(),
                reason,
            },
            None => Error::Closed {
                target: self.target.clone(),
            },
        }
    }

    fn error(&self, error: tokio_postgres::Error) -> Error {
        if let Some(server) = error.as_db_error() {
            let server = Box::new(ServerError::from(server));
            if server.is_fatal() {
                self.lose(&error);
                self.end();
            }
            return Error::Server(server);
        }
        if error.is_closed() {
            return self.lost();
        }
        let text = error.to_string();
        match error.into_source() {
            // A parameter that cannot be sent.
            Some(source) => match source.downcast::<Error>() {
                Ok(own) => *own,
                Err(source) => Error::Protocol(format!("{text}: {source}")),
            },
            None => Error::Protocol(text),
        }
    }

    /// Ends the session: politely, if the server listens.
    pub(crate) fn end(&self) {
        self.client.take();
        self.poll_now();
        self.driver.take();
        self.hub.mark();
    }

    /// Sends a statement whose outcome nobody waits for.
    pub(crate) fn send(&self, sql: &str) {
        if let Ok(client) = self.client() {
            let mut request = pin!(client.batch_execute(sql));
            let _ = request
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
        }
        self.abandon();
    }

    /// Notes that an answer will come that nobody waits for.
    pub(crate) fn abandon(&self) {
        self.abandoned.set(self.next_id());
        self.poll_now();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end();
    }
}

/// A call that waits for an answer.
struct Call<'a>(u64, &'a Shared);

impl<'a> Call<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.running.set(shared.running.get() + 1);
        Call(shared.next_id(), shared)
    }

    fn finish(&self) {
        self.1.ended.set(self.1.ended.get().max(self.0));
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Call(id, shared) = *self;
        shared.running.set(shared.running.get() - 1);
        if shared.ended.get() < id {
            shared.abandoned.set(shared.abandoned.get().max(id));
        }
    }
}

/// What a new session consists of.
pub(crate) struct Opened {
    pub client: Client,
    pub driver: Box<dyn Driver>,
    pub peer: Peer,
    pub tls: Option<MakeRustlsConnect>,
}

fn version(text: &str) -> u32 {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    let major: u32 = numbers.next().unwrap_or(0);
    let minor: u32 = if text.starts_with(&format!("{major}.")) {
        numbers.next().unwrap_or(0)
    } else {
        0
    };
    major * 10_000 + minor
}
