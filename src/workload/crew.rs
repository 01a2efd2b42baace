//! A crew of writers on a thread of its own: what the script does meanwhile does not slow it down.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::content::{Content, Spec};
use super::error::Error;
use super::line::Line;
use super::log::Log;
use super::past::Past;
use super::writer::Writer;
use crate::sql::Settings;

/// A clock that starts at the wall's and never steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    base: i64,
    from: Instant,
}

impl Clock {
    /// It does not go behind what is on record already.
    fn after(latest: i64) -> Clock {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = since.map_or(0, |time| time.as_micros() as i64);
        Clock {
            base: wall.max(latest + 1),
            from: Instant::now(),
        }
    }

    pub fn now(&self) -> i64 {
        self.base + self.from.elapsed().as_micros() as i64
    }
}

/// Counters, read while the crew works.
#[derive(Debug, Default)]
pub struct Stats {
    pub ok: AtomicU64,
    pub failed: AtomicU64,
    pub indeterminate: AtomicU64,
    pub sessions: AtomicU64,
    /// Connection attempts that failed.
    pub refused: AtomicU64,
    /// Microseconds between sending and COMMIT, over all that were acknowledged.
    pub waited: AtomicU64,
    /// The slowest of them.
    pub slowest: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Write,
    Pause,
    Stop,
}

#[derive(Debug)]
pub(super) struct Control {
    order: watch::Sender<Order>,
    pub stats: Stats,
}

impl Control {
    /// Sleeps, but not through an order.
    pub async fn sleep(&self, duration: Duration) {
        let mut order = self.order.subscribe();
        let _ = timeout(duration, order.changed()).await;
    }

    /// Waits while the crew is paused; false when it is stopped.
    pub async fn may_write(&self) -> bool {
        if *self.order.borrow() == Order::Write {
            return true;
        }
        let mut order = self.order.subscribe();
        let decided = order.wait_for(|order| *order != Order::Pause).await;
        decided.is_ok_and(|order| *order == Order::Write)
    }

    pub fn count(&self, line: &Line, micros: i64) {
        let stats = &self.stats;
        match line {
            Line::Ok { .. } => {
                let micros = micros.max(0) as u64;
                stats.ok.fetch_add(1, Relaxed);
                stats.waited.fetch_add(micros, Relaxed);
                stats.slowest.fetch_max(micros, Relaxed);
            }
            Line::Info { .. } => {
                stats.indeterminate.fetch_add(1, Relaxed);
            }
            _ => {
                stats.failed.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Writers at work. Dropped, they stop by themselves after the operation they are in.
#[derive(Debug)]
pub struct Crew {
    control: Arc<Control>,
    thread: Option<JoinHandle<Result<(), Error>>>,
    /// What crews before it had got acknowledged.
    pub before: u64,
}

impl Crew {
    /// Starts the writers; they append to the log at `path`, and go on where the last crew in it was killed.
    pub fn start(settings: Settings, spec: Spec, path: &Path) -> Result<Crew, Error> {
        let past = Past::read(path)?;
        let log = Log::append(path)?;
        let control = Arc::new(Control {
            order: watch::Sender::new(Order::Write),
            stats: Stats {
                ok: AtomicU64::new(past.ok),
                failed: AtomicU64::new(past.failed),
                indeterminate: AtomicU64::new(past.indeterminate),
                ..Stats::default()
            },
        });
        let before = past.ok;
        let shared = control.clone();
        let thread = std::thread::Builder::new()
            .name("writers".into())
            .spawn(move || run(settings, spec, (log, past), shared))
            .map_err(|error| Error::Thread(error.to_string()))?;
        Ok(Crew {
            control,
            thread: Some(thread),
            before,
        })
    }

    pub fn stats(&self) -> &Stats {
        &self.control.stats
    }

    /// Holds the writers after the operations they are in.
    pub fn pause(&self, paused: bool) {
        let order = if paused { Order::Pause } else { Order::Write };
        self.control.order.send_if_modified(|now| {
            let change = *now != Order::Stop && *now != order;
            if change {
                *now = order;
            }
            change
        });
    }

    /// Tells the writers to end; [`Crew::join`] waits for it.
    pub fn stop(&self) {
        self.control.order.send_replace(Order::Stop);
    }

    /// Whether all writers have ended: stopped, or because the log could not be written.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Blocks until every writer has ended, which takes one deadline at most after a stop.
    pub fn join(&mut self) -> Result<(), Error> {
        match self.thread.take() {
            None => Ok(()),
            Some(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(Error::Thread("it panicked".into()))),
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(
    settings: Settings,
    spec: Spec,
    (mut log, past): (Log, Past),
    control: Arc<Control>,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Thread(error.to_string()))?;
    let clock = Clock::after(past.latest);
    log.add(&Line::Begin {
        schema: 1,
        seed: spec.seed,
        writers: spec.writers,
        epoch: past.epochs + 1,
        at: clock.now(),
    })?;
    let log = Rc::new(RefCell::new(log));
    let settings = Rc::new(settings);
    let writers = (1..=spec.writers).map(|number| {
        let reached = past.reached(number);
        let mut content = Content::new(&spec, number);
        content.forward(reached.seq);
        Writer {
            number,
            settings: settings.clone(),
            content,
            sessions: reached.session,
            deadline: spec.deadline,
            log: log.clone(),
            clock,
            control: control.clone(),
        }
    });
    let all = async {
        let tasks = writers.map(|writer| {
            let control = control.clone();
            tokio::task::spawn_local(async move {
                let done = writer.work().await;
                if done.is_err() {
                    // A log that cannot be written ends all: what is not on record must not happen.
                    control.order.send_replace(Order::Stop);
                }
                done
            })
        });
        join_all(tasks).await
    };
    for done in LocalSet::new().block_on(&runtime, all) {
        done.map_err(|error| Error::Thread(error.to_string()))??;
    }
    let at = clock.now();
    log.borrow_mut().add(&Line::End { at })
}
