//! A small pool: at most `max` sessions, waiters served in order, broken ones discarded.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::config::Settings;
use super::connection::{Connection, TxStatus};
use super::error::{Error, Result};

/// How long a returned session may take to stop what was abandoned on it.
const RESET_LIMIT: Duration = Duration::from_secs(5);

const RESET_GRACE: Duration = Duration::from_millis(20);

/// A pool of sessions with the same settings. Clones share it.
#[derive(Debug, Clone)]
pub struct Pool {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    max: usize,
    permits: Arc<Semaphore>,
    idle: RefCell<Vec<Connection>>,
}

impl Pool {
    /// Connects nowhere yet.
    pub fn new(settings: Settings, max: usize) -> Pool {
        let max = max.max(1);
        Pool {
            inner: Rc::new(Inner {
                settings,
                max,
                permits: Arc::new(Semaphore::new(max)),
                idle: RefCell::default(),
            }),
        }
    }

    pub fn max(&self) -> usize {
        self.inner.max
    }

    /// Sessions that wait for use.
    pub fn idle(&self) -> usize {
        self.inner.idle.borrow().len()
    }

    /// Sessions in use.
    pub fn in_use(&self) -> usize {
        self.inner
            .max
            .saturating_sub(self.inner.permits.available_permits())
    }

    /// A session; waits for one to be returned when `max` are in use.
    pub async fn get(&self) -> Result<Pooled> {
        let permit = self
            .inner
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Error::Closed {
                target: self.inner.settings.describe(),
            })?;
        // Gives the I/O driver a turn, so that a session whose server went away is seen as such.
        tokio::task::yield_now().await;
        loop {
            let idle = self.inner.idle.borrow_mut().pop();
            let connection = match idle {
                Some(connection) if connection.is_closed() => continue,
                Some(connection) => match reset(&connection).await {
                    Ok(()) => connection,
                    Err(_) => continue,
                },
                None => Connection::connect(&self.inner.settings).await?,
            };
            return Ok(Pooled {
                connection: Some(connection),
                pool: self.inner.clone(),
                _permit: permit,
            });
        }
    }

    /// Closes idle sessions, and those in use when they return; later calls fail.
    pub async fn close(&self) {
        self.inner.permits.close();
        let idle = std::mem::take(&mut *self.inner.idle.borrow_mut());
        for connection in idle {
            connection.close();
        }
    }
}

/// Ends what the last user left: a running statement, an open transaction.
async fn reset(connection: &Connection) -> Result<()> {
    // Most often only the answer to a ROLLBACK is outstanding: no reason to cancel anything.
    let _ = tokio::time::timeout(RESET_GRACE, connection.drain()).await;
    connection.cancel_and_drain(RESET_LIMIT).await?;
    connection.take_notices();
    while connection.try_notification().is_some() {}
    if connection.transaction_status().await? != TxStatus::Idle {
        connection.exec("ROLLBACK").await?;
    }
    Ok(())
}

/// A session of a pool; dropping it returns it.
#[derive(Debug)]
pub struct Pooled {
    connection: Option<Connection>,
    pool: Rc<Inner>,
    _permit: OwnedSemaphorePermit,
}

impl Pooled {
    /// Takes the session out of the pool for good.
    pub fn detach(mut self) -> Option<Connection> {
        self.connection.take()
    }

    /// Returns the session after it was brought in order.
    pub async fn release(mut self) -> Result<()> {
        if let Some(connection) = &self.connection
            && let Err(error) = reset(connection).await
        {
            self.connection = None;
            return Err(error);
        }
        Ok(())
    }
}

impl Deref for Pooled {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.connection {
            Some(connection) => connection,
            // Only `detach`, `release` and `drop` empty it, and they own the handle.
            None => unreachable!("a pooled connection is used after its return"),
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if self.pool.permits.is_closed() || connection.shared.is_closed() {
            return;
        }
        // Locks must not wait for the next user: the ROLLBACK leaves now.
        connection.send_rollback();
        self.pool.idle.borrow_mut().push(connection);
    }
}
