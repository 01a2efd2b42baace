//! What undoes a fault: small descriptions that another process can carry out, any number of times.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::runtime::{self, Lab, Node, StartOptions, Status, ToolOptions, Until};

/// One step back. Nodes go by their names in the lab: a data directory and the servers that work in it are
/// the same for whoever looks, whatever their process ids have become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Undo {
    /// Continue what stands still.
    Resume { node: String },
    /// See to it that the server runs.
    Start {
        node: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        env: Vec<(String, String)>,
    },
    /// Plug in the network cable of a container, at its old address.
    Rejoin {
        node: String,
        address: Option<String>,
    },
    /// Put the copy of an archived file back that was held aside.
    PutBack {
        node: String,
        path: PathBuf,
        held: PathBuf,
    },
    /// Let pushes to an archive work again: partial files go, files that were lied about come.
    ClearPush { node: String, archive: PathBuf },
    /// Replace one way to another server in a node's configuration by another.
    Relink {
        node: String,
        from: String,
        to: String,
    },
    /// Set a node's faked clock to the true time.
    Clock { node: String, file: PathBuf },
}

const POLL: Duration = Duration::from_millis(20);

/// `$1` the file, `$2` the copy. A script that was damaging the file when rpitr died is waited for: it holds
/// `$2.run` with its process id.
const PUT_BACK: &str = r#"path=$1 held=$2 n=0
while [ -e "$held.run" ] && kill -0 "$(cat "$held.run")" 2>/dev/null && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.05; done
if [ -e "$held" ]; then mv -f "$held" "$path" || exit 1; fi
rm -f "$held" "$held.run" "$held.bad"
rmdir "$(dirname "$held")" 2>/dev/null || :"#;

/// `$1` the archive. The log has a line for each push: number, name, what was done to it.
const CLEAR_PUSH: &str = r#"archive=$1
rm -f "$archive/.rpitr-fault"
log="$archive/.rpitr-fault.log"
[ -e "$log" ] || exit 0
while read -r n name what bytes whole; do
  case $what in
  partial) if [ -e "$archive/$name" ] && [ "$(wc -c <"$archive/$name")" -lt "$whole" ]; then rm -f "$archive/$name"; fi ;;
  lied)
    held="$archive/.rpitr-lied.$name"
    if [ -e "$held" ]; then ln "$held" "$archive/$name" 2>/dev/null || [ -e "$archive/$name" ] || exit 1; rm -f "$held"; fi ;;
  esac
done <"$log""#;

impl Undo {
    /// The node it is about.
    pub fn node(&self) -> &str {
        match self {
            Undo::Resume { node }
            | Undo::Start { node, .. }
            | Undo::Rejoin { node, .. }
            | Undo::PutBack { node, .. }
            | Undo::ClearPush { node, .. }
            | Undo::Relink { node, .. }
            | Undo::Clock { node, .. } => node,
        }
    }

    /// Takes the step; tries again what may fail for a moment.
    pub(super) async fn run(&self, lab: &Lab, limit: Duration) -> Result<(), Error> {
        let node = lab.member(self.node()).await?;
        let deadline = Instant::now() + limit;
        loop {
            match self.attempt(&node, deadline).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn attempt(&self, node: &Node, deadline: Instant) -> Result<(), Error> {
        let text = |path: &PathBuf| path.display().to_string();
        match self {
            Undo::Resume { .. } => Ok(node.release().await?),
            Undo::Start { env, .. } => start(node, env, deadline).await,
            Undo::Rejoin { address, .. } => {
                let container = node.as_container("reconnect")?;
                container.remember_address(address.clone());
                Ok(container.reconnect().await?)
            }
            Undo::PutBack { path, held, .. } => {
                script(node, PUT_BACK, &[&text(path), &text(held)]).await
            }
            Undo::ClearPush { archive, .. } => script(node, CLEAR_PUSH, &[&text(archive)]).await,
            Undo::Relink { from, to, .. } => relink(node, from, to).await,
            Undo::Clock { file, .. } => Ok(node.write_file(file, b"+0\n", 0o644).await?),
        }
    }
}

/// Runs a shell script where the node's files are.
async fn script(node: &Node, script: &str, args: &[&str]) -> Result<(), Error> {
    let mut all = vec!["-c", script, "sh"];
    all.extend(args);
    let output = node.run_tool("sh", &all, ToolOptions::default()).await?;
    output.check()?;
    Ok(())
}

/// Brings the server up, whatever it is doing. Children of a killed postmaster may hold on to its shared
/// memory for a while.
async fn start(node: &Node, env: &[(String, String)], deadline: Instant) -> Result<(), Error> {
    let left = || deadline.saturating_duration_since(Instant::now());
    match node.status().await? {
        Status::Running | Status::Standby => Ok(()),
        Status::Paused => Ok(node.release().await?),
        Status::Starting => {
            node.wait_until(Until::Accepting, left()).await?;
            Ok(())
        }
        Status::Stopped | Status::Crashed => {
            let options = StartOptions {
                env: env.to_vec(),
                timeout: left().max(Duration::from_secs(1)),
                ..StartOptions::default()
            };
            node.start(options).await?;
            Ok(())
        }
        status @ (Status::Stopping | Status::Absent) => {
            Err(Error::undo(node.name(), format!("it is {status}")))
        }
    }
}

/// Changes the way in the configuration of a server, or among the arguments of a receiver.
async fn relink(node: &Node, from: &str, to: &str) -> Result<(), Error> {
    let arguments = node.paths().dir.join("receiver.args");
    if replaced(node, &arguments, from, to).await? {
        node.kill().await?;
        node.start(StartOptions::default()).await?;
    }
    replaced(node, Path::new("rpitr.conf"), from, to).await?;
    // In any case: whoever changed the file may have died before this.
    match node.reload().await {
        // A server that does not run reads its configuration when it starts.
        Err(runtime::Error::WrongState { .. }) => Ok(()),
        done => Ok(done?),
    }
}

/// Whether there is such a file and it had to be changed.
async fn replaced(node: &Node, file: &Path, from: &str, to: &str) -> Result<bool, Error> {
    if !node.exists(file).await {
        return Ok(false);
    }
    let bytes = node.read_file(file).await?;
    let text = String::from_utf8_lossy(&bytes);
    if !text.contains(from) {
        return Ok(false);
    }
    let changed = text.replace(from, to);
    node.write_file(file, changed.as_bytes(), 0o600).await?;
    Ok(true)
}
