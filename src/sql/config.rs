//! Connection settings and where they come from.
//!
//! libpq's order: what the caller says (explicit pairs before a connection string), then the
//! service file, then the `PG*` environment, then defaults. Passwords live in [`Secret`], which
//! has no readable `Debug`.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{Error, Result};
use super::keys::{self, Pairs};
use super::passfile::{self, Wanted};

/// Text that never appears in `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A directory that holds the Unix socket.
    Unix(PathBuf),
    /// A host name or address; `address` skips name resolution (`hostaddr`).
    Tcp {
        name: String,
        address: Option<IpAddr>,
    },
}

/// One server to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub host: Host,
    pub port: u16,
    /// From the password file, which may differ between hosts.
    pub(crate) password: Option<Secret>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Unix(directory) => write!(f, "{}:{}", directory.display(), self.port),
            Host::Tcp { name, .. } if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Tcp { name, .. } => write!(f, "{name}:{}", self.port),
        }
    }
}

/// How much TLS, as in libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    Disable,
    /// Plain first, TLS when the server refuses that.
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Where trusted certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCert {
    /// No file was named and the default one does not exist.
    Missing(PathBuf),
    /// The operating system's trust store (`sslrootcert=system`).
    System,
    File(PathBuf),
}

/// Which servers are acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetSession {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

/// Use of SCRAM channel binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    Disable,
    Prefer,
    Require,
}

/// Everything needed to open a connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    pub endpoints: Vec<Endpoint>,
    pub user: String,
    pub password: Option<Secret>,
    pub dbname: String,
    pub application_name: Option<String>,
    pub options: Option<String>,
    /// `None` waits for ever (`connect_timeout=0`).
    pub connect_timeout: Option<Duration>,
    pub sslmode: SslMode,
    /// TLS from the first byte, without asking the server (`sslnegotiation=direct`).
    pub ssl_direct: bool,
    pub root_cert: RootCert,
    /// Client certificate and key.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    pub target_session: TargetSession,
    pub channel_binding: Binding,
    pub load_balance: bool,
    pub keepalives: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("target", &self.describe())
            .field("password", &self.password)
            .field("sslmode", &self.sslmode)
            .field("target_session", &self.target_session)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

/// What the settings depend on outside the call, so that tests need no global state.
#[derive(Debug, Clone, Default)]
pub struct Env {
    pub vars: HashMap<String, String>,
    pub os_user: Option<String>,
    pub home: Option<PathBuf>,
    /// The directory a local server is expected to have its socket in.
    pub socket_dir: PathBuf,
}

impl Env {
    /// The process's own.
    pub fn current() -> Env {
        let vars: HashMap<String, String> = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(key, value)| key.starts_with("PG") && !value.is_empty())
            .collect();
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective())
            .ok()
            .flatten();
        let home = std::env::var_os("HOME")
            .filter(|home| !home.is_empty())
            .map(PathBuf::from)
            .or_else(|| user.as_ref().map(|user| user.dir.clone()));
        // Debian and Red Hat builds use the first, PostgreSQL's own default is the second.
        let debian = Path::new("/var/run/postgresql");
        let socket_dir = if debian.is_dir() {
            debian
        } else {
            Path::new("/tmp")
        };
        Env {
            vars,
            os_user: user.map(|user| user.name),
            home,
            socket_dir: socket_dir.to_path_buf(),
        }
    }

    pub(crate) fn var(&self, name: &str) -> Option<&str> {
        self.vars
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn home_file(&self, name: &str) -> PathBuf {
        self.home.clone().unwrap_or_default().join(name)
    }
}

impl Settings {
    /// Settings from a connection string (may be empty) and the process's environment.
    pub fn parse(text: &str) -> Result<Settings> {
        Settings::resolve(Some(text), &[], &Env::current())
    }

    /// Settings from all sources. `overrides` are the caller's explicit pairs; an empty value
    /// counts as not given, as in libpq.
    pub fn resolve(
        text: Option<&str>,
        overrides: &[(String, String)],
        env: &Env,
    ) -> Result<Settings> {
        build(&keys::collect(text, overrides, env)?, env)
    }

    /// `user@host:port/dbname`, never the password.
    pub fn describe(&self) -> String {
        let hosts: Vec<String> = self.endpoints.iter().map(Endpoint::to_string).collect();
        format!("{}@{}/{}", self.user, hosts.join(","), self.dbname)
    }

    pub(crate) fn describe_one(&self, endpoint: &Endpoint) -> String {
        format!("{}@{endpoint}/{}", self.user, self.dbname)
    }

    pub(crate) fn password_for(&self, endpoint: &Endpoint) -> Option<Secret> {
        self.password.clone().or_else(|| endpoint.password.clone())
    }
}

fn build(pairs: &Pairs, env: &Env) -> Result<Settings> {
    let user = match (pairs.get("user"), &env.os_user) {
        (Some(user), _) => user.to_string(),
        (None, Some(user)) => user.clone(),
        (None, None) => {
            return Err(Error::config_hint(
                "no user is given and this process's user has no name",
                "set user, or PGUSER",
            ));
        }
    };
    let dbname = pairs.get("dbname").unwrap_or(&user).to_string();
    let password = pairs.get("password").map(Secret::new);
    let mut endpoints = endpoints(pairs, env)?;
    if password.is_none() {
        let file = match pairs.get("passfile") {
            Some(file) => PathBuf::from(file),
            None => env.home_file(".pgpass"),
        };
        if let Some(text) = passfile::read(&file) {
            for endpoint in &mut endpoints {
                let host = match &endpoint.host {
                    Host::Unix(directory) if *directory == env.socket_dir => "localhost".into(),
                    Host::Unix(directory) => directory.display().to_string(),
                    Host::Tcp { name, .. } => name.clone(),
                };
                let wanted = Wanted {
                    host: &host,
                    port: &endpoint.port.to_string(),
                    dbname: &dbname,
                    user: &user,
                };
                endpoint.password = passfile::find(&text, wanted).map(Secret::new);
            }
        }
    }
    let root_cert = match pairs.get("sslrootcert") {
        Some("system") => RootCert::System,
        Some(file) => RootCert::File(file.into()),
        None => {
            let file = env.home_file(".postgresql/root.crt");
            if file.is_file() {
                RootCert::File(file)
            } else {
                RootCert::Missing(file)
            }
        }
    };
    let sslmode = keys::sslmode(pairs, root_cert == RootCert::System)?;
    let ssl_direct = keys::choice(
        pairs,
        "sslnegotiation",
        &[("postgres", false), ("direct", true)],
        false,
    )?;
    if ssl_direct && sslmode < SslMode::Require {
        return Err(Error::config_hint(
            "sslnegotiation=direct needs TLS to be required",
            "set sslmode=require or stronger",
        ));
    }
    Ok(Settings {
        endpoints,
        user,
        password,
        dbname,
        application_name: pairs.get("application_name").map(str::to_string),
        options: pairs.get("options").map(str::to_string),
        connect_timeout: keys::timeout(pairs)?,
        sslmode,
        ssl_direct,
        root_cert,
        client_cert: client_cert(pairs, env)?,
        target_session: keys::target_session(pairs)?,
        channel_binding: keys::channel_binding(pairs)?,
        load_balance: keys::choice(
            pairs,
            "load_balance_hosts",
            &[("disable", false), ("random", true)],
            false,
        )?,
        keepalives: pairs.get("keepalives") != Some("0"),
    })
}

fn endpoints(pairs: &Pairs, env: &Env) -> Result<Vec<Endpoint>> {
    let list = |key| -> Vec<&str> {
        pairs
            .get(key)
            .map(|text| text.split(',').map(str::trim).collect())
            .unwrap_or_default()
    };
    let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(Error::config(format!(
            "host names {} servers but hostaddr {}",
            names.len(),
            addresses.len()
        )));
    }
    let count = names.len().max(addresses.len()).max(1);
    if ports.len() > 1 && ports.len() != count {
        return Err(Error::config(format!(
            "port lists {} ports for {count} servers",
            ports.len()
        )));
    }
    (0..count)
        .map(|i| {
            let port = match ports.get(i).or(ports.first()).copied().unwrap_or_default() {
                "" => 5432,
                text => text.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
                    Error::config(format!("port \"{text}\" is not a number from 1 to 65535"))
                })?,
            };
            let address = match addresses.get(i).copied().unwrap_or_default() {
                "" => None,
                text => Some(text.parse::<IpAddr>().map_err(|_| {
                    Error::config(format!("hostaddr \"{text}\" is not an IP address"))
                })?),
            };
            let host = match (names.get(i).copied().unwrap_or_default(), address) {
                (name, _) if name.starts_with('@') => {
                    return Err(Error::config_hint(
                        format!("host \"{name}\": abstract sockets are not supported"),
                        "use the directory of the socket, or a host name",
                    ));
                }
                (name, None) if name.starts_with('/') => Host::Unix(name.into()),
                ("", None) => Host::Unix(env.socket_dir.clone()),
                ("", Some(ip)) => Host::Tcp {
                    name: ip.to_string(),
                    address,
                },
                (name, _) => Host::Tcp {
                    name: name.to_string(),
                    address,
                },
            };
            Ok(Endpoint {
                host,
                port,
                password: None,
            })
        })
        .collect()
}

fn client_cert(pairs: &Pairs, env: &Env) -> Result<Option<(PathBuf, PathBuf)>> {
    let key = || match pairs.get("sslkey") {
        Some(file) => PathBuf::from(file),
        None => env.home_file(".postgresql/postgresql.key"),
    };
    match pairs.get("sslcert") {
        Some(file) => Ok(Some((file.into(), key()))),
        None => {
            let cert = env.home_file(".postgresql/postgresql.crt");
            Ok(cert.is_file().then(|| (cert, key())))
        }
    }
}
