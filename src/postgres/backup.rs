//! The files that describe a base backup: `backup_label`, `backup_manifest`, `*.backup` history
//! files and `tablespace_map`.

use std::path::PathBuf;

use serde::Deserialize;

use super::Error;
use crate::wal::Lsn;

/// What `backup_label` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupLabel {
    /// Replay starts here.
    pub start: Lsn,
    /// The WAL file that holds the start.
    pub start_file: String,
    pub checkpoint: Lsn,
    /// `streamed` or `pg_start_backup`.
    pub method: Option<String>,
    /// `primary` or `standby`.
    pub from: Option<String>,
    /// As written, in the server's `log_timezone`.
    pub start_time: Option<String>,
    pub label: Option<String>,
    pub timeline: u32,
}

/// What a `.backup` history file in the archive says: the label plus the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupHistory {
    pub label: BackupLabel,
    /// The backup is consistent from here on.
    pub stop: Lsn,
    pub stop_file: String,
    pub stop_time: Option<String>,
    pub stop_timeline: u32,
}

/// Name and value of each line.
struct Lines<'a> {
    what: &'static str,
    text: &'a str,
}

impl<'a> Lines<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.text.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(':')?;
            Some(value.strip_prefix(' ').unwrap_or(value))
        })
    }

    fn need(&self, name: &str) -> Result<&'a str, Error> {
        self.get(name)
            .ok_or_else(|| Error::parse(self.what, format!("no line \"{name}\"")))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, Error> {
        let value = self.need(name)?;
        value
            .trim()
            .parse()
            .map_err(|_| Error::parse(self.what, format!("\"{name}\" is \"{value}\"")))
    }

    /// `0/2000028 (file 000000010000000000000002)`.
    fn location(&self, name: &str) -> Result<(Lsn, String), Error> {
        let value = self.need(name)?;
        value
            .split_once(" (file ")
            .and_then(|(lsn, file)| Some((lsn.parse().ok()?, file.strip_suffix(')')?.to_string())))
            .ok_or_else(|| Error::parse(self.what, format!("\"{name}\" is \"{value}\"")))
    }
}

impl BackupLabel {
    /// Parses the text of `backup_label`; an incremental backup's label is an error.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::from_lines(&Lines {
            what: "backup_label",
            text,
        })
    }

    fn from_lines(lines: &Lines<'_>) -> Result<Self, Error> {
        if let Some(from) = lines.get("INCREMENTAL FROM LSN") {
            return Err(Error::Incremental {
                from: from.to_string(),
            });
        }
        let (start, start_file) = lines.location("START WAL LOCATION")?;
        let timeline = match lines.get("START TIMELINE") {
            Some(_) => lines.number("START TIMELINE")?,
            // The first eight digits of the file name.
            None => start_file
                .get(..8)
                .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                .ok_or_else(|| Error::parse(lines.what, "no start timeline"))?,
        };
        let text = |name| lines.get(name).map(str::to_string);
        Ok(BackupLabel {
            start,
            start_file,
            checkpoint: lines.number("CHECKPOINT LOCATION")?,
            method: text("BACKUP METHOD"),
            from: text("BACKUP FROM"),
            start_time: text("START TIME"),
            label: text("LABEL"),
            timeline,
        })
    }
}

impl BackupHistory {
    /// Parses a `.backup` history file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let lines = Lines {
            what: "the backup history file",
            text,
        };
        let label = BackupLabel::from_lines(&lines)?;
        let (stop, stop_file) = lines.location("STOP WAL LOCATION")?;
        Ok(BackupHistory {
            stop,
            stop_file,
            stop_time: lines.get("STOP TIME").map(str::to_string),
            stop_timeline: match lines.get("STOP TIMELINE") {
                Some(_) => lines.number("STOP TIMELINE")?,
                None => label.timeline,
            },
            label,
        })
    }
}

/// WAL a backup needs to become consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalRange {
    pub timeline: u32,
    pub start: Lsn,
    pub end: Lsn,
}

/// The totals of `backup_manifest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupManifest {
    pub version: u32,
    /// Since version 2 (PostgreSQL 17).
    pub system_identifier: Option<u64>,
    pub files: u64,
    pub bytes: u64,
    pub wal_ranges: Vec<WalRange>,
}

#[derive(Deserialize)]
struct RawManifest {
    #[serde(rename = "PostgreSQL-Backup-Manifest-Version")]
    version: u32,
    #[serde(rename = "System-Identifier")]
    system_identifier: Option<u64>,
    #[serde(rename = "Files", default)]
    files: Vec<RawFile>,
    #[serde(rename = "WAL-Ranges", default)]
    wal_ranges: Vec<RawRange>,
}

#[derive(Deserialize)]
struct RawFile {
    #[serde(rename = "Size")]
    size: u64,
}

#[derive(Deserialize)]
struct RawRange {
    #[serde(rename = "Timeline")]
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: String,
    #[serde(rename = "End-LSN")]
    end: String,
}

impl BackupManifest {
    /// Parses `backup_manifest`. The files themselves are `pg_verifybackup`'s to check.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let what = "backup_manifest";
        let raw: RawManifest =
            serde_json::from_slice(text).map_err(|error| Error::parse(what, error.to_string()))?;
        let lsn = |text: &str| {
            text.parse::<Lsn>()
                .map_err(|error| Error::parse(what, error.to_string()))
        };
        let mut wal_ranges = Vec::with_capacity(raw.wal_ranges.len());
        for range in &raw.wal_ranges {
            wal_ranges.push(WalRange {
                timeline: range.timeline,
                start: lsn(&range.start)?,
                end: lsn(&range.end)?,
            });
        }
        Ok(BackupManifest {
            version: raw.version,
            system_identifier: raw.system_identifier,
            files: raw.files.len() as u64,
            bytes: raw.files.iter().map(|file| file.size).sum(),
            wal_ranges,
        })
    }

    /// The point from which the backup is consistent: the end of its last WAL range.
    pub fn stop(&self) -> Option<Lsn> {
        self.wal_ranges.iter().map(|range| range.end).max()
    }
}

/// One line of `tablespace_map`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablespaceLink {
    pub oid: u32,
    pub location: PathBuf,
}

/// Parses `tablespace_map`: `16384 /path`, with newline and backslash escaped by a backslash.
pub fn parse_tablespace_map(text: &str) -> Result<Vec<TablespaceLink>, Error> {
    let mut links = Vec::new();
    let mut line = String::new();
    let mut chars = text.chars();
    let mut finish = |line: &mut String| -> Result<(), Error> {
        if line.is_empty() {
            return Ok(());
        }
        let link = line
            .split_once(' ')
            .and_then(|(oid, location)| {
                Some(TablespaceLink {
                    oid: oid.parse().ok()?,
                    location: PathBuf::from(location),
                })
            })
            .ok_or_else(|| Error::parse("tablespace_map", format!("line {line:?}")))?;
        links.push(link);
        line.clear();
        Ok(())
    };
    while let Some(char) = chars.next() {
        match char {
            '\n' | '\r' => finish(&mut line)?,
            '\\' => line.extend(chars.next()),
            char => line.push(char),
        }
    }
    finish(&mut line)?;
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "\
START WAL LOCATION: 0/2000028 (file 000000010000000000000002)
CHECKPOINT LOCATION: 0/2000060
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-11-21 07:33:33 UTC
LABEL: pg_basebackup base backup
START TIMELINE: 1
";

    #[test]
    fn label() {
        let label = BackupLabel::parse(LABEL).unwrap();
        assert_eq!(label.start, Lsn(0x2000028));
        assert_eq!(label.start_file, "000000010000000000000002");
        assert_eq!(label.checkpoint, Lsn(0x2000060));
        assert_eq!(label.timeline, 1);
        assert_eq!(label.label.as_deref(), Some("pg_basebackup base backup"));
        let incremental = format!("{LABEL}INCREMENTAL FROM LSN: 0/1000028\n");
        assert!(matches!(
            BackupLabel::parse(&incremental),
            Err(Error::Incremental { .. })
        ));
        assert!(BackupLabel::parse("").is_err());
    }

    #[test]
    fn history() {
        let text = LABEL.replace(
            "CHECKPOINT",
            "STOP WAL LOCATION: 0/2000100 (file 000000010000000000000002)\nCHECKPOINT",
        ) + "STOP TIME: 2026-11-21 07:33:34 UTC\nSTOP TIMELINE: 1\n";
        let history = BackupHistory::parse(&text).unwrap();
        assert_eq!(history.stop, Lsn(0x2000100));
        assert_eq!(
            history.stop_time.as_deref(),
            Some("2026-11-21 07:33:34 UTC")
        );
        assert!(BackupHistory::parse(LABEL).is_err());
    }

    #[test]
    fn manifest() {
        let text = br#"{ "PostgreSQL-Backup-Manifest-Version": 2, "System-Identifier": 77,
            "Files": [ { "Path": "a", "Size": 225 }, { "Encoded-Path": "ff", "Size": 3 } ],
            "WAL-Ranges": [ { "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" } ],
            "Manifest-Checksum": "00"}"#;
        let manifest = BackupManifest::parse(text).unwrap();
        assert_eq!((manifest.files, manifest.bytes), (2, 228));
        assert_eq!(manifest.system_identifier, Some(77));
        assert_eq!(manifest.stop(), Some(Lsn(0x2000100)));
        assert!(BackupManifest::parse(&text[..100]).is_err());
    }

    #[test]
    fn tablespaces() {
        let links = parse_tablespace_map("16384 /a b/ts\n16385 /odd\\\nname\n").unwrap();
        assert_eq!(links[0].location, PathBuf::from("/a b/ts"));
        assert_eq!(
            (links[1].oid, links[1].location.to_str()),
            (16385, Some("/odd\nname"))
        );
        assert!(parse_tablespace_map("nonsense").is_err());
    }
}
