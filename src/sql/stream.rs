//! Rows one batch at a time: results larger than memory, and stopping early.
//!
//! A stream is a server-side cursor. Inside a transaction other statements may run in the loop.
//! Outside of one, the stream opens its own, and owns the connection until it ends.

use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;

use futures_util::TryStreamExt;
use tokio_postgres::types::{ToSql, Type};

use super::connection::{Connection, TxStatus};
use super::decode;
use super::encode::{Param, params as encode};
use super::error::{Error, Result};
use super::query::unreadable;
use super::session::Owner;
use super::statement::{Column, Prepared};
use super::text;
use super::value::Value;

/// Rows that are fetched as they are read.
#[derive(Debug)]
pub struct RowStream {
    connection: Connection,
    prepared: Rc<Prepared>,
    cursor: String,
    fetch: usize,
    rows: VecDeque<Vec<Value>>,
    state: State,
    /// Set when the stream's transaction is its own.
    owner: Option<Owner>,
    /// [`super::session::Shared::begun`] when the cursor was opened.
    begun: u64,
    fetched: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Fetching,
    Done,
}

impl Connection {
    /// Runs a statement whose rows are fetched `fetch` at a time. The rows of what is not a
    /// query (`INSERT ... RETURNING`, `SHOW`) are collected.
    pub async fn stream(&self, sql: &str, params: &[Value], fetch: u16) -> Result<RowStream> {
        let shared = &self.shared;
        shared.check_free()?;
        let prepared = self.prepared(sql).await?;
        prepared.check_count(params)?;
        let cursor = text::is_select(sql);
        let mut stream = RowStream {
            connection: self.clone(),
            prepared: prepared.clone(),
            cursor: shared.next_name(),
            fetch: usize::from(fetch.max(1)),
            rows: VecDeque::new(),
            state: State::Done,
            owner: None,
            begun: 0,
            fetched: 0,
        };
        if !cursor {
            stream.rows = self.run(&prepared, params, true).await?.rows.into();
            stream.fetched = stream.rows.len() as u64;
            return Ok(stream);
        }
        if self.transaction_status().await? == TxStatus::Idle {
            stream.owner = Some(shared.own("a row stream")?);
        }
        stream.begun = shared.begun.get();
        // From here on the end of `stream`, however it comes, ends the transaction.
        stream.state = State::Ready;
        let opened = stream.open(params).await;
        stream.settle(opened).await?;
        stream.fetch().await?;
        Ok(stream)
    }
}

impl RowStream {
    pub fn columns(&self) -> &[Column] {
        &self.prepared.columns
    }

    /// The rows that came from the server so far.
    pub fn fetched(&self) -> u64 {
        self.fetched
    }

    /// The next row, or `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<Value>>> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return Ok(Some(row));
            }
            match self.state {
                State::Done => return Ok(None),
                State::Fetching => {
                    return Err(Error::State {
                        message: "the row stream was interrupted while it fetched rows".into(),
                        hint: "start the statement again".into(),
                    });
                }
                State::Ready => Box::pin(self.fetch()).await?,
            }
        }
    }

    /// Ends the stream early. Dropping it does the same without waiting for the server.
    pub async fn close(mut self) -> Result<()> {
        match self.state {
            State::Done => Ok(()),
            _ => self.end().await,
        }
    }

    async fn open(&self, params: &[Value]) -> Result<()> {
        let shared = &self.connection.shared;
        let client = shared.client()?;
        if self.owner.is_some() {
            shared.call(client.batch_execute("BEGIN")).await?;
        }
        let prepared = &self.prepared;
        let sql = format!(
            "DECLARE {} NO SCROLL CURSOR FOR {}",
            self.cursor,
            prepared.sent.as_deref().unwrap_or(&prepared.sql)
        );
        let params: Vec<Param<'_>> = encode(params).collect();
        let typed: Vec<(&(dyn ToSql + Sync), Type)> = params
            .iter()
            .zip(prepared.statement.params())
            .map(|(param, ty)| (param as &(dyn ToSql + Sync), ty.clone()))
            .collect();
        shared.call(client.execute_typed(&sql, &typed)).await?;
        Ok(())
    }

    async fn fetch(&mut self) -> Result<()> {
        self.state = State::Fetching;
        let batch = self.batch().await;
        let batch = self.settle(batch).await?;
        self.fetched += batch.len() as u64;
        self.state = State::Ready;
        if batch.len() < self.fetch {
            self.end().await?;
        }
        self.rows.extend(batch);
        Ok(())
    }

    async fn batch(&self) -> Result<Vec<Vec<Value>>> {
        let shared = &self.connection.shared;
        let client = shared.client()?;
        let sql = format!("FETCH {} FROM {}", self.fetch, self.cursor);
        let none: [(&(dyn ToSql + Sync), Type); 0] = [];
        let work = async {
            let mut stream = pin!(client.query_typed_raw(&sql, none).await?);
            let mut rows = Vec::new();
            let mut bad = None;
            while let Some(row) = stream.try_next().await? {
                match decode::row(&row, &self.prepared.codecs) {
                    Ok(values) => rows.push(values),
                    Err(column) => bad = Some(column),
                }
            }
            Ok((rows, bad))
        };
        let (rows, bad) = shared.call(work).await?;
        match bad.and_then(|index| self.columns().get(index)) {
            Some(column) => Err(unreadable(column)),
            None => Ok(rows),
        }
    }

    /// Ends the stream when a step failed.
    async fn settle<T>(&mut self, step: Result<T>) -> Result<T> {
        if step.is_err() {
            // The first error says more than one of the end.
            let _ = self.end().await;
        }
        step
    }

    async fn end(&mut self) -> Result<()> {
        let sql = self.last_words();
        self.state = State::Done;
        // Given back when the answer has come.
        let owner = self.owner.take();
        let shared = &self.connection.shared;
        let Some(sql) = sql else { return Ok(()) };
        let client = shared.client()?;
        match shared.call(client.batch_execute(&sql)).await {
            // The transaction that held the cursor has ended or failed before.
            Err(Error::Server(_)) if owner.is_none() => Ok(()),
            ended => ended,
        }
    }

    /// The statement that ends the stream. A cursor must not be closed in a transaction that
    /// knows nothing of it: that would fail, and the transaction with it.
    fn last_words(&self) -> Option<String> {
        if self.owner.is_some() {
            // Like a statement of its own; of a failed transaction it is a ROLLBACK.
            return Some("COMMIT".into());
        }
        let same = self.connection.shared.begun.get() == self.begun;
        same.then(|| format!("CLOSE {}", self.cursor))
    }
}

impl Drop for RowStream {
    fn drop(&mut self) {
        if self.state == State::Done {
            return;
        }
        if self.owner.take().is_some() {
            self.connection.shared.send("COMMIT");
        }
    }
}
