//! Ctrl-C in its three stages, SIGTERM, `--timeout`, `os.exit`, and a reader that goes away.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::process::{Running, command, eval, finish, rpitr};

/// A script that says when it is ready, then does `body`, with a cleanup that waits.
fn script(body: &str) -> String {
    format!(
        "local _ <close> = defer(function() timer.sleep '20ms' print 'cleaned' end)
         print 'ready'
         {body}
         print 'not reached'"
    )
}

fn has(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

#[test]
fn the_first_signal_unwinds_and_cleans_up() {
    for body in [
        "timer.sleep '1m'",
        "while true do end",
        "while true do pcall(function() end) end",
        "while true do pcall(timer.sleep, 1) end",
        "sh.run { 'sleep', '60' }",
        "task.spawn(function() while true do timer.sleep(0) end end):join()",
        "coroutine.wrap(function() while true do pcall(error) end end)()",
        "chan.new():recv()",
        "eventually(function() return false end, { timeout = '1m' })",
    ] {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let mut run = Running::start(&["-e", &script(body)]);
            run.expect("ready");
            run.signal(signal);
            let (code, lines) = run.end();
            assert_eq!(code, Some(130), "{body}: {lines:#?}");
            assert!(has(&lines, "cleaned"), "{body}: {lines:#?}");
            assert!(!has(&lines, "not reached"), "{body}: {lines:#?}");
            assert!(has(&lines, "error[interrupted]"), "{body}: {lines:#?}");
        }
    }
}

#[test]
fn an_interruption_that_was_swallowed_is_no_pass() {
    let mut run = Running::start(&["-e", "print 'ready' pcall(timer.sleep, '1m')"]);
    run.expect("ready");
    run.interrupt();
    assert_eq!(run.end().0, Some(130));
    let done = rpitr(&["--timeout", "50ms", "-e", "pcall(timer.sleep, '1m')"]);
    assert_eq!(done.code, Some(13), "{done:?}");
}

#[test]
fn every_task_cleans_up() {
    let code = "for i = 1, 3 do
        task.spawn(function()
          local _ <close> = defer(function() timer.sleep(i / 100) print('cleaned ' .. i) end)
          timer.sleep '1m'
        end)
      end
      timer.after('1ms', function() print 'ready' end)
      timer.sleep '1m'";
    let mut run = Running::start(&["-e", code]);
    run.expect("ready");
    run.interrupt();
    let (code, lines) = run.end();
    assert_eq!(code, Some(130));
    for i in 1..=3 {
        assert!(has(&lines, &format!("cleaned {i}")), "{lines:#?}");
    }
}

#[test]
fn the_second_signal_skips_cleanup() {
    for cleanup in [
        "timer.sleep '1m'",
        "while true do end",
        "while true do pcall(timer.sleep, 60) end",
    ] {
        let code = format!(
            "local _ <close> = defer(function() timer.sleep '1m' print 'skipped' end)
             local _ <close> = defer(function() print 'cleaning' {cleanup} print 'skipped' end)
             print 'ready'
             timer.sleep '1m'"
        );
        let mut run = Running::start(&["-e", &code]);
        run.expect("ready");
        run.interrupt();
        run.expect("cleaning");
        let second = Instant::now();
        run.interrupt();
        let (code, lines) = run.end();
        assert_eq!(code, Some(130), "{cleanup}: {lines:#?}");
        assert!(second.elapsed() < Duration::from_secs(10));
        assert!(
            has(&lines, "skipping cleanup") && !has(&lines, "skipped"),
            "{cleanup}: {lines:#?}"
        );
    }
}

#[test]
fn the_third_signal_exits_although_lua_is_stuck() {
    // A pattern match that backtracks for ages: no instruction, so no hook, runs meanwhile.
    let code = "local _ <close> = defer(function()
          print 'stuck'
          string.find(('a'):rep(60), ('a*'):rep(30) .. 'b')
        end)
        print 'ready'
        timer.sleep '1m'";
    let mut run = Running::start(&["-e", code]);
    run.expect("ready");
    run.interrupt();
    run.expect("stuck");
    run.interrupt();
    run.expect("once more");
    run.interrupt();
    let (code, lines) = run.end();
    assert_eq!(code, Some(130), "{lines:#?}");
}

#[test]
fn the_run_deadline_cleans_up_and_has_its_code() {
    for body in [
        "timer.sleep '1m'",
        "while true do end",
        "while true do pcall(function() end) end",
    ] {
        let done = rpitr(&["--timeout", "300ms", "-e", &script(body)]);
        assert_eq!(done.code, Some(13), "{body}: {done:?}");
        assert_eq!(done.stdout, "ready\ncleaned\n", "{body}: {done:?}");
        assert!(
            done.stderr.contains("the run's deadline of 300ms passed"),
            "{done:?}"
        );
    }
    assert_eq!(
        rpitr(&["--timeout", "1m", "-e", "timer.sleep '1ms'"]).code,
        Some(0)
    );
}

#[test]
fn os_exit_runs_cleanup_wherever_it_is_called() {
    for (body, code) in [
        ("os.exit(3)", 3),
        ("os.exit()", 0),
        ("os.exit(true)", 0),
        ("os.exit(false)", 1),
        ("pcall(os.exit, 4)", 4),
        ("task.spawn(os.exit, 5) timer.sleep '1m'", 5),
        ("coroutine.wrap(os.exit)(6)", 6),
        ("while true do pcall(os.exit, 7) end", 7),
    ] {
        let done = eval(&script(body).replace("print 'not reached'", ""));
        assert_eq!(done.code, Some(code), "{body}: {done:?}");
        assert_eq!(
            (done.stdout.as_str(), done.stderr.as_str()),
            ("ready\ncleaned\n", ""),
            "{body}"
        );
    }
    let done = eval("local _ <close> = defer(function() os.exit(8) end)");
    assert_eq!((done.code, done.stderr.as_str()), (Some(8), ""), "{done:?}");
}

#[test]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    for print in [
        "print(i)",
        "io.write(i, '\\n')",
        "print(i) timer.sleep(0)",
        "pcall(print, i)",
    ] {
        let code = format!(
            "local _ <close> = defer(function() timer.sleep '1ms' notice_cleaned() end)
             local i = 0
             while true do i = i + 1 {print} end"
        )
        .replace("notice_cleaned()", "io.stderr:write 'cleaned\\n'");
        let mut child = command(&["-e", &code])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        reader.read_line(&mut first).unwrap();
        drop(reader);
        let done = finish(child);
        assert_eq!(first, "1\n", "{print}");
        assert_eq!(done.stderr, "cleaned\n", "{print}");
        assert_eq!(done.code, Some(141), "{print}");
    }
}
