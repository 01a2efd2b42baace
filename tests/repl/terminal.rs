//! Sessions through a real pseudo-terminal.

use rexpect::session::{PtySession, spawn_command};

use crate::common::{Bench, eventually};
use crate::kept_lab;

/// What one line may take on a loaded machine.
const PATIENCE_MS: u64 = 60_000;

/// A session at a terminal of 100 columns.
fn terminal(bench: &Bench, arguments: &[&str]) -> PtySession {
    let mut command = bench.command(arguments);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    // A terminal of no height is too small for anything.
    command.env("PSQL_PAGER", "cat");
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

/// The editor has given the terminal back: the line is done, or was dropped.
const DROPPED: &str = "\x1b[?2004l";

/// Everything one sits down at a session for, on somebody's lab.
#[test]
fn a_session_that_attaches_cancels_breaks_into_a_drill_and_resumes_it() {
    let bench = Bench::new();
    let id = kept_lab(&bench);
    // Bytes, or kilobytes: the standby has just been given something to replay.
    let prompt = "B> ";
    let drill = bench.script(
        "stop.lua",
        "return drill 'stop' { summary = 'stops in the middle', run = function(d)
           local n = 41
           d:step('look', function() d:breakpoint() d:check('n is what it was', n == 41) end)
         end }",
    );
    std::fs::create_dir(bench.dir().join(".rpitr")).unwrap();
    bench.script(".rpitr/init.lua", "function double(x) return 2 * x end");
    let mut session = terminal(&bench, &["repl", "--color", "never"]);
    let mut at = |prompt: &str, typed: &str, answers: &[&str]| {
        session.exp_string(prompt).unwrap();
        session.send(typed).unwrap();
        session.flush().unwrap();
        for answer in answers {
            session.exp_string(answer).unwrap();
        }
    };
    at("rpitr> ", "double(21)\r", &["42"]);
    // What is wrong shows while it is typed.
    at("rpitr> ", "x = = 1", &["<- unexpected symbol near '='"]);
    at("", "\x03", &[DROPPED]);
    // What a function takes and an option is shows, too, and is not typed for anybody.
    at("rpitr> ", "pitr.backup(", &["pg, options?)"]);
    at("", "{}, { verify = ", &["boolean  (default true)"]);
    at("", "\x03", &[DROPPED]);
    let attached = format!("attached to {id}: primary, standby_2 (standby-2)");
    at(
        "rpitr> ",
        &format!(":attach {id}\r"),
        &[
            &attached,
            "in database shop",
            &format!("{id} primary tl 1 lag "),
        ],
    );
    // Nodes, their methods, options, tables: all completed.
    at(
        prompt,
        "standby_2:stat\t()\r",
        &["standby_2:status", "\"standby\""],
    );
    at(prompt, ":logs sta\t", &[":logs standby-2"]);
    at("", "\x03", &[DROPPED]);
    at(
        prompt,
        ":sql SELECT max(id) FROM cust\t\r",
        &["customer_orders", " 30", "(1 row)"],
    );
    at(prompt, "primary:stop('fast', { ti\t", &["timeout = "]);
    at("", "\x03", &[DROPPED]);
    // A statement over several lines, then one that only Ctrl-C ends.
    at(
        prompt,
        "for i = 1, 2 do\rprint('line', i)\rend\r",
        &["line\t1", "line\t2"],
    );
    at(prompt, "primary:value 'SELECT pg_sleep(600)'\r", &[DROPPED]);
    at("", "\x03", &["interrupted"]);
    at(
        prompt,
        "primary:value \"SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(600)%' AND state = 'active' AND pid <> pg_backend_pid()\"\r",
        &["\r\n0\r\n"],
    );
    at(prompt, ":watch 0.05 'again'\r", &["\"again\"", "\"again\""]);
    at("", "\x03", &["interrupted"]);
    // psql has the keyboard while it is open.
    at(prompt, ":psql standby-2\r", &["shop=# "]);
    at("", "SELECT 'from ' || 'psql';\r", &["from psql"]);
    at("", "\\q\r", &[]);
    // Into a drill, and out again.
    at(prompt, &format!(":run {drill}\r"), &["breakpoint at"]);
    at("> ", "n + 1\r", &["42"]);
    at("> ", ":quit\r", &["PROVED"]);
    at(
        prompt,
        "pitr.restore(primary, { to = 'latest' }).name\r",
        &["\"restored\""],
    );
    // Leaving asks about what the session made, and leaves the rest alone.
    at(
        prompt,
        "\x04",
        &["(restored) are up: remove them, keep them, or stay?"],
    );
    at("", "r\r", &[&format!("{id} stays as it is")]);
    session.exp_eof().unwrap();
    let labs = bench.labs();
    assert_eq!(labs[0]["condition"], "kept");
    assert_eq!(labs[0]["nodes"].as_array().unwrap().len(), 2);
    bench.run(&["lab", "rm", &id]).expect(0);
    bench.assert_clean(&[]);
}

#[test]
fn an_attached_session_sees_its_lab_go() {
    let bench = Bench::new();
    let script = bench.script(
        "owner.lua",
        "lab.postgres {} print(lab.info().id) while true do timer.sleep '1s' end",
    );
    let owner = bench.start(&[&script]);
    let id = eventually("the owner's lab", || {
        owner.stdout().strip_suffix('\n').map(str::to_string)
    });
    let mut session = terminal(&bench, &["repl", "--color", "never", "--attach", &id]);
    session
        .exp_string("it goes when the run that made it ends")
        .unwrap();
    session.exp_string("primary tl 1> ").unwrap();
    owner.signal(nix::sys::signal::Signal::SIGINT);
    owner.finish().expect(130);
    session.send_line("1 + 1").unwrap();
    session.exp_string("primary gone> ").unwrap();
    session.send_line("primary:query 'SELECT 1'").unwrap();
    session.exp_string("is gone").unwrap();
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();
    bench.assert_clean(&[]);
}
