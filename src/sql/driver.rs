//! Who moves a connection's bytes: whoever waits for an answer.
//!
//! `tokio_postgres` leaves reading and writing to a future of its own, the driver. It is not given
//! a task: each waiting call polls it along with its own work, so that a statement costs one
//! write, one wake-up and one read. The driver is always polled with the waker of the [`Hub`],
//! which wakes every waiting call; a call that goes away therefore leaves nobody stranded.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::AsyncMessage;

/// A `tokio_postgres::Connection` over any kind of stream.
pub(crate) trait Driver {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<AsyncMessage, tokio_postgres::Error>>>;

    fn parameter(&self, name: &str) -> Option<&str>;
}

impl<S, T> Driver for tokio_postgres::Connection<S, T>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<AsyncMessage, tokio_postgres::Error>>> {
        self.poll_message(cx)
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameter(name)
    }
}

/// The calls that wait on one connection.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    waiting: Mutex<Vec<(u64, Waker)>>,
    /// A call polls right now: it looks at `woken` itself.
    polling: AtomicBool,
    woken: AtomicBool,
}

impl Wake for Hub {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mark();
    }
}

impl Hub {
    /// Something has happened that a waiting call may want to know.
    pub(crate) fn mark(&self) {
        self.woken.store(true, Relaxed);
        if !self.polling.load(Relaxed) {
            self.wake_except(u64::MAX);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(u64, Waker)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_except(&self, own: u64) {
        for (id, waker) in self.waiting().iter() {
            if *id != own {
                waker.wake_by_ref();
            }
        }
    }

    fn enter(&self, own: u64, waker: &Waker) {
        let mut waiting = self.waiting();
        match waiting.iter_mut().find(|(id, _)| *id == own) {
            Some((_, known)) => known.clone_from(waker),
            None => waiting.push((own, waker.clone())),
        }
    }

    fn leave(&self, own: u64) {
        self.waiting().retain(|(id, _)| *id != own);
    }

    /// Polls `work` as call `own`, and `io` whenever it does not get on.
    fn poll<T>(
        self: &Arc<Self>,
        own: u64,
        waker: &Waker,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
        io: impl Fn(&mut Context<'_>),
    ) -> Poll<T> {
        self.enter(own, waker);
        self.polling.store(true, Relaxed);
        let result = loop {
            let result = work(cx);
            if result.is_ready() {
                break result;
            }
            self.woken.store(false, Relaxed);
            io(cx);
            if !self.woken.load(Relaxed) {
                break result;
            }
            self.wake_except(own);
        };
        self.polling.store(false, Relaxed);
        if result.is_ready() && self.woken.swap(false, Relaxed) {
            // What this call left to do, the next one must.
            self.wake_except(own);
        }
        result
    }

    /// Waits for `work` as call `own`, moving bytes by `io`. `cx` wakes this hub.
    pub(crate) async fn run<T>(
        self: &Arc<Self>,
        own: u64,
        hub: &Waker,
        work: impl Future<Output = T>,
        io: impl Fn(&mut Context<'_>),
    ) -> T {
        let _place = Place(self, own);
        let mut work = pin!(work);
        let mut inner = Context::from_waker(hub);
        poll_fn(|cx| {
            self.poll(
                own,
                cx.waker(),
                &mut inner,
                |cx| work.as_mut().poll(cx),
                &io,
            )
        })
        .await
    }
}

struct Place<'a>(&'a Hub, u64);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}
