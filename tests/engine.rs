//! The engine as its users meet it: the Lua suites, and the real binary under signals, deadlines,
//! broken scripts and closed pipes. Every wait is for a line of output, with a deadline.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "engine/process.rs"]
mod process;

#[path = "engine/errors.rs"]
mod errors;
#[path = "engine/interrupts.rs"]
mod interrupts;
#[path = "engine/sources.rs"]
mod sources;

use process::rpitr;

#[test]
fn the_lua_suites_pass() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lua/engine");
    let done = rpitr(&["test", folder]);
    let last = done.stdout.lines().last().unwrap_or_default();
    let passed = last.strip_suffix(" passed, 0 failed");
    let count: usize = passed.and_then(|n| n.parse().ok()).unwrap_or(0);
    assert!(count >= 150 && done.code == Some(0), "{done:?}");
}

#[test]
fn the_test_command_counts_filters_and_refuses_to_run_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "a_test.lua",
        "test.describe('a', function()
           test.it('good', function() end)
           test.it('bad', function() test.equal(1, 2) end)
           test.it('maybe', function() test.skip 'not here' end)
           test.it('slow', function() timer.sleep '1m' end, { timeout = '20ms' })
         end)",
    );
    write("b_test.lua", "test.it('wrong', function() = end)");
    write("helper.lua", "error 'not a test file'");

    let done = rpitr(&["test", path]);
    assert_eq!(done.code, Some(10), "{done:?}");
    assert!(
        done.stdout.ends_with("\n1 passed, 3 failed, 1 skipped\n"),
        "{done:?}"
    );
    assert!(
        done.stdout
            .contains("a_test.lua: a: bad\nerror[assert]: value: expected 2, got 1\n")
    );
    assert!(
        done.stdout
            .contains("a_test.lua: a: slow\nerror[timeout]: timed out after 20ms\n")
    );
    assert!(done.stderr.contains("error[script/syntax]"), "{done:?}");

    let done = rpitr(&["test", path, "--only", "a: good"]);
    assert_eq!(
        done.code,
        Some(10),
        "a broken file is a failure whatever was selected"
    );
    std::fs::remove_file(folder.path().join("b_test.lua")).unwrap();
    let done = rpitr(&["test", path, "--only", "a: good"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(0), "1 passed, 0 failed\n")
    );

    for arguments in [
        vec!["test", path, "--only", "no such test"],
        vec!["test", "no/such/folder"],
    ] {
        let done = rpitr(&arguments);
        assert_eq!(done.code, Some(2), "{done:?}");
    }
    let empty = tempfile::tempdir().unwrap();
    let done = rpitr(&["test", empty.path().to_str().unwrap()]);
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("no test was run"), "{done:?}");
}

#[test]
fn a_test_that_fails_to_clean_up_fails() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cleanup_test.lua");
    let text = "test.it('x', function() local _ <close> = defer(function() error 'stuck' end) end)";
    std::fs::write(&file, text).unwrap();
    let done = rpitr(&[file.to_str().unwrap()]);
    assert_eq!(done.code, Some(10), "{done:?}");
    assert!(done.stdout.ends_with("0 passed, 1 failed\n"), "{done:?}");
    assert!(done.stdout.contains("error[script]: stuck"), "{done:?}");
}
