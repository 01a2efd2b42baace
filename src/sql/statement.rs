//! Prepared statements: preparing, columns of types that have to be printed by the server, and
//! the cache that makes a repeated query one round trip.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;

use tokio_postgres::types::{Kind, Type};

use super::connection::Connection;
use super::decode::Codec;
use super::encode::display_name;
use super::error::{Error, Result};
use super::text;
use super::value::Value;

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// `int4`, `text[]`, ...
    pub type_name: String,
    pub type_oid: u32,
}

/// A statement prepared on one connection. The server forgets it when the last clone goes.
#[derive(Debug, Clone)]
pub struct Statement(pub(crate) Rc<Prepared>);

#[derive(Debug)]
pub(crate) struct Prepared {
    pub sql: Rc<str>,
    /// What is sent: `sql`, or a statement around it that casts columns to text.
    pub sent: Option<String>,
    pub statement: tokio_postgres::Statement,
    pub columns: Rc<[Column]>,
    pub codecs: Vec<Codec>,
    /// The statement has to be run by the simple protocol, which prints everything.
    pub printed: bool,
    pub may_begin: bool,
}

impl Statement {
    pub fn sql(&self) -> &str {
        &self.0.sql
    }

    pub fn columns(&self) -> &[Column] {
        &self.0.columns
    }
}

impl Prepared {
    pub(crate) fn check_count(&self, params: &[Value]) -> Result<()> {
        let (expected, got) = (self.statement.params().len(), params.len());
        if expected != got {
            return Err(Error::ParameterCount { expected, got });
        }
        Ok(())
    }
}

/// Statements kept per connection.
const CACHED: usize = 128;

#[derive(Debug, Default)]
pub(crate) struct Cache {
    statements: HashMap<Rc<str>, (Rc<Prepared>, u64)>,
    clock: u64,
}

impl Cache {
    fn get(&mut self, sql: &str) -> Option<Rc<Prepared>> {
        self.clock += 1;
        let (statement, used) = self.statements.get_mut(sql)?;
        *used = self.clock;
        Some(statement.clone())
    }

    fn put(&mut self, statement: &Rc<Prepared>) {
        if self.statements.len() >= CACHED {
            let oldest = self.statements.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(sql) = oldest.map(|(sql, _)| sql.clone()) {
                self.statements.remove(&sql);
            }
        }
        self.statements
            .insert(statement.sql.clone(), (statement.clone(), self.clock));
    }

    pub(crate) fn forget(&mut self, sql: &str) {
        self.statements.remove(sql);
    }
}

impl Connection {
    /// Prepares a statement explicitly. `query` with the same text uses it too.
    pub async fn prepare(&self, sql: &str) -> Result<Statement> {
        self.shared.check_free()?;
        self.prepared(sql).await.map(Statement)
    }

    pub(crate) async fn prepared(&self, sql: &str) -> Result<Rc<Prepared>> {
        if let Some(statement) = self.shared.cache.borrow_mut().get(sql) {
            return Ok(statement);
        }
        Box::pin(self.prepare_new(sql)).await
    }

    async fn prepare_new(&self, sql: &str) -> Result<Rc<Prepared>> {
        text::check(sql)?;
        let client = self.shared.client()?;
        let mut statement = self.shared.call(client.prepare(sql)).await?;
        let columns: Rc<[Column]> = statement.columns().iter().map(column).collect();
        let types = statement.columns().iter().map(|column| column.type_());
        let codecs: Vec<Codec> = types.clone().map(Codec::of).collect();
        let plain = !codecs.iter().any(Codec::is_text);
        let printed = !plain && !text::is_relation(sql);
        let mut sent = None;
        if !plain && !printed {
            let around = cast(sql, types);
            statement = self.shared.call(client.prepare(&around)).await?;
            sent = Some(around);
        }
        let prepared = Rc::new(Prepared {
            sql: sql.into(),
            sent,
            statement,
            columns,
            codecs,
            printed,
            may_begin: text::may_begin(sql),
        });
        // A statement around another one does not notice when the inner one gets new columns.
        if plain {
            self.shared.cache.borrow_mut().put(&prepared);
        }
        Ok(prepared)
    }
}

fn column(column: &tokio_postgres::Column) -> Column {
    Column {
        name: column.name().to_string(),
        type_name: display_name(column.type_().name()),
        type_oid: column.type_().oid(),
    }
}

/// A statement with the same rows, in which the columns that cannot be read are text.
fn cast<'a>(sql: &str, types: impl Iterator<Item = &'a Type> + Clone) -> String {
    let join = |one: &dyn Fn(usize, &Type) -> String| {
        let list: Vec<String> = types
            .clone()
            .enumerate()
            .map(|(i, ty)| one(i, ty))
            .collect();
        list.join(", ")
    };
    let mut around = String::new();
    let _ = write!(
        around,
        "WITH rpitr ({}) AS (\n{}\n) SELECT {} FROM rpitr",
        join(&|i, _| format!("c{i}")),
        text::trimmed(sql),
        join(&as_text)
    );
    around
}

fn as_text(index: usize, ty: &Type) -> String {
    match (ty, ty.kind()) {
        (_, Kind::Domain(base)) => as_text(index, base),
        _ if !Codec::of(ty).is_text() => format!("c{index}"),
        // The casts of these two print the netmask always.
        (&Type::INET, _) => format!("pg_catalog.textin(pg_catalog.inet_out(c{index}))"),
        (&Type::CIDR, _) => format!("pg_catalog.textin(pg_catalog.cidr_out(c{index}))"),
        _ => format!("c{index}::pg_catalog.text"),
    }
}
