//! Service files: named groups of connection settings (`[name]` and `key=value` lines).

use std::path::{Path, PathBuf};

use super::error::{Error, Result};

/// Looks `name` up in the given files, in order; the first file that has the group wins.
pub(crate) fn find(name: &str, files: &[PathBuf]) -> Result<Vec<(String, String)>> {
    for file in files {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(Error::config(format!(
                    "cannot read service file {}: {error}",
                    file.display()
                )));
            }
        };
        if let Some(pairs) = group(&text, name, file)? {
            return Ok(pairs);
        }
    }
    let looked = match files {
        [] => "no service file is known".to_string(),
        files => format!(
            "looked in {}",
            files
                .iter()
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    Err(Error::config_hint(
        format!("no service \"{name}\": {looked}"),
        "set PGSERVICEFILE to the file that defines it",
    ))
}

fn group(text: &str, name: &str, file: &Path) -> Result<Option<Vec<(String, String)>>> {
    let mut found: Option<Vec<(String, String)>> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if header.strip_suffix(']').map(str::trim) == Some(name) {
                found = Some(Vec::new());
            }
            continue;
        }
        let Some(pairs) = found.as_mut() else {
            continue;
        };
        match line.split_once('=') {
            Some((key, _)) if key.trim() == "service" => {
                return Err(Error::config(format!(
                    "{}:{}: a service may not name another service",
                    file.display(),
                    number + 1
                )));
            }
            Some((key, value)) => pairs.push((key.trim().into(), value.trim().into())),
            None => {
                return Err(Error::config(format!(
                    "{}:{}: expected key=value",
                    file.display(),
                    number + 1
                )));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_group() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("services");
        std::fs::write(
            &file,
            "# c\n[a]\nhost=one\n\n[b]\nhost = two\nport=6\n[c]\nservice=a\n",
        )
        .unwrap();
        let files = [directory.path().join("missing"), file];
        let pair = |k: &str, v: &str| (k.to_string(), v.to_string());
        assert_eq!(
            find("b", &files).unwrap(),
            [pair("host", "two"), pair("port", "6")]
        );
        assert!(find("c", &files).unwrap_err().to_string().contains(":9:"));
        assert!(
            find("d", &files)
                .unwrap_err()
                .to_string()
                .contains("no service \"d\"")
        );
    }
}
