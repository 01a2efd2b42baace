//! Opening connections: the hosts in turn, TLS or not, the session's role, and cancel requests
//! (which are connections of their own).

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::io::AsyncReadExt;
use tokio::net::lookup_host;
use tokio_postgres::config::{ChannelBinding, SslMode as Negotiated, SslNegotiation};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::config::{Binding, Endpoint, Host, Settings, SslMode, TargetSession};
use super::connection::Connection;
use super::driver::Driver;
use super::error::{Error, Result};
use super::session::Opened;
use super::socket::Socket;
use super::tls;

/// The address a session was opened on: a cancel request must reach the same server.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    Unix(PathBuf),
    Tcp {
        address: SocketAddr,
        name: String,
        keepalives: bool,
    },
}

impl Peer {
    async fn open(&self) -> io::Result<Socket> {
        match self {
            Peer::Unix(path) => Socket::unix(path).await,
            Peer::Tcp {
                address,
                keepalives,
                ..
            } => Socket::tcp(*address, *keepalives).await,
        }
    }

    fn tls(&self, tls: &MakeRustlsConnect) -> Result<RustlsConnect> {
        let name = match self {
            Peer::Unix(_) => "localhost",
            Peer::Tcp { name, .. } => name,
        };
        let connect = MakeTlsConnect::<Socket>::make_tls_connect(&mut tls.clone(), name);
        connect.map_err(|error| Error::config(format!("cannot set up TLS: {error}")))
    }
}

type RustlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

/// Connects to the first acceptable server.
pub(crate) async fn connect(settings: &Settings) -> Result<Connection> {
    let mut endpoints: Vec<&Endpoint> = settings.endpoints.iter().collect();
    if settings.load_balance {
        endpoints.shuffle(&mut rand::rng());
    }
    let passes: &[TargetSession] = match settings.target_session {
        TargetSession::PreferStandby => &[TargetSession::Standby, TargetSession::Any],
        ref one => std::slice::from_ref(one),
    };
    let mut last = None;
    for wanted in passes {
        for endpoint in &endpoints {
            match connect_endpoint(settings, endpoint, *wanted).await {
                Ok(connection) => return Ok(connection),
                // Another host would refuse bad settings too.
                Err(error @ Error::Config { .. }) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::config("no host to connect to")))
}

async fn connect_endpoint(
    settings: &Settings,
    endpoint: &Endpoint,
    wanted: TargetSession,
) -> Result<Connection> {
    let target = settings.describe_one(endpoint);
    let work = async {
        let connection = open_endpoint(settings, endpoint, &target).await?;
        greet(&connection, wanted, &target).await?;
        Ok(connection)
    };
    match settings.connect_timeout {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit, work)
            .await
            .unwrap_or_else(|_| Err(timed_out(target.clone(), limit))),
    }
}

fn timed_out(target: String, limit: Duration) -> Error {
    Error::Connect {
        target,
        reason: format!("no answer within {limit:?}"),
        hint: Some("check the address and firewalls, or raise connect_timeout".into()),
        retryable: true,
    }
}

async fn open_endpoint(
    settings: &Settings,
    endpoint: &Endpoint,
    target: &str,
) -> Result<Connection> {
    let (name, address) = match &endpoint.host {
        Host::Unix(directory) => {
            // TLS is pointless on a socket inside one machine, and servers refuse it there.
            let path = directory.join(format!(".s.PGSQL.{}", endpoint.port));
            return open_peer(settings, endpoint, target, Peer::Unix(path), None).await;
        }
        Host::Tcp { name, address } => (name, address),
    };
    let addresses: Vec<SocketAddr> = match address {
        Some(ip) => vec![SocketAddr::new(*ip, endpoint.port)],
        None => lookup_host((name.as_str(), endpoint.port))
            .await
            .map_err(|error| Error::Connect {
                target: target.into(),
                reason: format!("cannot resolve \"{name}\": {error}"),
                hint: Some("check the host name".into()),
                retryable: false,
            })?
            .collect(),
    };
    let config = match settings.sslmode {
        SslMode::Disable => None,
        _ => Some(tls::connector(settings)?),
    };
    let mut last = None;
    for address in addresses {
        let peer = Peer::Tcp {
            address,
            name: name.clone(),
            keepalives: settings.keepalives,
        };
        // What to try, in order; the second is tried only when the first is refused.
        let attempts: &[bool] = match settings.sslmode {
            SslMode::Disable => &[false],
            SslMode::Allow => &[false, true],
            SslMode::Prefer => &[true, false],
            _ => &[true],
        };
        for with_tls in attempts {
            let tls = config.as_ref().filter(|_| *with_tls);
            match open_peer(settings, endpoint, target, peer.clone(), tls).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    let retry = match &error {
                        Error::Tls { .. } => true,
                        // pg_hba.conf may have a line for the other kind of connection.
                        Error::Server(server) => server.code == "28000",
                        _ => false,
                    };
                    last = Some(error);
                    if !retry {
                        break;
                    }
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::Connect {
        target: target.into(),
        reason: format!("\"{name}\" has no address"),
        hint: None,
        retryable: false,
    }))
}

async fn open_peer(
    settings: &Settings,
    endpoint: &Endpoint,
    target: &str,
    peer: Peer,
    tls: Option<&MakeRustlsConnect>,
) -> Result<Connection> {
    let socket = peer.open().await;
    let socket = socket.map_err(|error| refused(&error, target, &peer))?;
    let config = login(settings, endpoint, tls.is_some());
    let opened: std::result::Result<(_, Box<dyn Driver>), _> = match tls {
        Some(tls) => {
            let opened = config.connect_raw(socket, peer.tls(tls)?).await;
            opened.map(|(client, driver)| (client, Box::new(driver) as _))
        }
        None => {
            let opened = config.connect_raw(socket, NoTls).await;
            opened.map(|(client, driver)| (client, Box::new(driver) as _))
        }
    };
    let (client, driver) = opened.map_err(|error| failed(&error, target))?;
    let opened = Opened {
        client,
        driver,
        peer,
        tls: tls.cloned(),
    };
    Ok(Connection::new(opened, target.to_string()))
}

/// What the login says. TLS is required or not: its being optional is settled by trying both.
fn login(settings: &Settings, endpoint: &Endpoint, tls: bool) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .user(&settings.user)
        .dbname(&settings.dbname)
        .application_name(settings.application_name.as_deref().unwrap_or("rpitr"))
        .ssl_mode(match tls {
            true => Negotiated::Require,
            false => Negotiated::Disable,
        })
        .ssl_negotiation(match settings.ssl_direct {
            true => SslNegotiation::Direct,
            false => SslNegotiation::Postgres,
        })
        .channel_binding(match settings.channel_binding {
            Binding::Disable => ChannelBinding::Disable,
            Binding::Prefer => ChannelBinding::Prefer,
            Binding::Require => ChannelBinding::Require,
        });
    if let Some(password) = settings.password_for(endpoint) {
        config.password(password.reveal());
    }
    if let Some(options) = &settings.options {
        config.options(options);
    }
    config
}

/// The first cause of a kind.
fn cause<T: StdError + 'static>(error: &tokio_postgres::Error) -> Option<&T> {
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(found) = source.downcast_ref() {
            return Some(found);
        }
        // An io::Error hides what it was made of from `source`.
        next = match source
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => source.source(),
        };
    }
    None
}

fn failed(error: &tokio_postgres::Error, target: &str) -> Error {
    if let Some(server) = error.as_db_error() {
        return Error::Server(Box::new(server.into()));
    }
    let target = target.to_string();
    let reason = match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    };
    let auth = |reason: &str, hint: &str| Error::Auth {
        target: target.clone(),
        reason: reason.into(),
        hint: Some(hint.into()),
    };
    // The kinds of tokio-postgres's errors have no other public form than their text.
    let kind = error.to_string();
    match (kind.as_str(), reason.as_str()) {
        ("invalid configuration", "password missing") => auth(
            "the server asks for a password and none is known",
            "set password, PGPASSWORD or a line in ~/.pgpass (mode 0600)",
        ),
        ("authentication error", reason) if reason.contains("channel binding") => auth(
            reason,
            "channel_binding=require needs TLS and a scram-sha-256 password",
        ),
        ("authentication error", reason) => auth(
            reason,
            "use scram-sha-256, md5, password, cert, peer or trust in pg_hba.conf, and make sure this is the server you mean",
        ),
        ("error performing TLS handshake", "server does not support TLS") => Error::Tls {
            target,
            reason: "the server has no TLS".into(),
            hint: Some("set ssl=on on the server, or a weaker sslmode".into()),
        },
        (kind, _) => match cause::<rustls::Error>(error) {
            // TLS 1.3 servers refuse a client certificate after the handshake.
            Some(tls) => Error::Tls {
                target,
                hint: tls::advice(tls),
                reason,
            },
            None if kind == "error performing TLS handshake" => Error::Tls {
                target,
                reason,
                hint: None,
            },
            None => Error::Connect {
                target,
                reason,
                hint: None,
                retryable: true,
            },
        },
    }
}

fn refused(error: &io::Error, target: &str, peer: &Peer) -> Error {
    let place = match peer {
        Peer::Unix(path) => path.display().to_string(),
        Peer::Tcp { address, .. } => address.to_string(),
    };
    let hint = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Some(format!("is the server running, and listening on {place}?"))
        }
        io::ErrorKind::PermissionDenied => Some(format!("this user may not open {place}")),
        _ => None,
    };
    Error::Connect {
        target: target.into(),
        reason: error.to_string(),
        hint,
        retryable: !matches!(
            error.kind(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
        ),
    }
}

/// Asks for the session's process and checks `target_session_attrs`.
async fn greet(connection: &Connection, wanted: TargetSession, target: &str) -> Result<()> {
    use TargetSession::*;
    let rows = connection
        .simple_query(
            "SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(), \
             pg_catalog.current_setting('transaction_read_only')",
        )
        .await?;
    let cell = |column: usize| -> &str {
        let row = rows.first().and_then(|result| result.rows.first());
        let cell = row.and_then(|row| row.get(column)?.as_deref());
        cell.unwrap_or_default()
    };
    connection.shared.pid.set(cell(0).parse().unwrap_or(0));
    let (standby, read_only) = (cell(1) == "t", cell(2) == "on");
    let (fits, is) = match wanted {
        Any | PreferStandby => (true, ""),
        ReadWrite => (!read_only, "it is read-only"),
        ReadOnly => (read_only, "it accepts writes"),
        Primary => (!standby, "it is a standby"),
        Standby => (standby, "it is a primary"),
    };
    if fits {
        return Ok(());
    }
    Err(Error::Connect {
        target: target.into(),
        reason: format!("target_session_attrs does not allow this server: {is}"),
        hint: None,
        retryable: true,
    })
}

/// Asks the server to stop what a session runs. Returns when the server has passed it on.
pub(crate) async fn cancel(
    token: &CancelToken,
    peer: &Peer,
    tls: Option<&MakeRustlsConnect>,
    target: &str,
) -> Result<()> {
    let refused = |error: io::Error| refused(&error, target, peer);
    let socket = peer.open().await.map_err(refused)?;
    let mut second = socket.try_clone().map_err(refused)?;
    let sent = match tls {
        Some(tls) => token.cancel_query_raw(socket, peer.tls(tls)?).await,
        None => token.cancel_query_raw(socket, NoTls).await,
    };
    sent.map_err(|error| failed(&error, target))?;
    // The server hangs up once it has sent the signal; a later one would hit another statement.
    let _ = second.read_to_end(&mut Vec::new()).await;
    Ok(())
}
