//! Waiting until something happens or the running task is told to stop.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::scope::{Reason, Scope, current};
use crate::failure::Failure;

/// Waits for `future` unless the running task's scope trips first. The future is dropped then: it
/// must be a plain Rust wait, never one that runs Lua.
pub fn guard<F: Future>(future: F) -> Guard<F> {
    Guard {
        future,
        scope: current(),
        trip: None,
    }
}

pin_project_lite::pin_project! {
    /// See [`guard`]. Written out because ten thousand sleeping tasks hold ten thousand of them:
    /// a `select!` in an async function is several times as large.
    pub struct Guard<F> {
        #[pin]
        future: F,
        scope: Option<Rc<Scope>>,
        // What to wait for besides, made when the future is not ready at once.
        trip: Option<Pin<Box<dyn Future<Output = Reason>>>>,
    }
}

impl<F: Future> Future for Guard<F> {
    type Output = Result<F::Output, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(scope) = this.scope else {
            return this.future.poll(context).map(Ok);
        };
        if this.trip.is_none()
            && let Some(reason) = scope.tripped()
        {
            return Poll::Ready(Err((&reason).into()));
        }
        if let Poll::Ready(value) = this.future.poll(context) {
            return Poll::Ready(Ok(value));
        }
        let trip = this
            .trip
            .get_or_insert_with(|| Box::pin(scope.clone().wait_tripped()));
        trip.as_mut()
            .poll(context)
            .map(|reason| Err((&reason).into()))
    }
}
