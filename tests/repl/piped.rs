//! Sessions through a pipe: only results are printed, an error is the exit code.

use std::io::Write;
use std::process::Stdio;

use crate::common::Bench;
use crate::kept_lab;

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

#[test]
fn the_sessions_own_commands() {
    let bench = Bench::new();
    let drill = bench.script(
        "small.lua",
        "return drill 'small' { summary = 's', args = { n = { 1, 'n' } }, run = function(d, arg) d:check('three', arg.n == 3) end }",
    );
    let input = format!(
        "_\n'one'\n{{ 1, 2 }}\n_3\n:results\n:time 6 * 7\n:tasks\ntask.spawn(timer.sleep, 5);\n:tasks\n:run {drill} --n 3\n:psql\n:db\n:attach\n"
    );
    let (out, err, code) = piped(&bench, &input);
    for said in [
        "_2 = \"one\"",
        "_3 = { 1, 2 }",
        "\n42\n",
        "0 running",
        "1 running",
        "PROVED",
        "postgres",
    ] {
        assert!(out.contains(said), "{said}: {out}\n{err}");
    }
    for said in ["there is no server yet", ":attach LAB"] {
        assert!(err.contains(said), "{said}: {err}");
    }
    assert_eq!(code, Some(11));
}

#[test]
fn a_session_on_a_kept_lab() {
    let bench = Bench::new();
    let id = kept_lab(&bench);
    let attach = |name: &str, input: &str| {
        let mut command = bench.command(&["repl", "--attach", name]);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let done = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&done.stdout), text(&done.stderr), done.status.code())
    };
    let (out, err, code) = attach(
        &id,
        "standby_2:status()\nstandby == standby_2\nprimary:exec({ 'pg_controldata', primary.data }).code\n\
         :sql SELECT count(*) FROM customer_orders\n:psql standby-2 -c 'SELECT pg_is_in_recovery() AS r'\n\
         primary:configure { work_mem = '5MB' }\nprimary:setting 'archive_mode'\n\
         pitr.restore(primary, { to = 'latest' }):status()\n:lab\n",
    );
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.starts_with("\"standby\"\ntrue\n0\ncount\n   30\n(1 row)\n"),
        "{out}\n{err}"
    );
    for said in ["t\n(1 row)", "\"on\"", "restored   sandbox", &id] {
        assert!(out.contains(said), "{said}: {out}\n{err}");
    }
    // A saved session finds the lab again.
    let saved = bench.dir().join("saved.lua").display().to_string();
    let (_, err, code) = attach(
        &id,
        &format!("standby:status() == 'standby'\n:save {saved}\n"),
    );
    assert_eq!(code, Some(0), "{err}");
    let run = bench.run(&[&saved]);
    run.expect(0);
    assert_eq!(run.stdout, "true\n");

    // What the session made is gone, the lab is not.
    let labs = bench.labs();
    assert_eq!(labs[0]["condition"], "kept");
    assert_eq!(labs[0]["nodes"].as_array().unwrap().len(), 2);
    assert_eq!(labs[0]["nodes"][0]["status"], "running");

    let (_, err, code) = attach("rpitr-zz", "");
    assert_eq!(code, Some(2), "{err}");
    assert!(
        err.contains("no lab \"rpitr-zz\"") && err.contains(&id),
        "{err}"
    );
    bench.run(&["lab", "stop", &id]).expect(0);
    let (_, err, code) = attach(&id, "");
    assert_eq!(code, Some(12), "{err}");
    for said in [
        "no server of",
        "primary is stopped",
        &format!("rpitr lab start {id}"),
    ] {
        assert!(err.contains(said), "{said}: {err}");
    }
    std::fs::remove_dir_all(bench.state.join("labs").join(&id)).unwrap();
    let (_, err, code) = attach(&id, "");
    assert_eq!(code, Some(12), "{err}");
    assert!(err.contains("is gone"), "{err}");
}
