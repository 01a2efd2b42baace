//! The compose command: the docker plugin, or the older program of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Error;

/// How compose is called on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compose {
    words: Vec<String>,
}

impl Compose {
    /// `docker compose` if that plugin is installed, else `docker-compose`.
    pub fn find() -> Result<Self, Error> {
        let mut tried = Vec::new();
        for words in [&["docker", "compose"][..], &["docker-compose"][..]] {
            let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
            let asked = Command::new(&words[0])
                .args(&words[1..])
                .arg("version")
                .stdin(Stdio::null())
                .output();
            match asked {
                Ok(output) if output.status.success() => return Ok(Compose { words }),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    let line = said.lines().next().unwrap_or_default();
                    tried.push(format!("{}: {line}", words.join(" ")));
                }
                Err(error) => tried.push(format!("{}: {error}", words.join(" "))),
            }
        }
        Err(Error::NoCompose { tried })
    }

    /// Runs it in the folder of a compose file; what it says is shown only when it fails.
    pub fn run(
        &self,
        folder: &Path,
        project: &str,
        engine: &str,
        arguments: &[&str],
    ) -> Result<(), Error> {
        let mut command = Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .args(["--project-name", project])
            .args(arguments)
            .current_dir(folder)
            .env("COMPOSE_PROJECT_NAME", project)
            .env_remove("COMPOSE_FILE")
            .stdin(Stdio::null());
        if std::env::var_os("DOCKER_HOST").is_none() {
            // The same engine as everything else, whatever chose it.
            command.env("DOCKER_HOST", engine);
        }
        let verb = arguments
            .iter()
            .find(|word| VERBS.contains(word))
            .unwrap_or(&"");
        let failed = |output: String| Error::Failed {
            command: format!("{} {verb}", self.words.join(" ")),
            output,
        };
        let output = command
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed(format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )))
    }
}

const VERBS: &[&str] = &["up", "down", "stop", "start"];
