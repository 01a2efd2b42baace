//! Connection strings: `postgresql://` URLs and `key=value` text, as libpq reads them.
//!
//! Errors never quote the string itself: it may hold a password.

use super::error::{Error, Result};

/// Splits a connection string into key/value pairs, last one wins.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>> {
    let text = text.trim();
    match ["postgresql://", "postgres://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
    {
        Some(rest) => parse_url(rest),
        None if text.contains("://") => Err(Error::config_hint(
            "the connection URL has an unknown scheme",
            "start it with postgresql://",
        )),
        None => parse_pairs(text),
    }
}

fn parse_url(rest: &str) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, dbname) = rest.split_once('/').unwrap_or((rest, ""));
    let hosts = match authority.rsplit_once('@') {
        Some((login, hosts)) => {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (login, None),
            };
            push(&mut pairs, "user", decode(user)?);
            if let Some(password) = password {
                push(&mut pairs, "password", decode(password)?);
            }
            hosts
        }
        None => authority,
    };

    let mut names = Vec::new();
    let mut ports = Vec::new();
    for part in hosts.split(',') {
        let (name, port) = split_port(part)?;
        names.push(decode(name)?);
        ports.push(decode(port)?);
    }
    if names.iter().any(|name| !name.is_empty()) {
        pairs.push(("host".into(), names.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        pairs.push(("port".into(), ports.join(",")));
    }
    push(&mut pairs, "dbname", decode(dbname)?);

    for item in query.split('&').filter(|item| !item.is_empty()) {
        let (key, value) = item
            .split_once('=')
            .ok_or_else(|| Error::config("the connection URL has a query item without \"=\""))?;
        let (key, value) = (decode(key)?, decode(value)?);
        if key == "ssl" && value == "true" {
            // JDBC's spelling; libpq accepts it too.
            pairs.push(("sslmode".into(), "require".into()));
        } else {
            pairs.push((key, value));
        }
    }
    Ok(pairs)
}

/// `host:port`, with IPv6 addresses in brackets.
fn split_port(part: &str) -> Result<(&str, &str)> {
    let bad = || Error::config("the connection URL has a host that cannot be read");
    if let Some(rest) = part.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(bad)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, port)),
            None if rest.is_empty() => Ok((address, "")),
            None => Err(bad()),
        };
    }
    match part.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(Error::config_hint(
            "the connection URL has more than one \":\" in a host",
            "write an IPv6 address in brackets: [::1]",
        )),
        Some(pair) => Ok(pair),
        None => Ok((part, "")),
    }
}

fn push(pairs: &mut Vec<(String, String)>, key: &str, value: String) {
    if !value.is_empty() {
        pairs.push((key.to_string(), value));
    }
}

fn decode(text: &str) -> Result<String> {
    if !text.contains('%') {
        return Ok(text.to_string());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |byte: Option<u8>| byte.and_then(|b| (b as char).to_digit(16));
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(high), Some(low)) if high * 16 + low != 0 => out.push((high * 16 + low) as u8),
            _ => {
                return Err(Error::config_hint(
                    "the connection URL has a bad percent escape",
                    "write a literal % as %25",
                ));
            }
        }
    }
    String::from_utf8(out).map_err(|_| Error::config("the connection URL is not UTF-8"))
}

/// `key = value` pairs; values may be quoted with `'`, and `\` escapes.
fn parse_pairs(text: &str) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(pairs);
        }
        let mut key = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            key.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next() != Some('=') || key.is_empty() {
            // The word itself is not quoted: after an unquoted space it may be half a password.
            return Err(Error::config_hint(
                "the connection string has a word without \"=\"",
                "write it as key=value pairs; quote values with spaces: password='a b'",
            ));
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let mut value = String::new();
        if chars.next_if_eq(&'\'').is_some() {
            loop {
                match chars.next() {
                    Some('\'') => break,
                    Some('\\') => value.extend(chars.next()),
                    Some(c) => value.push(c),
                    None => {
                        return Err(Error::config(
                            "the connection string has a quoted value without an end",
                        ));
                    }
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                match c {
                    '\\' => value.extend(chars.next()),
                    c => value.push(c),
                }
            }
        }
        pairs.push((key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        match parse(text) {
            Ok(pairs) => pairs
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn urls() {
        assert_eq!(show("postgresql://"), "");
        assert_eq!(show("postgres://h/db"), "host=h dbname=db");
        assert_eq!(
            show("postgresql://u:p%40ss@h:5433/db?sslmode=require&application_name=a%20b"),
            "user=u password=p@ss host=h port=5433 dbname=db sslmode=require application_name=a b"
        );
        assert_eq!(
            show("postgresql://a:1,b,[::1]:3/db"),
            "host=a,b,::1 port=1,,3 dbname=db"
        );
        assert_eq!(
            show("postgresql://%2Fvar%2Frun%2Fpg:5555/db"),
            "host=/var/run/pg port=5555 dbname=db"
        );
        assert_eq!(show("postgresql:///db?host=/tmp"), "dbname=db host=/tmp");
        assert_eq!(show("postgresql://h?ssl=true"), "host=h sslmode=require");
    }

    #[test]
    fn pairs() {
        assert_eq!(
            show("host=/tmp  user = 'a b' password='it\\'s' dbname=x\\ y port=5 options=''"),
            "host=/tmp user=a b password=it's dbname=x y port=5 options="
        );
        assert_eq!(show(""), "");
    }

    #[test]
    fn errors_do_not_quote_the_string() {
        for text in [
            "postgresql://u:sesame%zz@h/db",
            "postgresql://u:sesame@h:1:2/db",
            "mysql://u:sesame@h/db",
            "password=open sesame",
            "password='sesame",
        ] {
            let message = show(text);
            assert!(message.starts_with("error:"), "{text} was accepted");
            assert!(!message.contains("sesame"), "{message}");
        }
    }
}
