//! Cancellation scopes: who may interrupt what, and why.
//!
//! Every task carries a stack of scopes. A waiting host function gives up when the innermost scope
//! trips; a scope trips when it is cancelled, when its deadline passes, or when a scope it descends
//! from trips. Nothing is ever cancelled by dropping a Lua future: the wait returns an error, the
//! script unwinds, and its `<close>` handlers may wait in turn. Handlers run in a *shielded* scope:
//! it descends from the `hard` root, so the first Ctrl-C does not reach it and the second does.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, Kind};

/// Why a scope tripped.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// `task:cancel()`, or a sibling in the group failed.
    Cancelled,
    /// The deadline of the scope with this id passed.
    Timeout { scope: u64, after: Duration },
    /// The run's own deadline (`--timeout`).
    Deadline { after: Duration },
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// The script called `os.exit`.
    Exit { code: i32 },
}

impl From<&Reason> for Failure {
    fn from(reason: &Reason) -> Self {
        match reason {
            Reason::Cancelled => Failure::new(Kind::Cancelled, "the task was cancelled"),
            Reason::Timeout { scope, after } => {
                Failure::new(Kind::Timeout, format!("timed out after {}", human(*after)))
                    .code(format!("scope:{scope}"))
            }
            Reason::Deadline { after } => Failure::new(
                Kind::Timeout,
                format!("the run's deadline of {} passed", human(*after)),
            )
            .code("deadline"),
            Reason::Interrupted => Failure::new(Kind::Interrupted, "interrupted"),
            Reason::Exit { code } => {
                Failure::new(Kind::Cancelled, format!("os.exit({code})")).code("exit")
            }
        }
    }
}

/// A duration as people write it: `250ms`, `1.5s`, `2m`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 {
        format!("{}ms", (seconds * 1000.0).round())
    } else if seconds < 120.0 {
        let text = format!("{seconds:.1}");
        format!("{}s", text.trim_end_matches(".0"))
    } else {
        format!("{}m{}s", (seconds / 60.0) as u64, (seconds % 60.0) as u64)
    }
}

/// The part of a scope that other threads may trip: a token and the first reason given.
#[derive(Debug, Clone, Default)]
pub struct Trip {
    token: CancellationToken,
    reason: Arc<OnceLock<Reason>>,
}

impl Trip {
    /// Tripped with `parent`, too.
    fn within(parent: &CancellationToken) -> Trip {
        Trip {
            token: parent.child_token(),
            reason: Arc::default(),
        }
    }

    pub fn cancel(&self, reason: Reason) {
        // The reason is set before the token so that whoever wakes finds it; the first one wins.
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    pub fn reason(&self) -> Option<&Reason> {
        self.reason.get()
    }
}

/// One scope. Cheap to clone through `Rc`.
#[derive(Debug)]
pub struct Scope {
    pub id: u64,
    token: CancellationToken,
    // Boxed like the deadline: most scopes have neither, and there may be ten thousand.
    reason: OnceCell<Box<Reason>>,
    /// Set for a root: what other threads trip.
    outside: Option<Trip>,
    deadline: Option<Box<(Instant, Duration)>>,
    parent: Option<Rc<Scope>>,
    /// Out of reach of what surrounds it; only the hard root trips it.
    shield: bool,
    /// The scope its coroutine was resumed in, when that is not the one it was entered in.
    resumer: RefCell<Option<Rc<Scope>>>,
}

impl Scope {
    /// A scope without a parent, tripped from outside (signals, the run deadline).
    pub fn root(trip: Trip) -> Rc<Scope> {
        Rc::new(Self::outside(trip))
    }

    fn outside(trip: Trip) -> Scope {
        Scope {
            id: 0,
            token: trip.token.clone(),
            reason: OnceCell::new(),
            outside: Some(trip),
            deadline: None,
            parent: None,
            shield: false,
            resumer: RefCell::default(),
        }
    }

    /// A scope that trips with `parent`, and on its own after `limit`.
    pub fn child(parent: &Rc<Scope>, id: u64, limit: Option<Duration>) -> Rc<Scope> {
        Self::below(parent, id, limit, false)
    }

    /// A scope that trips with `parent`, and from another thread through the trip returned with it.
    pub fn foreground(parent: &Rc<Scope>, id: u64) -> (Rc<Scope>, Trip) {
        let trip = Trip::within(&parent.token);
        let scope = Rc::new(Scope {
            id,
            parent: Some(parent.clone()),
            ..Self::outside(trip.clone())
        });
        (scope, trip)
    }

    /// A scope for cleanup: whatever trips around it, only `hard` and its own `limit` reach it.
    pub fn shield(hard: &Rc<Scope>, id: u64, limit: Duration) -> Rc<Scope> {
        Self::below(hard, id, Some(limit), true)
    }

    fn below(parent: &Rc<Scope>, id: u64, limit: Option<Duration>, shield: bool) -> Rc<Scope> {
        Rc::new(Scope {
            id,
            token: parent.token.child_token(),
            reason: OnceCell::new(),
            outside: None,
            deadline: limit.map(|limit| Box::new((Instant::now() + limit, limit))),
            parent: Some(parent.clone()),
            shield,
            resumer: RefCell::default(),
        })
    }

    pub fn cancel(&self, reason: Reason) {
        if let Some(trip) = &self.outside {
            return trip.cancel(reason);
        }
        // The first reason wins.
        let _ = self.reason.set(Box::new(reason));
        self.token.cancel();
    }

    fn reason(&self) -> Option<Reason> {
        match &self.outside {
            Some(trip) => trip.reason().cloned(),
            None => self.reason.get().map(|reason| Reason::clone(reason)),
        }
    }

    /// Why this scope tripped, if it did. Looks at deadlines too, so that a loop which never waits
    /// notices its timeout from the instruction hook. An outer scope's reason wins: whoever handles
    /// the inner one must not mistake a Ctrl-C for its own timeout.
    pub fn tripped(&self) -> Option<Reason> {
        let outer = self.around().find_map(|scope| scope.tripped());
        outer.or_else(|| self.reason()).or_else(|| {
            let (at, after) = *self.deadline.as_deref()?;
            (Instant::now() >= at).then(|| {
                let reason = Reason::Timeout {
                    scope: self.id,
                    after,
                };
                self.cancel(reason.clone());
                reason
            })
        })
    }

    /// The next instant at which this scope or one around it trips by itself.
    pub fn next_deadline(&self) -> Option<Instant> {
        let own = self.deadline.as_deref().map(|(at, _)| *at);
        self.around()
            .filter_map(|scope| scope.next_deadline())
            .chain(own)
            .min()
    }

    /// The scopes directly around this one, the resumer first.
    fn around(&self) -> impl Iterator<Item = Rc<Scope>> {
        let resumer = self.resumer.borrow().clone();
        resumer.into_iter().chain(self.parent.clone())
    }

    /// The resumers of this scope and those around it: they trip it without its token knowing.
    fn resumers(&self) -> Vec<Rc<Scope>> {
        let mut found = Vec::new();
        for scope in self.around() {
            found.extend(scope.resumers());
        }
        found.extend(self.resumer.borrow().clone());
        found
    }

    /// Waits until the scope trips. The common case, neither deadline nor resumer, is one token
    /// registration.
    pub async fn wait_tripped(self: Rc<Self>) -> Reason {
        loop {
            if let Some(reason) = self.tripped() {
                return reason;
            }
            if self.next_deadline().is_none() && self.resumers().is_empty() {
                self.token.cancelled().await;
            } else {
                Box::pin(self.wait_change()).await;
            }
        }
    }

    async fn wait_change(&self) {
        let (deadline, resumers) = (self.next_deadline(), self.resumers());
        let tokens = resumers.iter().map(|scope| &scope.token);
        let cancelled = tokens
            .chain([&self.token])
            .map(|token| Box::pin(token.cancelled()));
        let timer = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = futures_util::future::select_all(cancelled) => {}
            () = timer => {}
        }
    }
}

/// What a task carries: its id and its scopes, innermost last.
#[derive(Debug)]
pub struct TaskContext {
    pub id: u64,
    own: Rc<Scope>,
    /// The scopes entered inside the task's own.
    scopes: RefCell<Vec<Rc<Scope>>>,
}

impl TaskContext {
    pub fn new(id: u64, scope: Rc<Scope>) -> Rc<Self> {
        Rc::new(TaskContext {
            id,
            own: scope,
            scopes: RefCell::default(),
        })
    }

    /// The innermost scope.
    pub fn scope(&self) -> Rc<Scope> {
        let inner = self.scopes.borrow().last().cloned();
        inner.unwrap_or_else(|| self.own.clone())
    }

    pub fn push(&self, scope: Rc<Scope>) {
        self.scopes.borrow_mut().push(scope);
    }

    /// How many scopes are open.
    pub fn depth(&self) -> usize {
        self.scopes.borrow().len()
    }

    /// Takes away the scopes above `depth`: those of a coroutine that yields.
    pub fn detach(&self, depth: usize) -> Vec<Rc<Scope>> {
        let mut scopes = self.scopes.borrow_mut();
        let depth = depth.min(scopes.len());
        let taken = scopes.split_off(depth);
        if let Some(lowest) = taken.first() {
            lowest.resumer.replace(None);
        }
        taken
    }

    /// Puts the scopes of a coroutine back that is resumed here. What surrounds the resumer reaches
    /// them too.
    pub fn attach(&self, scopes: &[Rc<Scope>]) {
        if let Some(lowest) = scopes.first() {
            let around = self.scope();
            let moved = lowest
                .parent
                .as_ref()
                .is_none_or(|parent| parent.id != around.id);
            if moved && !lowest.shield {
                lowest.resumer.replace(Some(around));
            }
        }
        self.scopes.borrow_mut().extend_from_slice(scopes);
    }

    /// Removes the scope with this id and everything inside it.
    pub fn pop(&self, id: u64) {
        let mut scopes = self.scopes.borrow_mut();
        if let Some(at) = scopes.iter().rposition(|scope| scope.id == id) {
            scopes.truncate(at);
        }
    }
}

tokio::task_local! {
    /// The context of the task that is being polled. It survives nested Lua coroutines, where the
    /// running Lua thread does not identify the task.
    pub static CONTEXT: Rc<TaskContext>;
}

/// The innermost scope of the running task.
pub fn current() -> Option<Rc<Scope>> {
    CONTEXT.try_with(|context| context.scope()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_reason_wins_over_an_inner_timeout() {
        let root = Trip::default();
        let outer = Scope::root(root.clone());
        let inner = Scope::child(&outer, 1, Some(Duration::ZERO));
        assert!(matches!(
            inner.tripped(),
            Some(Reason::Timeout { scope: 1, .. })
        ));
        root.cancel(Reason::Interrupted);
        assert_eq!(inner.tripped(), Some(Reason::Interrupted));
    }

    #[test]
    fn popping_a_scope_takes_the_abandoned_ones_inside_with_it() {
        let root = Scope::root(Trip::default());
        let context = TaskContext::new(1, root.clone());
        for id in 1..=3 {
            context.push(Scope::child(&root, id, None));
        }
        context.pop(2);
        assert_eq!(context.scope().id, 1);
        context.pop(2);
        assert_eq!(context.scope().id, 1);
    }

    #[test]
    fn a_resumed_coroutine_obeys_its_own_scopes_and_its_resumers() {
        let root = Scope::root(Trip::default());
        let context = TaskContext::new(1, root.clone());
        context.push(Scope::child(&root, 1, None));
        let parked = context.detach(0);
        assert_eq!(context.scope().id, 0);
        let consumer = Scope::child(&root, 2, None);
        context.push(consumer.clone());
        context.attach(&parked);
        consumer.cancel(Reason::Cancelled);
        assert_eq!(parked[0].tripped(), Some(Reason::Cancelled));
        context.detach(1);
        assert_eq!(parked[0].tripped(), None);
        assert_eq!(context.scope().id, 2);
    }

    #[test]
    fn durations_read_like_prose() {
        assert_eq!(human(Duration::from_millis(250)), "250ms");
        assert_eq!(human(Duration::from_secs(5)), "5s");
        assert_eq!(human(Duration::from_millis(1500)), "1.5s");
        assert_eq!(human(Duration::from_secs(150)), "2m30s");
    }
}
