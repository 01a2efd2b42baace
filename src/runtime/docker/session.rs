//! Shells that stay in a container. Starting a program through the engine's API takes about 50 ms, handing
//! one to a shell that is there already about 3: what rpitr asks of a container goes through these.
//!
//! A shell runs one program at a time; whoever finds none idle starts another. A program says when it
//! begins and when it has ended with a mark nobody can guess, on both streams.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::error::status;
use super::exec::{Exec, Output, SERVER_USER};
use super::{Engine, Error};

/// More input than this goes to a program of its own: here it must be encoded.
const MOST_INPUT: usize = 1 << 20;

type Answers = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// A shell that waits for programs to run.
struct Session {
    input: Pin<Box<dyn AsyncWrite + Send>>,
    output: Answers,
    mark: String,
}

/// The idle shells, by container.
#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<HashMap<String, Vec<Session>>>>);

impl Sessions {
    fn take(&self, container: &str) -> Option<Session> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.get_mut(container)?.pop()
    }

    fn give_back(&self, container: &str, session: Session) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.entry(container.to_string()).or_default().push(session);
    }

    /// Forgets the shells of a container that ended.
    pub fn forget(&self, container: &str) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.remove(container);
    }
}

/// How an attempt went.
enum Attempt {
    Done(Output),
    /// The shell was gone before the program began.
    NeverBegan,
}

impl Engine {
    /// Runs a program in a shell of the container, if that can be done.
    pub(super) async fn run_in_session(
        &self,
        container: &str,
        exec: &Exec,
    ) -> Result<Option<Output>, Error> {
        let small = exec
            .stdin
            .as_ref()
            .is_none_or(|bytes| bytes.len() <= MOST_INPUT);
        if exec.user != SERVER_USER || !small {
            return Ok(None);
        }
        while let Some(session) = self.sessions.take(container) {
            if let Attempt::Done(output) = self.attempt(container, session, exec).await? {
                return Ok(Some(output));
            }
        }
        let session = self.open_session(container).await?;
        match self.attempt(container, session, exec).await? {
            Attempt::Done(output) => Ok(Some(output)),
            Attempt::NeverBegan => Ok(None),
        }
    }

    async fn attempt(
        &self,
        container: &str,
        mut session: Session,
        exec: &Exec,
    ) -> Result<Attempt, Error> {
        let attempt = session.run(container, exec).await?;
        // Dropped in between, the shell is given up: it sees the end of its input.
        if matches!(attempt, Attempt::Done(_)) {
            self.sessions.give_back(container, session);
        }
        Ok(attempt)
    }

    async fn open_session(&self, container: &str) -> Result<Session, Error> {
        let failed = |error: bollard::errors::Error| match status(&error) {
            Some(404) => Error::Gone {
                container: container.to_string(),
            },
            _ => Error::api("open a shell in container", container)(error),
        };
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(vec!["/bin/sh".to_string()]),
            env: Some(vec!["LC_ALL=C".to_string()]),
            user: Some(SERVER_USER.to_string()),
            working_dir: Some("/".to_string()),
            ..CreateExecOptions::default()
        };
        let created = self.docker.create_exec(container, options).await;
        let id = created.map_err(failed)?.id;
        let start = StartExecOptions {
            output_capacity: Some(256 * 1024),
            ..StartExecOptions::default()
        };
        match self.docker.start_exec(&id, Some(start)).await {
            Ok(StartExecResults::Attached { output, input }) => Ok(Session {
                input,
                output,
                mark: format!("rpitr-{:032x}", rand::random::<u128>()),
            }),
            Ok(StartExecResults::Detached) => Err(Error::Answer {
                what: format!("a shell in container {container}"),
                reason: "the engine did not attach it".into(),
            }),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Session {
    async fn run(&mut self, container: &str, exec: &Exec) -> Result<Attempt, Error> {
        let request = request(exec, &self.mark);
        let sent = async {
            self.input.write_all(request.as_bytes()).await?;
            self.input.flush().await
        };
        if sent.await.is_err() {
            return Ok(Attempt::NeverBegan);
        }
        let begin = format!("{}\n", self.mark).into_bytes();
        let mut streams = [
            Marked::new(&self.mark, true),
            Marked::new(&self.mark, false),
        ];
        while !streams.iter().all(Marked::ended) {
            let lost = match self.output.next().await {
                Some(Ok(LogOutput::StdErr { message })) => {
                    streams[1].add(&message);
                    continue;
                }
                Some(Ok(part)) => {
                    streams[0].add(part.as_ref());
                    continue;
                }
                Some(Err(error)) => Some(error),
                None => None,
            };
            if streams[0].bytes.len() < begin.len() {
                return Ok(Attempt::NeverBegan);
            }
            return Err(match lost {
                Some(error) => Error::api("run", exec.describe(container))(error),
                None => Error::CutShort {
                    what: exec.describe(container),
                },
            });
        }
        let [stdout, stderr] = streams;
        let (stdout, code) = stdout.finish(begin.len());
        let (stderr, _) = stderr.finish(0);
        Ok(Attempt::Done(Output {
            code: code.trim().parse().unwrap_or(-1),
            stdout,
            stderr,
        }))
    }
}

/// A stream up to its mark.
struct Marked {
    bytes: Vec<u8>,
    /// `\nMARK`, and for the first stream a code and a newline behind it.
    end: Vec<u8>,
    searched: usize,
    found: Option<usize>,
    has_code: bool,
}

impl Marked {
    fn new(mark: &str, has_code: bool) -> Self {
        Marked {
            bytes: Vec::new(),
            end: format!("\n{mark} ").into_bytes(),
            searched: 0,
            found: None,
            has_code,
        }
    }

    fn add(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
        if self.found.is_none() {
            let rest = &self.bytes[self.searched..];
            let at = memmem(rest, &self.end);
            self.found = at.map(|at| at + self.searched);
            self.searched = self.bytes.len().saturating_sub(self.end.len());
        }
    }

    fn ended(&self) -> bool {
        self.found.is_some() && (!self.has_code || self.bytes.ends_with(b"\n"))
    }

    /// What the program wrote, and what follows the mark.
    fn finish(mut self, begin: usize) -> (Vec<u8>, String) {
        let at = self.found.unwrap_or(self.bytes.len());
        let code = self.bytes.split_off(at);
        let code = code.get(self.end.len()..).unwrap_or_default();
        let code = String::from_utf8_lossy(code).into_owned();
        self.bytes.drain(..begin.min(self.bytes.len()));
        (self.bytes, code)
    }
}

fn memmem(text: &[u8], wanted: &[u8]) -> Option<usize> {
    // The mark begins with a newline and hardly any line begins like it.
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == wanted[0]) {
        if text[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// What a shell reads to run one program.
fn request(exec: &Exec, mark: &str) -> String {
    let mut text = format!("echo {mark}\n");
    let words = |words: &[String]| -> String {
        words
            .iter()
            .map(|word| format!(" {}", quoted(word)))
            .collect()
    };
    let mut program = String::new();
    if let Some(cwd) = &exec.cwd {
        program.push_str(&format!("cd -- {} && ", quoted(cwd)));
    }
    match (exec.command.as_slice(), exec.env.is_empty()) {
        // A script without wishes of its own needs no other shell.
        ([shell, option, script, _, args @ ..], true) if shell == "/bin/sh" && option == "-c" => {
            program.push_str(&format!("set --{}\n{script}\n", words(args)));
        }
        (command, _) => {
            program.push_str(&format!("exec env{}{}", words(&exec.env), words(command)));
        }
    }
    // A function, because a here-document begins at the first newline after it is announced.
    text.push_str(&format!("rpitr_run() (\n{program}\n)\n"));
    match &exec.stdin {
        Some(bytes) => text.push_str(&format!(
            "base64 -d <<'{mark}' | rpitr_run\n{}{mark}\n",
            base64_lines(bytes)
        )),
        None => text.push_str("rpitr_run </dev/null\n"),
    }
    text.push_str(&format!(
        "rpitr_code=$?; printf '\\n%s ' {mark} >&2; printf '\\n%s %s\\n' {mark} $rpitr_code\n"
    ));
    text
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn base64_lines(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len() / 3 * 4 + bytes.len() / 54 + 8);
    for line in bytes.chunks(54) {
        for group in line.chunks(3) {
            let byte = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for n in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * n) & 63) as usize];
                text.push(if n <= group.len() { digit as char } else { '=' });
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_encoded_as_base64_reads_it() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"a", "YQ==\n"),
            (b"ab", "YWI=\n"),
            (b"abc", "YWJj\n"),
            (b"\0\xFF\xFE\n", "AP/+Cg==\n"),
        ] {
            assert_eq!(base64_lines(bytes), text);
        }
        assert_eq!(base64_lines(&[b'x'; 55]).lines().count(), 2);
    }

    #[test]
    fn a_mark_is_found_wherever_the_stream_is_cut() {
        let whole = b"begin\nout\n\nMAR \nMARK 7\n";
        for cut in 0..whole.len() {
            let mut stream = Marked::new("MARK", true);
            stream.add(&whole[..cut]);
            assert!(!stream.ended(), "{cut}");
            stream.add(&whole[cut..]);
            assert!(stream.ended(), "{cut}");
            let (out, code) = stream.finish(6);
            assert_eq!(
                (out.as_slice(), code.as_str()),
                (&b"out\n\nMAR "[..], "7\n")
            );
        }
    }
}
