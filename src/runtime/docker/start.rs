//! Starting the server in its container, and waiting until it is up.

use std::ffi::OsString;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::containers::SERVER_PORT;
use super::exec::{Exec, Output};
use super::node::DockerNode;
use super::server::{COMMON, POLL, parse};
use crate::runtime::tool::tail;
use crate::runtime::{Error, StartOptions, Started, Status, ToolOptions, Until};

/// Starts the server and waits. Clients come through the lab's network, so that must be allowed; the
/// network is the lab's own and passwords are required. A pid file nobody serves is from a container
/// that was killed: its number may be somebody else's by now. The first line is where the log ends now.
const START: &str = r#"log=$2 until=$3 limit=$4
shift 4
now=$(state)
case $now in stopped | crashed) ;; *) echo "wrong $now"; exit 0 ;; esac
size=0
[ -e "$log" ] && size=$(wc -c <"$log")
echo $size
cd "$data" || exit 125
allow='host all all all scram-sha-256 # rpitr'
grep -qxF "$allow" pg_hba.conf 2>/dev/null ||
  printf '%s\n%s\n' "$allow" 'host replication all all scram-sha-256 # rpitr' >>pg_hba.conf
if [ -e postmaster.pid ] && [ -z "$(others)" ]; then rm -f postmaster.pid; fi
umask 077
"$@" </dev/null >>"$log" 2>&1 &
server=$!
end=$(($(date +%s) + limit)) n=0
while :; do
  if ! kill -0 $server 2>/dev/null; then
    wait $server; code=$?
    echo "ended $code"; exit 0
  fi
  p=
  [ -e postmaster.pid ] && IFS= read -r p <postmaster.pid
  if [ "$p" = $server ]; then
    now=$(state)
    case $now/$until in
    running/accepting | running/ready | standby/accepting) echo "$now $server"; exit 0 ;;
    esac
  fi
  n=$((n + 1))
  [ $((n % 20)) -eq 0 ] && [ "$(date +%s)" -ge $end ] && { echo "late $server"; exit 0; }
  sleep 0.02
done"#;

impl DockerNode {
    /// Starts the server and waits until it is up, has ended, or time is up.
    pub async fn start(&self, options: StartOptions) -> Result<Started, Error> {
        let started = Instant::now();
        if self.is_paused().await? {
            return Err(self.wrong_state(Status::Paused, "start", "stopped"));
        }
        self.lab.refresh_verdicts().await?;
        let container = self.up().await?;
        let output = self
            .lab
            .engine
            .exec(&container, self.start_command(&options))
            .await?;
        let text = output.text();
        let mut words = text.split_whitespace();
        let log_offset = match words.next() {
            Some("wrong") => {
                let status = parse(words.next().unwrap_or_default());
                return Err(self.wrong_state(status, "start", "stopped"));
            }
            size => size.and_then(|size| size.parse().ok()).unwrap_or(0),
        };
        let (what, number) = (words.next().unwrap_or_default(), words.next());
        let number: i32 = number.and_then(|word| word.parse().ok()).unwrap_or(0);
        let exit = (what == "ended").then(|| {
            Output {
                code: i64::from(number),
                ..output
            }
            .status()
        });
        let done = |status, pid, exit| Started {
            status,
            pid,
            elapsed: started.elapsed(),
            log_offset,
            exit,
        };
        match (what, exit) {
            ("running" | "standby", _) => {
                self.check_reachable(&options, started, log_offset).await?;
                Ok(done(parse(what), number, None))
            }
            (_, Some(exit)) if options.until == Until::Exited && exit.success() => {
                Ok(done(Status::Stopped, 0, Some(exit)))
            }
            ("late", _) => Err(self.late(options.until, started, log_offset).await),
            (_, exit) => Err(self.why_not_started(exit, log_offset).await),
        }
    }

    fn start_command(&self, options: &StartOptions) -> Exec {
        let record = self.record();
        let data = record.data_dir.display().to_string();
        let mut command: Vec<String> = ["/bin/sh", "-c"].map(String::from).into();
        command.push(format!("{COMMON}{START}"));
        command.extend([
            "rpitr".into(),
            data.clone(),
            record.log.display().to_string(),
        ]);
        command.push(options.until.word().into());
        command.push(options.timeout.as_secs().max(1).to_string());
        command.push(record.bin_dir.join("postgres").display().to_string());
        // Who may reach the server is decided by the container's network.
        let settings = options.settings.iter();
        let settings = settings.filter(|(name, _)| name != "listen_addresses");
        let arguments = record.server_arguments(SERVER_PORT, "*", settings);
        let text = |argument: OsString| argument.to_string_lossy().into_owned();
        command.extend(arguments.into_iter().map(text));
        let tool = ToolOptions {
            env: options.env.clone(),
            cwd: Some(record.dir.clone()),
            ..ToolOptions::default()
        };
        Exec {
            command,
            kill_on_drop: false,
            ..self.command("sh", &[""; 0], &tool)
        }
    }

    /// A real connection: the published port must lead to a server that answers.
    async fn check_reachable(
        &self,
        options: &StartOptions,
        started: Instant,
        log_offset: u64,
    ) -> Result<(), Error> {
        let endpoint = self.endpoint_for_script();
        loop {
            let asked = greet(&endpoint.host, endpoint.port);
            if let Ok(true) = tokio::time::timeout(Duration::from_secs(2), asked).await {
                return Ok(());
            }
            if started.elapsed() >= options.timeout {
                return Err(self.late(options.until, started, log_offset).await);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) async fn late(&self, until: Until, started: Instant, log_offset: u64) -> Error {
        match self.log_tail(log_offset).await {
            Ok((log, _)) => Error::StartTimeout {
                node: self.name(),
                wanted: until.name(),
                waited: started.elapsed(),
                log: tail(&log, 5),
            },
            Err(error) => error,
        }
    }

    async fn why_not_started(&self, exit: Option<ExitStatus>, log_offset: u64) -> Error {
        match self.log_tail(log_offset).await {
            Ok((text, _)) => self.record.borrow().why_not_started(exit, &text),
            Err(error) => error,
        }
    }
}

/// Whether a PostgreSQL server answers: it says S or N to a request for TLS.
async fn greet(host: &str, port: u16) -> bool {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect((host, port)).await?;
        stream
            .write_all(&[0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F])
            .await?;
        stream.read_u8().await
    };
    matches!(ask.await, Ok(b'S' | b'N'))
}
