//! Receivers: nodes that run `pg_receivewal` instead of a server.
//!
//! What it was started with is a file in the node's folder, so that a receiver can be started again by
//! whoever finds the lab. A second file says that it should be running: without a process to go with it,
//! it did not stop in order.

use std::time::{Duration, Instant};

use super::tool::tail;
use super::{Error, Node, StartOptions, Started, Status, ToolOptions};

/// The role of such nodes.
pub(super) const ROLE: &str = "receiver";
/// In the node's folder: the arguments, one a line.
pub(super) const ARGUMENTS: &str = "receiver.args";
pub(super) const RUNNING: &str = "receiver.running";
const PROGRAM: &str = "pg_receivewal";
/// How long a signal that cannot be ignored may take.
const FORCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Whose WAL is received, and how.
#[derive(Debug, Clone)]
pub struct Receiving {
    /// A connection string without a password.
    pub conninfo: String,
    pub slot: String,
    /// Flush and report at once, as a synchronous standby does.
    pub synchronous: bool,
}

impl Receiving {
    fn arguments(&self, directory: &str) -> Vec<String> {
        let mut arguments = vec![
            format!("--directory={directory}"),
            format!("--dbname={}", self.conninfo),
            format!("--slot={}", self.slot),
            // What the server knows of the lag is as old as this.
            "--status-interval=1".into(),
            "--no-password".into(),
            "--verbose".into(),
        ];
        if self.synchronous {
            arguments.push("--synchronous".into());
        }
        arguments
    }
}

impl Node {
    pub(super) fn is_receiver(&self) -> bool {
        self.role() == ROLE
    }

    /// Makes the node a receiver; [`Node::start`] starts it.
    pub async fn set_receiving(&self, receiving: &Receiving) -> Result<(), Error> {
        let record = self.record();
        self.mkdir(&record.data_dir).await?;
        let arguments = receiving.arguments(&record.data_dir.display().to_string());
        let text = arguments.join("\n") + "\n";
        self.write_file(record.dir.join(ARGUMENTS), text.as_bytes(), 0o600)
            .await
    }

    /// Starts `pg_receivewal` and waits until it receives, or waits for its server.
    pub(super) async fn start_receiver(&self, options: StartOptions) -> Result<Started, Error> {
        let status = self.status().await?;
        if !matches!(status, Status::Stopped | Status::Crashed) {
            return Err(Error::WrongState {
                node: self.name(),
                is: status.to_string(),
                operation: "start",
                wanted: "stopped",
            });
        }
        let started = Instant::now();
        let record = self.record();
        let text = self.read_file(record.dir.join(ARGUMENTS)).await?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let arguments: Vec<&str> = text.lines().collect();
        let log_offset = self.log_len().await?;
        self.write_file(record.dir.join(RUNNING), b"", 0o600)
            .await?;
        let tool = ToolOptions {
            env: options.env.clone(),
            cwd: Some(record.data_dir.clone()),
            ..ToolOptions::default()
        };
        let program = self
            .spawn_tool(PROGRAM, &arguments, tool, "server.log")
            .await?;
        loop {
            let (log, _) = self.log_tail(log_offset).await?;
            let waits = log.contains("waiting 5 seconds");
            if let Some(reason) = refusal(&log).filter(|_| waits) {
                // It would try again for ever, such as with a slot that does not exist.
                program.kill(FORCE).await?;
                self.receiver_stopped().await?;
                return Err(Error::StartFailed {
                    node: self.name(),
                    reason: reason.to_string(),
                    log,
                    retryable: false,
                });
            }
            if log.contains("starting log streaming") || waits {
                return Ok(Started {
                    status: Status::Running,
                    pid: self.pid().await?.unwrap_or(0),
                    elapsed: started.elapsed(),
                    log_offset,
                    exit: None,
                });
            }
            if program.status().is_some() {
                let reason = log.lines().rev().find(|line| line.contains("error: "));
                return Err(Error::StartFailed {
                    node: self.name(),
                    reason: reason.unwrap_or("pg_receivewal ended").to_string(),
                    log,
                    retryable: false,
                });
            }
            if started.elapsed() >= options.timeout {
                return Err(Error::StartTimeout {
                    node: self.name(),
                    wanted: "receiving WAL",
                    waited: started.elapsed(),
                    log: tail(&log, 5),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Notes that it ended because it was told to.
    pub(super) async fn receiver_stopped(&self) -> Result<(), Error> {
        self.remove_file(self.record().dir.join(RUNNING)).await?;
        Ok(())
    }
}

/// What the server has against it; a server that is not there is no refusal.
fn refusal(log: &str) -> Option<&str> {
    const AWAY: [&str; 4] = [
        "connection to server",
        "could not connect",
        "the database system is",
        "replication stream was terminated",
    ];
    let mut errors = log.lines().filter(|line| line.contains("error: "));
    errors.rfind(|line| !AWAY.iter().any(|text| line.contains(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_slot_is_a_refusal_a_missing_server_is_not() {
        let slot = "pg_receivewal: error: replication slot \"x\" does not exist\n";
        assert!(refusal(slot).is_some());
        let away = "pg_receivewal: error: connection to server at \"127.0.0.1\", port 1 failed: Connection refused\n";
        assert_eq!(refusal(away), None);
        assert_eq!(
            refusal("pg_receivewal: starting log streaming at 0/1\n"),
            None
        );
    }
}
