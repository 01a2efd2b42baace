//! The interactive session, from a pipe and through a real pseudo-terminal.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::Write;
use std::process::Stdio;

use common::Bench;
use rexpect::session::{PtySession, spawn_command};

/// What one line may take on a loaded machine.
const PATIENCE_MS: u64 = 60_000;

/// A session's output and exit code when `input` is piped into it.
fn piped(bench: &Bench, input: &str) -> (String, String, Option<i32>) {
    let mut child = bench
        .command(&["repl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let done = child.wait_with_output().unwrap();
    (
        String::from_utf8(done.stdout).unwrap(),
        String::from_utf8(done.stderr).unwrap(),
        done.status.code(),
    )
}

#[test]
fn a_piped_session_prints_results_only() {
    let bench = Bench::new();
    let (out, err, code) = piped(
        &bench,
        "1 + 1\nlocal x <const> = 5\nfunction f(a)\n  return a, x\nend\nf(3)\n_ + 1; \n_\n{ b = { 1, 2 } }\nx = 1;\n",
    );
    assert_eq!(out, "2\n3\n5\n4\n{ b = { 1, 2 } }\n", "{err}");
    assert_eq!(code, Some(0));
}

#[test]
fn closures_share_the_names_of_the_session() {
    let bench = Bench::new();
    let (out, err, _) = piped(
        &bench,
        "local n = 0\nlocal function up() n = n + 1 return n end\nup()\nup()\nn\n",
    );
    assert_eq!(out, "1\n2\n2\n", "{err}");
}

#[test]
fn errors_are_shown_with_their_place_and_the_session_goes_on() {
    let bench = Bench::new();
    let (out, err, code) = piped(
        &bench,
        "nothing_here\nx = = 1\nerror 'boom'\n:tim 1\n1\nif true then\n",
    );
    assert_eq!(out, "1\n");
    for said in [
        "global 'nothing_here' is not declared",
        "unexpected symbol near '='",
        "boom",
        "input 3:1",
        "did you mean :time?",
        "ends in the middle of a statement",
    ] {
        assert!(err.contains(said), "{said}: {err}");
    }
    // A piped session is a test: it has not passed.
    assert_eq!(code, Some(11));
}

#[test]
fn help_and_a_saved_session() {
    let bench = Bench::new();
    let saved = bench.dir().join("saved.lua").display().to_string();
    let (out, err, code) = piped(
        &bench,
        &format!("h timer.sleep\n??task.count\nlocal a = 20\na + 1\n:save {saved}\n"),
    );
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("timer.sleep("), "{out}");
    assert!(out.contains("host.task_count"), "{out}");
    let run = bench.run(&[&saved]);
    run.expect(0);
    assert_eq!(run.stdout, "21\n");
}

#[test]
fn a_server_in_a_piped_session_is_gone_afterwards() {
    let bench = Bench::new();
    let (out, err, code) = piped(
        &bench,
        "local pg = lab.postgres {}\n:sql SELECT 1 AS one, 'x' AS two\npg:value 'SELECT 41' + 1\n:lab\n",
    );
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("one  two\n  1  x\n(1 row)\n42\n"), "{out}");
    assert!(out.contains("primary  primary"), "{out}");
    bench.assert_clean(&[]);
}

/// A session at a terminal of 100 columns.
fn terminal(bench: &Bench, arguments: &[&str]) -> PtySession {
    let mut command = bench.command(arguments);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    spawn_command(command, Some(PATIENCE_MS)).unwrap()
}

#[test]
fn a_session_at_a_terminal() {
    let bench = Bench::new();
    let mut session = terminal(&bench, &["repl", "--color", "never"]);
    session.exp_string("rpitr> ").unwrap();
    // Several lines make one statement.
    session.send_line("for i = 1, 2 do").unwrap();
    session.send_line("print('line', i)").unwrap();
    session.send_line("end").unwrap();
    session.exp_string("line\t1").unwrap();
    session.exp_string("line\t2").unwrap();
    // Completion: of a module's functions, then of the option keys of one.
    session.exp_string("rpitr> ").unwrap();
    session.send("timer.dead\t").unwrap();
    session.flush().unwrap();
    session.exp_string("timer.deadline").unwrap();
    session.send_control('c').unwrap();
    session.exp_string("rpitr> ").unwrap();
    session.send("x = lab.postgres { wal_seg\t'1MB' }").unwrap();
    session.send_line("").unwrap();
    session.exp_string("primary tl 1> ").unwrap();
    session.send_line("x:setting 'wal_segment_size'").unwrap();
    session.exp_string("\"1MB\"").unwrap();
    // Ctrl-C ends the statement: one that waits, and one that never does.
    for forever in ["x:value 'SELECT pg_sleep(600)'", "while true do end"] {
        session.exp_string("primary tl 1> ").unwrap();
        session.send_line(forever).unwrap();
        // The editor gives the terminal back when the statement begins.
        session.exp_string("\x1b[?2004l").unwrap();
        session.send_control('c').unwrap();
        session.exp_string("interrupted").unwrap();
    }
    session.exp_string("primary tl 1> ").unwrap();
    session.send_line("40 + 2").unwrap();
    session.exp_string("42").unwrap();
    // What a background task prints appears above the prompt.
    session.exp_string("primary tl 1> ").unwrap();
    session
        .send_line("task.spawn(function() timer.sleep '0.1' print('from', 'behind') end);")
        .unwrap();
    session.exp_string("from\tbehind").unwrap();
    // Leaving with a server up asks.
    session.send_control('d').unwrap();
    session
        .exp_string("remove them, keep them, or stay?")
        .unwrap();
    session.send_line("s").unwrap();
    session.exp_string("primary tl 1> ").unwrap();
    session.send_control('d').unwrap();
    session
        .exp_string("remove them, keep them, or stay?")
        .unwrap();
    session.send_line("r").unwrap();
    session.exp_eof().unwrap();
    bench.assert_clean(&[]);
}

#[test]
fn a_breakpoint_opens_a_session_in_the_middle_of_a_drill() {
    let bench = Bench::new();
    let script = bench.script(
        "stop.lua",
        "return drill 'stop' { summary = 'stops in the middle', run = function(d)
           local n = 41
           d:step('look', function() d:breakpoint() d:check('n is what it was', n == 41) end)
         end }",
    );
    let mut session = terminal(&bench, &[&script, "--color", "never"]);
    session.exp_string("breakpoint at").unwrap();
    session.exp_string("rpitr> ").unwrap();
    session.send_line("n + 1").unwrap();
    session.exp_string("42").unwrap();
    session.exp_string("rpitr> ").unwrap();
    session.send_line("d:say 'seen'").unwrap();
    session.exp_string("seen").unwrap();
    session.exp_string("rpitr> ").unwrap();
    session.send_line(":quit").unwrap();
    session.exp_string("PROVED").unwrap();
    session.exp_eof().unwrap();

    let mut session = terminal(&bench, &[&script, "--color", "never"]);
    session.exp_string("rpitr> ").unwrap();
    session.send_line(":abort").unwrap();
    session.exp_string("INTERRUPTED").unwrap();
    session.exp_eof().unwrap();

    // Where nobody can type it goes on.
    let run = bench.run(&[&script]);
    run.expect(0);
    run.says("there is no terminal");
}
