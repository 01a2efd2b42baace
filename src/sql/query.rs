//! Running statements.

use std::pin::pin;
use std::rc::Rc;

use futures_util::TryStreamExt;
use tokio_postgres::SimpleQueryMessage;

use super::connection::Connection;
use super::decode::{self, Codec};
use super::encode::params as encode;
use super::error::{Error, Result};
use super::statement::{Column, Prepared, Statement};
use super::text;
use super::value::Value;

/// What a statement returned.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub columns: Rc<[Column]>,
    pub rows: Vec<Vec<Value>>,
    /// The count in the command tag, 0 for commands that have none.
    pub affected: u64,
}

/// One result of the simple protocol: everything is text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextResult {
    pub rows: Vec<Vec<Option<String>>>,
    pub affected: u64,
}

impl Connection {
    /// Runs one statement and collects its rows. The statement is prepared on first use, so
    /// that a repetition costs one round trip.
    pub async fn query(&self, sql: &str, params: &[Value]) -> Result<Rows> {
        self.shared.check_free()?;
        let prepared = self.prepared(sql).await?;
        self.collect(prepared, params, true).await
    }

    /// [`Connection::query`] with an explicitly prepared statement.
    pub async fn query_prepared(&self, statement: &Statement, params: &[Value]) -> Result<Rows> {
        self.shared.check_free()?;
        self.collect(statement.0.clone(), params, true).await
    }

    /// Runs a command with parameters; rows it returns are dropped. Gives the number of rows it
    /// touched.
    pub async fn exec_params(&self, sql: &str, params: &[Value]) -> Result<u64> {
        self.shared.check_free()?;
        let prepared = self.prepared(sql).await?;
        let rows = self.collect(prepared, params, false).await?;
        Ok(rows.affected)
    }

    /// [`Connection::exec_params`] with an explicitly prepared statement.
    pub async fn exec_prepared(&self, statement: &Statement, params: &[Value]) -> Result<u64> {
        self.shared.check_free()?;
        let rows = self.collect(statement.0.clone(), params, false).await?;
        Ok(rows.affected)
    }

    /// Runs any number of statements separated by `;`, in one transaction unless they contain
    /// their own. Gives the number of rows the last one touched.
    pub async fn exec(&self, sql: &str) -> Result<u64> {
        let mut affected = 0;
        self.simple_each(sql, |message| {
            if let SimpleQueryMessage::CommandComplete(count) = message {
                affected = count;
            }
        })
        .await?;
        Ok(affected)
    }

    /// Runs statements with the simple protocol and returns all results as text.
    pub async fn simple_query(&self, sql: &str) -> Result<Vec<TextResult>> {
        let mut results = Vec::new();
        let mut result = TextResult::default();
        self.simple_each(sql, |message| match message {
            SimpleQueryMessage::Row(row) => {
                let cell = |i| row.try_get(i).ok().flatten().map(str::to_string);
                result.rows.push((0..row.len()).map(cell).collect());
            }
            SimpleQueryMessage::CommandComplete(count) => {
                result.affected = count;
                results.push(std::mem::take(&mut result));
            }
            _ => {}
        })
        .await?;
        Ok(results)
    }

    /// Runs statements with the simple protocol and hands out each message as it comes, so that the
    /// caller knows how far the server got when the rest is an error.
    pub(crate) async fn simple_each(
        &self,
        sql: &str,
        mut each: impl FnMut(SimpleQueryMessage),
    ) -> Result<()> {
        self.shared.check_free()?;
        text::check(sql)?;
        if text::may_begin(sql) {
            self.shared.note_begin();
        }
        let begun = self.shared.begun.get();
        let client = self.shared.client()?;
        let work = async {
            let mut messages = pin!(client.simple_query_raw(sql).await?);
            while let Some(message) = messages.try_next().await? {
                each(message);
            }
            Ok(())
        };
        self.shared.call(work).await?;
        if text::surely_ends(sql) {
            self.shared.note_end(begun);
        }
        Ok(())
    }

    async fn collect(&self, prepared: Rc<Prepared>, params: &[Value], keep: bool) -> Result<Rows> {
        let error = match self.run(&prepared, params, keep).await {
            Err(error) if is_stale(&error) => error,
            result => return result,
        };
        // Boxed, like every branch that is rarely taken: the future of a plain query is moved
        // several times on its way into Lua, and must not carry their weight.
        Box::pin(self.prepare_again(&prepared, params, keep, error)).await
    }

    /// The plan was refused before the first row, so a second try repeats nothing.
    async fn prepare_again(
        &self,
        prepared: &Prepared,
        params: &[Value],
        keep: bool,
        error: Error,
    ) -> Result<Rows> {
        let shared = &self.shared;
        shared.cache.borrow_mut().forget(&prepared.sql);
        shared.client()?.clear_type_cache();
        match self.prepared(&prepared.sql).await {
            // The transaction has failed with the first try.
            Err(Error::Server(second)) if second.code == "25P02" => Err(error),
            Err(second) => Err(second),
            Ok(fresh) => self.run(&fresh, params, keep).await,
        }
    }

    /// Runs a statement; its rows are dropped unless they are to be kept.
    pub(crate) async fn run(
        &self,
        prepared: &Prepared,
        params: &[Value],
        keep: bool,
    ) -> Result<Rows> {
        prepared.check_count(params)?;
        if prepared.printed {
            return Box::pin(self.run_printed(prepared)).await;
        }
        let shared = &self.shared;
        if prepared.may_begin {
            shared.note_begin();
        }
        let client = shared.client()?;
        let work = Box::pin(async {
            let stream = client
                .query_raw(&prepared.statement, encode(params))
                .await?;
            let mut stream = pin!(stream);
            let mut rows = Vec::new();
            let mut bad = None;
            while let Some(row) = stream.try_next().await? {
                if !keep {
                    continue;
                }
                match decode::row(&row, &prepared.codecs) {
                    Ok(values) => rows.push(values),
                    Err(column) => bad = Some(column),
                }
            }
            Ok((rows, bad, stream.rows_affected().unwrap_or(0)))
        });
        let (rows, bad, affected) = shared.call(work).await?;
        match bad.and_then(|index| prepared.columns.get(index)) {
            Some(column) => Err(unreadable(column)),
            None => Ok(Rows {
                columns: prepared.columns.clone(),
                rows,
                affected,
            }),
        }
    }

    async fn run_printed(&self, prepared: &Prepared) -> Result<Rows> {
        let results = self.simple_query(&prepared.sql).await?;
        let result = results.into_iter().next().unwrap_or_default();
        let value = |(cell, codec): (Option<String>, &Codec)| match cell {
            None => Value::Null,
            Some(text) if codec.is_text() => {
                codec.decode(text.as_bytes()).unwrap_or(Value::Text(text))
            }
            Some(text) => Value::Text(text),
        };
        let row = |cells: Vec<Option<String>>| {
            let pairs = cells.into_iter().zip(&prepared.codecs);
            pairs.map(value).collect()
        };
        Ok(Rows {
            columns: prepared.columns.clone(),
            rows: result.rows.into_iter().map(row).collect(),
            affected: result.affected,
        })
    }
}

pub(crate) fn unreadable(column: &Column) -> Error {
    Error::Protocol(format!(
        "column \"{}\" does not hold a valid {}",
        column.name, column.type_name
    ))
}

fn is_stale(error: &Error) -> bool {
    error
        .server()
        .is_some_and(super::error::ServerError::is_stale_statement)
}
