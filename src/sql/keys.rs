//! The names and values of connection settings: which exist, which environment variable
//! stands in for them, and how their text is read.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::config::{Binding, Env, SslMode, TargetSession};
use super::error::{Error, Result};
use super::{conninfo, service};

/// How rpitr treats a setting.
#[derive(Clone, Copy, PartialEq)]
enum Use {
    Yes,
    /// Tuning that libpq knows; accepted so that shared connection strings work.
    Ignored,
    /// Ignoring it would weaken what the user asked for.
    Refused,
}

const KEYS: &[(&str, &str, Use)] = &[
    ("host", "PGHOST", Use::Yes),
    ("hostaddr", "PGHOSTADDR", Use::Yes),
    ("port", "PGPORT", Use::Yes),
    ("user", "PGUSER", Use::Yes),
    ("password", "PGPASSWORD", Use::Yes),
    ("passfile", "PGPASSFILE", Use::Yes),
    ("dbname", "PGDATABASE", Use::Yes),
    ("service", "PGSERVICE", Use::Yes),
    ("servicefile", "PGSERVICEFILE", Use::Yes),
    ("application_name", "PGAPPNAME", Use::Yes),
    ("fallback_application_name", "", Use::Yes),
    ("connect_timeout", "PGCONNECT_TIMEOUT", Use::Yes),
    ("options", "PGOPTIONS", Use::Yes),
    ("sslmode", "PGSSLMODE", Use::Yes),
    ("sslnegotiation", "PGSSLNEGOTIATION", Use::Yes),
    ("sslrootcert", "PGSSLROOTCERT", Use::Yes),
    ("sslcert", "PGSSLCERT", Use::Yes),
    ("sslkey", "PGSSLKEY", Use::Yes),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", Use::Yes),
    ("channel_binding", "PGCHANNELBINDING", Use::Yes),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", Use::Yes),
    ("keepalives", "", Use::Yes),
    ("replication", "", Use::Refused),
    ("client_encoding", "", Use::Yes),
    ("gssencmode", "PGGSSENCMODE", Use::Yes),
    ("keepalives_idle", "", Use::Ignored),
    ("keepalives_interval", "", Use::Ignored),
    ("keepalives_count", "", Use::Ignored),
    ("tcp_user_timeout", "", Use::Ignored),
    ("sslcompression", "PGSSLCOMPRESSION", Use::Ignored),
    ("sslsni", "PGSSLSNI", Use::Ignored),
    ("sslcertmode", "PGSSLCERTMODE", Use::Ignored),
    ("krbsrvname", "PGKRBSRVNAME", Use::Ignored),
    ("gsslib", "PGGSSLIB", Use::Ignored),
    ("gssdelegation", "PGGSSDELEGATION", Use::Ignored),
    ("sslpassword", "", Use::Refused),
    ("sslcrl", "PGSSLCRL", Use::Refused),
    ("sslcrldir", "PGSSLCRLDIR", Use::Refused),
    ("requirepeer", "PGREQUIREPEER", Use::Refused),
    ("require_auth", "PGREQUIREAUTH", Use::Refused),
    ("requiressl", "", Use::Refused),
    (
        "ssl_min_protocol_version",
        "PGSSLMINPROTOCOLVERSION",
        Use::Refused,
    ),
    (
        "ssl_max_protocol_version",
        "PGSSLMAXPROTOCOLVERSION",
        Use::Refused,
    ),
];

/// Settings by canonical name; an empty value is the same as none.
#[derive(Default)]
pub(crate) struct Pairs(HashMap<&'static str, String>);

impl Pairs {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn add(&mut self, key: &str, value: &str) -> Result<()> {
        let name = canonical(key)?;
        if !value.is_empty() {
            self.0.insert(name, value.to_string());
        }
        Ok(())
    }

    /// Values of a weaker source.
    fn fill(&mut self, weaker: Pairs) {
        for (key, value) in weaker.0 {
            self.0.entry(key).or_insert(value);
        }
    }
}

fn canonical(key: &str) -> Result<&'static str> {
    let key = match key {
        "db" | "database" => "dbname",
        "username" => "user",
        key => key,
    };
    match KEYS.iter().find(|(name, _, _)| *name == key) {
        Some((name, _, Use::Refused)) => Err(Error::config_hint(
            format!("connection setting \"{name}\" is not supported by rpitr"),
            "remove it: rpitr refuses it rather than to ignore what it protects",
        )),
        Some((name, _, _)) => Ok(name),
        None => {
            let nearest = KEYS
                .iter()
                .filter(|(_, _, usage)| *usage == Use::Yes)
                .map(|(name, _, _)| (strsim::damerau_levenshtein(name, key), *name))
                .chain([(strsim::damerau_levenshtein("database", key), "dbname")])
                .min();
            let hint = match nearest {
                Some((distance, name)) if distance <= 1 + key.len() / 3 => {
                    format!("did you mean \"{name}\"?")
                }
                _ => {
                    "the settings are those of libpq: host, port, user, dbname, sslmode, ...".into()
                }
            };
            Err(Error::config_hint(
                format!("unknown connection setting \"{key}\""),
                hint,
            ))
        }
    }
}

/// Merges all sources, strongest first.
pub(crate) fn collect(
    text: Option<&str>,
    overrides: &[(String, String)],
    env: &Env,
) -> Result<Pairs> {
    let mut pairs = Pairs::default();
    for (key, value) in conninfo::parse(text.unwrap_or_default())? {
        pairs.add(&key, &value)?;
    }
    // Overrides are stronger than the string, so they replace what it said.
    for (key, value) in overrides {
        pairs.add(key, value)?;
    }
    let mut from_env = Pairs::default();
    for (key, variable, usage) in KEYS {
        if let (Use::Yes, Some(value)) = (usage, env.var(variable)) {
            from_env.add(key, value)?;
        }
    }
    let service = pairs.get("service").or(from_env.get("service"));
    if let Some(name) = service {
        let mut files = Vec::new();
        match pairs.get("servicefile").or(from_env.get("servicefile")) {
            Some(file) => files.push(PathBuf::from(file)),
            None => files.extend(env.home.as_ref().map(|home| home.join(".pg_service.conf"))),
        }
        if let Some(directory) = env.var("PGSYSCONFDIR") {
            files.push(PathBuf::from(directory).join("pg_service.conf"));
        }
        let mut from_service = Pairs::default();
        for (key, value) in service::find(name, &files)? {
            from_service.add(&key, &value)?;
        }
        pairs.fill(from_service);
    }
    pairs.fill(from_env);
    check_fixed(&pairs)?;
    Ok(pairs)
}

/// Settings that rpitr knows with one value only.
fn check_fixed(pairs: &Pairs) -> Result<()> {
    if let Some(encoding) = pairs.get("client_encoding") {
        let plain = encoding.to_ascii_lowercase().replace(['-', '_'], "");
        if !matches!(plain.as_str(), "utf8" | "unicode" | "auto") {
            return Err(Error::config_hint(
                format!("client_encoding \"{encoding}\" is not supported"),
                "rpitr always speaks UTF-8: remove the setting",
            ));
        }
    }
    if pairs.get("gssencmode") == Some("require") {
        return Err(Error::config(
            "gssencmode=require is not supported: rpitr has no GSSAPI",
        ));
    }
    Ok(())
}

/// Reads a setting that has a fixed set of values.
pub(crate) fn choice<T: Copy>(
    pairs: &Pairs,
    key: &str,
    choices: &[(&str, T)],
    default: T,
) -> Result<T> {
    let Some(value) = pairs.get(key) else {
        return Ok(default);
    };
    match choices.iter().find(|(name, _)| *name == value) {
        Some((_, choice)) => Ok(*choice),
        None => {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            Err(Error::config_hint(
                format!("{key} \"{value}\" is not known"),
                format!("use one of {}", names.join(", ")),
            ))
        }
    }
}

pub(crate) fn sslmode(pairs: &Pairs, system_roots: bool) -> Result<SslMode> {
    // As libpq: the system's store holds public CAs, which only a checked name makes safe.
    let default = if system_roots {
        SslMode::VerifyFull
    } else {
        SslMode::Prefer
    };
    let mode = choice(
        pairs,
        "sslmode",
        &[
            ("disable", SslMode::Disable),
            ("allow", SslMode::Allow),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ],
        default,
    )?;
    if system_roots && mode != SslMode::VerifyFull {
        return Err(Error::config_hint(
            "sslrootcert=system needs sslmode=verify-full",
            "anyone can get a certificate from a public CA: only the name tells servers apart",
        ));
    }
    Ok(mode)
}

pub(crate) fn target_session(pairs: &Pairs) -> Result<TargetSession> {
    choice(
        pairs,
        "target_session_attrs",
        &[
            ("any", TargetSession::Any),
            ("read-write", TargetSession::ReadWrite),
            ("read-only", TargetSession::ReadOnly),
            ("primary", TargetSession::Primary),
            ("standby", TargetSession::Standby),
            ("prefer-standby", TargetSession::PreferStandby),
        ],
        TargetSession::Any,
    )
}

pub(crate) fn channel_binding(pairs: &Pairs) -> Result<Binding> {
    choice(
        pairs,
        "channel_binding",
        &[
            ("disable", Binding::Disable),
            ("prefer", Binding::Prefer),
            ("require", Binding::Require),
        ],
        Binding::Prefer,
    )
}

/// libpq waits for ever by default; a drill that hangs on a dead address teaches nothing, so
/// the default here is ten seconds, and 0 waits for ever.
pub(crate) fn timeout(pairs: &Pairs) -> Result<Option<Duration>> {
    let Some(text) = pairs.get("connect_timeout") else {
        return Ok(Some(Duration::from_secs(10)));
    };
    let seconds: f64 = text
        .parse()
        .ok()
        .filter(|s: &f64| s.is_finite() && *s < 1e9)
        .ok_or_else(|| {
            Error::config(format!(
                "connect_timeout \"{text}\" is not a number of seconds"
            ))
        })?;
    Ok((seconds > 0.0).then(|| Duration::from_secs_f64(seconds)))
}
