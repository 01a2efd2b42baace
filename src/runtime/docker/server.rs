//! The running server: its state, stopping, killing, pausing, signals.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use bollard::query_parameters::KillContainerOptionsBuilder;

use super::exec::Output;
use super::node::DockerNode;
use crate::runtime::receiver;
use crate::runtime::{Error, Status, StopMode, Stopped, Until};

/// What every script below knows. `$data` is the data directory. A pid file alone proves nothing: its
/// process must be a server that works there. Programs are started only where the shell cannot do it
/// itself: each costs more than everything else here.
pub(super) const COMMON: &str = r#"data=$1
receiver=${data%/*}/receiver
pid() {
  if [ -e "$receiver.args" ]; then others | head -n 1; return; fi
  p=
  [ -e "$data/postmaster.pid" ] && IFS= read -r p <"$data/postmaster.pid"
  [ -n "$p" ] && [ "/proc/$p/cwd" -ef "$data" ] && echo "$p"
}
others() {
  for q in /proc/[0-9]*; do
    [ "$q/cwd" -ef "$data" ] || continue
    c=
    { IFS= read -r c <"$q/comm"; } 2>/dev/null
    case $c in postgres* | postmaster* | pg_receivewal) echo "${q#/proc/}" ;; esac
  done
}
state() {
  p=$(pid)
  if [ -n "$p" ]; then
    IFS= read -r l <"/proc/$p/stat"
    case ${l##*) } in T*) echo paused; return ;; esac
    if [ -e "$receiver.args" ]; then echo running; return; fi
    line=; n=0
    while IFS= read -r l; do n=$((n + 1)); [ $n -eq 8 ] && line=$l; done <"$data/postmaster.pid"
    case $line in
    ready*)
      set -- $(od -A n -t u4 -j 16 -N 4 "$data/global/pg_control")
      if [ "$1" = 6 ]; then echo running; else echo standby; fi ;;
    standby*) echo standby ;;
    stopping*) echo stopping ;;
    *) echo starting ;;
    esac
  elif [ -e "$receiver.args" ]; then
    if [ -e "$receiver.running" ]; then echo crashed; else echo stopped; fi
  elif [ ! -e "$data/PG_VERSION" ]; then echo absent
  elif [ -e "$data/postmaster.pid" ]; then echo crashed
  else echo stopped
  fi
}
"#;

const STATUS: &str = "state\npid || :";

/// Stops the server and waits until all of its processes are gone.
const STOP: &str = r#"signal=$2 limit=$3
[ "$signal" = QUIT ] && [ -e "$receiver.args" ] && signal=KILL
p=$(pid) all=$(others)
[ -z "$p$all" ] && { echo none; exit 0; }
kill -s CONT $p $all 2>/dev/null
if [ -n "$p" ]; then kill -s "$signal" "$p"; else kill -s "$signal" $all; fi
end=$(($(date +%s) + limit)) n=0
while :; do
  left=
  for q in $p $all; do [ -d "/proc/$q" ] && left="$left $q"; done
  if [ -z "$left" ]; then left=$(others); fi
  [ -z "$left" ] && { echo stopped; exit 0; }
  n=$((n + 1))
  [ $((n % 20)) -eq 0 ] && [ "$(date +%s)" -ge $end ] && { echo "late" $left; exit 0; }
  sleep 0.02
done"#;

/// Stops every process, the postmaster first, so that it starts no others. Nothing of them runs between
/// the end of a freeze and their death.
const HOLD: &str = r#"p=$(pid); [ -n "$p" ] || { echo none; exit 0; }
kill -s STOP "$p"
set -- $(others); kill -s STOP "$@" 2>/dev/null; echo $#"#;
const RELEASE: &str = r#"set -- $(others); kill -s CONT "$@" 2>/dev/null; echo $#"#;

const SIGNAL: &str =
    r#"p=$(pid); [ -n "$p" ] || { echo none; exit 0; }; kill -s "$2" "$p" && echo sent"#;

pub(super) const POLL: Duration = Duration::from_millis(20);

impl DockerNode {
    async fn ask(&self, container: &str, script: &str, args: &[&str]) -> Result<Output, Error> {
        let data = self.data_dir();
        let mut all = vec![data.as_str()];
        all.extend(args);
        let script = format!("{COMMON}{script}");
        Ok(self
            .lab
            .engine
            .script(container, &script, &all, None)
            .await?)
    }

    pub async fn status(&self) -> Result<Status, Error> {
        Ok(self.look().await?.0)
    }

    /// The state, and the process id of the server in its container.
    async fn look(&self) -> Result<(Status, Option<i32>), Error> {
        let container = self.container();
        match self.lab.inspect(&container).await? {
            Some(seen) if seen.paused => return Ok((Status::Paused, None)),
            Some(seen) if !seen.running => return Ok((self.status_at_rest().await?, None)),
            _ => {}
        }
        let container = self.up().await?;
        let output = self.ask(&container, STATUS, &[]).await?.text();
        let mut lines = output.lines();
        let status = parse(lines.next().unwrap_or_default());
        Ok((status, lines.next().and_then(|pid| pid.parse().ok())))
    }

    pub(super) async fn is_paused(&self) -> Result<bool, Error> {
        let seen = self.lab.inspect(&self.container()).await?;
        Ok(seen.is_some_and(|seen| seen.paused))
    }

    /// Of a container that does not run.
    async fn status_at_rest(&self) -> Result<Status, Error> {
        let record = self.record();
        if record.role == receiver::ROLE {
            let there = async |name: &str| self.exists(record.dir.join(name)).await;
            return Ok(match there(receiver::ARGUMENTS).await {
                false => Status::Absent,
                true if there(receiver::RUNNING).await => Status::Crashed,
                true => Status::Stopped,
            });
        }
        if !self.exists("PG_VERSION").await {
            return Ok(Status::Absent);
        }
        Ok(match self.exists("postmaster.pid").await {
            true => Status::Crashed,
            false => Status::Stopped,
        })
    }

    /// The server's process id, as its container counts.
    pub async fn pid(&self) -> Result<Option<i32>, Error> {
        Ok(self.look().await?.1)
    }

    pub(super) fn wrong_state(
        &self,
        is: Status,
        operation: &'static str,
        wanted: &'static str,
    ) -> Error {
        self.record.borrow().wrong_state(is, operation, wanted)
    }

    /// Stops the server and waits until all its processes are gone. A paused one is resumed first.
    pub async fn stop(&self, mode: StopMode, timeout: Duration) -> Result<Stopped, Error> {
        let started = Instant::now();
        let stopped = |was_running| Stopped {
            was_running,
            elapsed: started.elapsed(),
        };
        let container = self.container();
        match self.lab.inspect(&container).await? {
            Some(seen) if seen.paused => self.unpause(&container).await?,
            Some(seen) if seen.running => {}
            _ => return Ok(stopped(false)),
        }
        let signal = match mode {
            StopMode::Smart => "TERM",
            StopMode::Fast => "INT",
            StopMode::Immediate => "QUIT",
        };
        let limit = timeout.as_secs().max(1).to_string();
        let output = self.ask(&container, STOP, &[signal, &limit]).await?.text();
        let mut words = output.split_whitespace();
        match words.next() {
            Some("none") => Ok(stopped(false)),
            Some("stopped") => Ok(stopped(true)),
            _ => Err(Error::StopTimeout {
                node: self.name(),
                mode: mode.name(),
                waited: started.elapsed(),
                pids: words.filter_map(|pid| pid.parse().ok()).collect(),
            }),
        }
    }

    /// Kills the container with everything in it, as a power cut would; a paused one does not run
    /// again before it dies. Returns how many processes there were.
    pub async fn kill(&self) -> Result<usize, Error> {
        let container = self.container();
        match self.lab.inspect(&container).await? {
            Some(seen) if seen.running => {}
            _ => return Ok(0),
        }
        let count = self.count_processes(&container).await?;
        let options = KillContainerOptionsBuilder::new().signal("KILL").build();
        let killed = self
            .lab
            .engine
            .docker
            .kill_container(&container, Some(options))
            .await;
        killed.map_err(super::Error::api("kill container", &container))?;
        self.lab.engine.sessions.forget(&container);
        let deadline = Instant::now() + Duration::from_secs(15);
        while self
            .lab
            .inspect(&container)
            .await?
            .is_some_and(|seen| seen.running)
        {
            if Instant::now() >= deadline {
                return Err(Error::Unresponsive {
                    what: format!("container {container}"),
                    waited: Duration::from_secs(15),
                    pids: Vec::new(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(count)
    }

    async fn count_processes(&self, container: &str) -> Result<usize, Error> {
        let top = self.lab.engine.docker.top_processes(container, None).await;
        let top = top.map_err(super::Error::api("list the processes of", container))?;
        let rows = top.processes.unwrap_or_default();
        let is_server = |row: &&Vec<String>| {
            let server = |cell: &String| cell.contains("postgres: ") || cell.contains("/postgres ");
            row.iter().any(server)
        };
        Ok(rows.iter().filter(is_server).count())
    }

    /// Stops every process where it is and freezes the container; clients keep their connections and
    /// wait. Returns how many processes stand still.
    pub async fn pause(&self) -> Result<usize, Error> {
        let container = self.up().await?;
        let output = self.ask(&container, HOLD, &[]).await?.text();
        let Ok(held) = output.trim().parse() else {
            return Err(self.wrong_state(self.status().await?, "pause", "running"));
        };
        let paused = self.lab.engine.docker.pause_container(&container).await;
        paused.map_err(super::Error::api("pause container", &container))?;
        Ok(held)
    }

    /// Continues a paused server.
    pub async fn resume(&self) -> Result<usize, Error> {
        let container = self.container();
        let seen = self.lab.inspect(&container).await?;
        if seen.is_some_and(|seen| seen.paused) {
            self.unpause(&container).await?;
        }
        let (status, pid) = self.look().await?;
        if pid.is_none() {
            return Err(self.wrong_state(status, "resume", "running"));
        }
        let output = self.ask(&container, RELEASE, &[]).await?.text();
        Ok(output.trim().parse().unwrap_or(0))
    }

    /// Continues whatever of the server stands still, with or without a postmaster.
    pub async fn release(&self) -> Result<(), Error> {
        let container = self.container();
        match self.lab.inspect(&container).await? {
            Some(seen) if seen.paused => self.unpause(&container).await?,
            Some(seen) if seen.running => {}
            _ => return Ok(()),
        }
        self.ask(&container, RELEASE, &[]).await?;
        Ok(())
    }

    async fn unpause(&self, container: &str) -> Result<(), Error> {
        let resumed = self.lab.engine.docker.unpause_container(container).await;
        Ok(resumed.map_err(super::Error::api("resume container", container))?)
    }

    /// Has the server read its configuration again.
    pub async fn reload(&self) -> Result<(), Error> {
        self.signal("reload", "HUP").await
    }

    async fn signal(&self, operation: &'static str, signal: &str) -> Result<(), Error> {
        let container = self.up().await?;
        let output = self.ask(&container, SIGNAL, &[signal]).await?.text();
        match output.trim() {
            "sent" => Ok(()),
            _ => Err(self.wrong_state(self.status().await?, operation, "running")),
        }
    }

    /// Asks a standby to promote.
    pub async fn promote(&self) -> Result<(), Error> {
        let status = self.status().await?;
        if status != Status::Standby {
            return Err(self.wrong_state(status, "promote", "standby"));
        }
        self.write_file("promote", b"", 0o600).await?;
        self.signal("promote", "USR1").await
    }

    /// Waits until a server that was started earlier is accepting, open for writing, or gone.
    pub async fn wait_until(&self, until: Until, timeout: Duration) -> Result<Status, Error> {
        let started = Instant::now();
        loop {
            let status = self.status().await?;
            let gone = matches!(status, Status::Stopped | Status::Crashed | Status::Absent);
            match (status, until) {
                (Status::Running, Until::Accepting | Until::Ready)
                | (Status::Standby, Until::Accepting) => return Ok(status),
                (_, Until::Exited) if gone => return Ok(status),
                _ if gone => return Err(self.wrong_state(status, "waiting", "running")),
                _ if started.elapsed() >= timeout => {
                    return Err(self.late(until, started, 0).await);
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Waits for the end of the server; how it ended is not known.
    pub async fn wait_exit(&self) -> Result<Option<ExitStatus>, Error> {
        while self.pid().await?.is_some() {
            tokio::time::sleep(POLL).await;
        }
        Ok(None)
    }
}

pub(super) fn parse(word: &str) -> Status {
    match word {
        "absent" => Status::Absent,
        "stopped" => Status::Stopped,
        "running" => Status::Running,
        "standby" => Status::Standby,
        "stopping" => Status::Stopping,
        "crashed" => Status::Crashed,
        "paused" => Status::Paused,
        _ => Status::Starting,
    }
}
