//! SQL connections: settings, TLS, statements, values, COPY and a small pool.

mod array_literal;
mod config;
#[cfg(test)]
mod config_tests;
mod connect;
mod connection;
mod conninfo;
mod copy;
mod decode;
mod driver;
mod encode;
mod error;
mod keys;
mod numeric;
mod passfile;
mod pool;
mod query;
mod service;
mod session;
mod socket;
mod statement;
mod stream;
mod text;
mod time;
mod tls;
mod value;

pub use config::{
    Binding, Endpoint, Env, Host, RootCert, Secret, Settings, SslMode, TargetSession,
};
pub use connection::{Connection, TxStatus};
pub use copy::{CopyIn, CopyOut};
pub use error::{Error, Notice, Result, ServerError};
pub use pool::{Pool, Pooled};
pub use query::{Rows, TextResult};
pub use session::Notification;
pub use statement::{Column, Statement};
pub use stream::RowStream;
pub use time::{Date, Interval, Time, TimeTz, Timestamp};
pub use value::{Array, Dimension, Range, Value};
