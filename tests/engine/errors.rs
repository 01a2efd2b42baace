//! What people see of an error, and the exit codes.

use super::process::{Done, command, eval, rpitr};

fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script.lua");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_string();
    (folder, path)
}

#[test]
fn exit_codes() {
    for (code, expected) in [
        ("", 0),
        ("print 'fine'", 0),
        ("error 'boom'", 11),
        ("error { kind = 'io', message = 'x' }", 11),
        ("err.check(false)", 10),
        ("error { kind = 'verify', message = 'differs' }", 10),
        (
            "error { kind = 'environment', message = 'no PostgreSQL' }",
            12,
        ),
        ("error { kind = 'timeout', message = 'its own' }", 11),
        ("local _ <close> = defer(function() error 'left' end)", 14),
        (
            "local _ <close> = defer(function() error 'left' end) error 'first'",
            11,
        ),
        (
            "local _ <close> = setmetatable({}, { __close = function() error 'left' end })",
            14,
        ),
        (
            "task.spawn(function() local _ <close> = defer(error) timer.sleep '1m' end) timer.sleep '1ms'",
            14,
        ),
        (
            "local _ <close> = defer(function() timer.sleep '1m' end, { timeout = '10ms' })",
            14,
        ),
        ("task.spawn(error, 'child') timer.sleep '5ms'", 11),
        ("error()", 11),
        ("error(false)", 11),
        ("error(setmetatable({}, { __tostring = error }))", 11),
        ("local e = { message = 'round' } e.cause = e error(e)", 11),
        ("local function f() return 1 + f() end f()", 11),
        (
            "local function f() local ok, e = pcall(f) error(e, 0) end f()",
            11,
        ),
        ("string.rep('x', -1)() ", 11),
        ("table.sort({3,2,1}, function() timer.sleep(0) end)", 11),
    ] {
        let done = eval(code);
        assert_eq!(done.code, Some(expected), "{code}: {done:?}");
        let panicked = done.stderr.contains("panicked") || done.stderr.contains("RUST_BACKTRACE");
        assert!(!panicked, "{code}: {done:?}");
    }
    assert_eq!(rpitr(&[]).code, Some(2));
    assert_eq!(rpitr(&["--version"]).code, Some(0));
    assert_eq!(rpitr(&["--help"]).code, Some(0));
}

#[test]
fn an_error_shows_its_line_and_where_it_came_from() {
    let (_folder, path) = file(
        "local function inner()\n  local row = nil\n  return row.id\nend\n\nlocal function outer()\n  local id = inner()\n  return id\nend\n\nouter()\n",
    );
    let done = rpitr(&[&path]);
    let expected = format!(
        "error[script]: attempt to index a nil value (local 'row')
  --> {path}:3
   3 |   return row.id
     |          ^^^
  from {path}:7 in outer
  from {path}:11
"
    );
    assert_eq!(done.stderr, expected);
}

#[test]
fn a_long_file_name_is_not_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{}.lua", "long".repeat(25)));
    std::fs::write(&path, "\nerror 'boom'\n").unwrap();
    let path = path.to_str().unwrap();
    let done = rpitr(&[path]);
    assert!(
        done.stderr
            .contains(&format!("--> {path}:2\n   2 | error 'boom'")),
        "{done:?}"
    );
    assert!(done.stderr.starts_with("error[script]: boom\n"), "{done:?}");
}

#[test]
fn an_unjoined_task_is_reported_at_its_own_line() {
    let (_folder, path) = file(
        "task.spawn(function()\n  timer.sleep '1ms'\n  error 'in the task'\nend)\ntimer.sleep '10ms'\n",
    );
    let done = rpitr(&[&path]);
    assert!(done.stderr.contains(&format!("{path}:3\n")), "{done:?}");
    assert_eq!(done.code, Some(11));
}

#[test]
fn the_failure_of_a_task_is_told_when_its_parent_waited_in_vain() {
    let done = rpitr(&[
        "--timeout",
        "50ms",
        "-e",
        "local ch = chan.new() task.spawn(error, 'the sender died') ch:recv()",
    ]);
    assert_eq!(done.code, Some(13), "{done:?}");
    assert!(
        done.stderr
            .contains("caused by: error[script]: the sender died"),
        "{done:?}"
    );
}

#[test]
fn a_syntax_error_shows_line_and_caret() {
    let (_folder, path) = file("local a = 1\nlocal b = = 2\n");
    for arguments in [vec![path.as_str()], vec!["check", &path]] {
        let done = rpitr(&arguments);
        assert_eq!(done.code, Some(11), "{done:?}");
        // The parser behind `check` knows which of them.
        let (column, margin) = match arguments.len() {
            1 => ("", 8),
            _ => (":11", 10),
        };
        let margin = " ".repeat(margin);
        let expected = format!(
            "error[script/syntax]: unexpected symbol near '='\n  --> {path}:2{column}\n   2 | local b = = 2\n     | {margin}^\n"
        );
        assert_eq!(done.stderr, expected);
    }
}

#[test]
fn trace_shows_the_frames_of_the_library_too() {
    let (_folder, path) =
        file("eventually(function()\n  timer.sleep 'soon'\nend, { timeout = 0 })\n");
    let (short, long) = (rpitr(&[&path]), rpitr(&["--trace", &path]));
    assert!(!short.stderr.contains("[rpitr"), "{short:?}");
    assert!(
        long.stderr.contains("trace:") && long.stderr.contains("[rpitr.timer]"),
        "{long:?}"
    );
}

#[test]
fn json_errors_have_the_fields() {
    let read =
        |done: &Done| -> serde_json::Value { serde_json::from_str(done.stderr.trim()).unwrap() };
    let (_folder, path) = file(
        "local ok, e = pcall(err.raise, { kind = 'io', code = 'disk_full', message = 'no space', hint = 'free some' })\nerr.wrap(e, 'while copying \"x\"')\n",
    );
    let done = rpitr(&["--error-format", "json", &path]);
    let error = &read(&done)["error"];
    assert_eq!(error["kind"], "io");
    assert_eq!(error["code"], "disk_full");
    assert_eq!(error["message"], "while copying \"x\"");
    assert_eq!(error["hint"], "free some");
    assert_eq!(
        (&error["where"]["file"], &error["where"]["line"]),
        (&path.as_str().into(), &2.into())
    );
    assert_eq!(error["trace"][0]["line"], 2);
    assert_eq!(error["cause"]["message"], "no space");
    assert_eq!(error["cause"]["where"]["line"], 1);
    for arguments in [
        ["--error-format=json", "no_such_script"],
        ["--error-format=json", "-e=="],
    ] {
        assert!(
            read(&rpitr(&arguments))["error"]["message"].is_string(),
            "{arguments:?}"
        );
    }
}

#[test]
fn colour_is_for_terminals_unless_told() {
    assert!(!eval("error 'x'").stderr.contains('\x1b'));
    assert!(
        rpitr(&["--color", "always", "-e", "error 'x'"])
            .stderr
            .contains("\x1b[1;31m")
    );
    assert!(
        rpitr(&["--color=always", "no_such_script"])
            .stderr
            .contains('\x1b')
    );
    let with = |value: &str, choice: &str| {
        let output = command(&["--color", choice, "-e", "error 'x'"])
            .env("NO_COLOR", value)
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap().contains('\x1b')
    };
    assert!(!with("1", "auto"));
    assert!(with("1", "always"), "what the command line says wins");
}

#[test]
fn cleanup_still_runs_after_a_stack_overflow() {
    let done = eval(
        "local _ <close> = defer(function() timer.sleep '1ms' print 'cleaned' end) local function f() return 1 + f() end f()",
    );
    assert_eq!((done.code, done.stdout.as_str()), (Some(11), "cleaned\n"));
    assert!(done.stderr.contains("stack overflow"), "{done:?}");
    assert!(done.stderr.len() < 4000, "{done:?}");
}
