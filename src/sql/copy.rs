//! COPY: bytes to and from the server, as they are, in chunks.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::{CopyInSink, CopyOutStream};

use super::connection::Connection;
use super::error::{Error, Result};
use super::session::Owner;
use super::text;

impl Connection {
    /// Starts `COPY ... FROM STDIN`. The sink owns the connection until it is finished.
    ///
    /// When the server refuses to start it (no such table), or this call is dropped before it
    /// started, the connection is lost: `tokio_postgres` then sends one Sync too many, which
    /// breaks the order of answers (rust-postgres pull request 1337).
    pub async fn copy_in(&self, sql: &str) -> Result<CopyIn> {
        self.check_copy(sql, "stdin", "COPY ... FROM STDIN")?;
        let owner = self.shared.own("a COPY FROM STDIN")?;
        let client = self.shared.client()?;
        let statement = self.shared.call(client.prepare(sql)).await?;
        let sink = self.shared.call(client.copy_in(&statement)).await;
        if sink.is_err() {
            self.close();
        }
        Ok(CopyIn {
            connection: self.clone(),
            sink: Some(Box::pin(sink?)),
            _owner: owner,
        })
    }

    /// Starts `COPY ... TO STDOUT`. The stream owns the connection until its end.
    pub async fn copy_out(&self, sql: &str) -> Result<CopyOut> {
        self.check_copy(sql, "stdout", "COPY ... TO STDOUT")?;
        let owner = self.shared.own("a COPY TO STDOUT")?;
        let client = self.shared.client()?;
        let stream = self.shared.call(client.copy_out(sql)).await?;
        Ok(CopyOut {
            connection: self.clone(),
            open: Some((Box::pin(stream), owner)),
        })
    }

    fn check_copy(&self, sql: &str, end: &str, form: &str) -> Result<()> {
        self.shared.check_free()?;
        self.shared.client()?;
        if sql.contains('\0') {
            return Err(Error::config("the statement holds a zero byte"));
        }
        match text::is_copy(sql, end) {
            true => Ok(()),
            false => Err(Error::State {
                message: format!("the statement is not a {form}"),
                hint: format!("write it as {form}"),
            }),
        }
    }
}

/// The sending side of `COPY ... FROM STDIN`. Dropped unfinished, the COPY is aborted.
pub struct CopyIn {
    connection: Connection,
    sink: Option<Pin<Box<CopyInSink<Bytes>>>>,
    _owner: Owner,
}

impl CopyIn {
    /// Sends a chunk; rows may be split anywhere. Data the server refuses is noticed by
    /// [`CopyIn::finish`].
    pub async fn write(&mut self, chunk: impl Into<Bytes>) -> Result<()> {
        let sink = self.sink.as_mut().ok_or_else(ended)?;
        self.connection.shared.call(sink.send(chunk.into())).await
    }

    /// Ends the data; gives the number of rows.
    pub async fn finish(mut self) -> Result<u64> {
        let mut sink = self.sink.take().ok_or_else(ended)?;
        self.connection.shared.call(sink.as_mut().finish()).await
    }

    /// Gives the COPY up: the server forgets all its rows.
    pub async fn abort(self) -> Result<()> {
        let connection = self.connection.clone();
        drop(self);
        connection.drain().await
    }
}

fn ended() -> Error {
    Error::State {
        message: "the COPY has ended".into(),
        hint: "start it again".into(),
    }
}

impl Drop for CopyIn {
    fn drop(&mut self) {
        if self.sink.take().is_some() {
            self.connection.shared.abandon();
        }
    }
}

/// The receiving side of `COPY ... TO STDOUT`. After dropping it early, the next call on the
/// connection waits for the rest; [`CopyOut::close`] stops the server instead.
pub struct CopyOut {
    connection: Connection,
    open: Option<(Pin<Box<CopyOutStream>>, Owner)>,
}

impl CopyOut {
    /// The next chunk (the server sends one per row), or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some((stream, _)) = self.open.as_mut() else {
            return Ok(None);
        };
        let chunk = self.connection.shared.call(stream.try_next()).await;
        if !matches!(chunk, Ok(Some(_))) {
            self.open = None;
        }
        chunk
    }

    /// Stops the COPY at the server.
    pub async fn close(self, limit: Duration) -> Result<()> {
        let connection = self.connection.clone();
        drop(self);
        connection.cancel_and_drain(limit).await
    }
}

impl Drop for CopyOut {
    fn drop(&mut self) {
        if self.open.take().is_some() {
            self.connection.shared.abandon();
        }
    }
}

impl std::fmt::Debug for CopyIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyIn").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for CopyOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyOut").finish_non_exhaustive()
    }
}
