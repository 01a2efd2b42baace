//! Where a script comes from: files good and bad, the command line, standard input, the binary.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use super::process::{command, rpitr};

#[test]
fn what_is_no_script_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    std::fs::write(at("binary.lua"), [0x1b, b'L', b'u', b'a', 0x54, 0xff, 0xfe]).unwrap();
    std::fs::write(at("text"), "x").unwrap();
    std::fs::write(at("secret.lua"), "print 'read'").unwrap();
    std::fs::set_permissions(at("secret.lua"), PermissionsExt::from_mode(0o000)).unwrap();
    let mut cases = vec![
        (at("missing.lua"), "no such script"),
        (at("binary.lua"), "is not a text file"),
        (
            folder.path().to_str().unwrap().to_string(),
            "is a folder, not a script",
        ),
        (at("text/below.lua"), "cannot read"),
        (at(&"n".repeat(300)), "cannot read"),
    ];
    if std::fs::read(at("secret.lua")).is_err() {
        cases.push((at("secret.lua"), "cannot read"));
    }
    for (path, message) in cases {
        for arguments in [
            vec![path.as_str()],
            vec!["run", &path],
            vec!["check", &path],
            vec!["help", &path],
        ] {
            let done = rpitr(&arguments);
            assert_eq!(done.code, Some(2), "{done:?}");
            assert!(
                done.stderr.starts_with("error[arg]: ") && done.stderr.contains(message),
                "{done:?}"
            );
        }
    }
}

/// `rpitr pitr --report pitr` makes one, and is run again.
#[test]
fn a_folder_does_not_hide_an_embedded_script() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("pitr")).unwrap();
    let done = command(&["help", "pitr"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).starts_with("pitr: "));
}

#[test]
fn an_empty_script_passes() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("empty.lua", ""),
        ("comment.lua", "-- nothing"),
        ("bang.lua", "#!/usr/bin/env rpitr"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let done = rpitr(&[path.to_str().unwrap()]);
        assert_eq!(
            (done.code, done.stdout.as_str(), done.stderr.as_str()),
            (Some(0), "", "")
        );
    }
}

#[test]
fn arguments_and_the_extension() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("args.lua");
    std::fs::write(&path, "print(#arg, table.concat(arg, '|'), ...)").unwrap();
    let stem = folder.path().join("args");
    let done = rpitr(&[
        stem.to_str().unwrap(),
        "a",
        "--rows",
        "5",
        "--quiet",
        "--",
        "--seed",
    ]);
    assert_eq!(done.stdout, "4\ta|--rows|5|--seed\ta\t--rows\t5\t--seed\n");
}

#[test]
fn code_from_the_command_line_and_standard_input() {
    let done = rpitr(&["-e", "print(...)\nerror 'x'"]);
    assert!(
        done.stderr.contains("--> command line:2\n   2 | error 'x'"),
        "{done:?}"
    );
    let mut child = command(&["-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"timer.sleep '1ms' print 'from stdin'\nerror 'x'")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"from stdin\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--> standard input:2"));
}

#[test]
fn unknown_flags_and_names_get_a_suggestion() {
    let done = rpitr(&["--timeot", "5s", "x.lua"]);
    assert_eq!(done.code, Some(2));
    assert!(done.stderr.contains("'--timeout'"), "{done:?}");
    let done = rpitr(&["--timeout", "5 parsecs", "x.lua"]);
    assert_eq!(done.code, Some(2));
    assert!(done.stderr.contains("use ms, s, m or h"), "{done:?}");
    assert_eq!(rpitr(&["--color", "blue", "-e", ""]).code, Some(2));
}

#[test]
fn embedded_scripts_run_by_name() {
    let listed = rpitr(&["list"]);
    assert_eq!(listed.code, Some(0));
    // The first of them, whatever ships: checked by its bare name, from a folder that holds none.
    if let Some(name) = listed.stdout.split_whitespace().next() {
        let elsewhere = tempfile::tempdir().unwrap();
        let output = command(&["check", name])
            .current_dir(&elsewhere)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let done = rpitr(&[&format!("{name}x")]);
        assert!(
            done.stderr.contains(&format!("did you mean \"{name}\"?")),
            "{done:?}"
        );
    }
}

#[test]
fn commands_and_files_near_by_are_suggested() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong_update.lua");
    std::fs::write(&file, "print 'ran'").unwrap();
    let said = |arguments: &[&str]| {
        let output = command(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let misspelt = folder.path().join("wrong_updte.lua");
    for (arguments, wanted) in [
        (vec!["lst"], "did you mean rpitr list?".to_string()),
        (
            vec!["wrong_updte.lua"],
            "did you mean \"wrong_update.lua\"?".into(),
        ),
        (
            vec!["wrong_updte"],
            "did you mean \"wrong_update.lua\"?".into(),
        ),
        (
            vec!["run", misspelt.to_str().unwrap()],
            format!("did you mean \"{}\"?", file.display()),
        ),
        (vec!["zzzzzzzzzz"], "rpitr list shows".into()),
    ] {
        let told = said(&arguments);
        assert!(told.contains(&wanted), "{arguments:?}: {told}");
    }
    // A command is no script to run.
    assert!(!said(&["run", "lst"]).contains("rpitr list?"));
}

#[test]
fn help_of_a_command_is_its_own() {
    for name in ["wal", "lab", "check"] {
        let help = rpitr(&["help", name]);
        assert_eq!(help.code, Some(0), "{help:?}");
        assert_eq!(help.stdout, rpitr(&[name, "--help"]).stdout);
        assert!(
            help.stdout.contains(&format!("Usage: rpitr {name}")),
            "{help:?}"
        );
    }
    // The drill of that name has a drill's help.
    assert!(rpitr(&["help", "chaos"]).stdout.contains("--writers"));
}

#[test]
fn the_standard_library_can_be_replaced_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rpitr")).unwrap();
    let module = folder.path().join("rpitr/json.lua");
    let run = |code: &str| {
        let output = command(&["-e", code])
            .env("RPITR_STDLIB", folder.path())
            .output()
            .unwrap();
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    std::fs::write(&module, "return { encode = function() return 'mine' end }").unwrap();
    assert_eq!(
        run("print(json.encode(1), timer.now() >= 0)").0,
        "mine\ttrue\n"
    );
    std::fs::write(&module, "return = 1").unwrap();
    assert!(
        run("json.encode(1)")
            .1
            .contains("[rpitr.json]:1: unexpected symbol")
    );
}

#[test]
fn check_and_help_do_not_run_a_plain_script() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.lua");
    std::fs::write(&path, "-- drill 'x'\nprint 'it ran'").unwrap();
    let path = path.to_str().unwrap();
    for word in ["check", "help"] {
        let done = rpitr(&[word, path]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(done.stdout, format!("{path}: a plain script\n"));
    }
    let good = folder.path().join("plain.lua");
    let bad = folder.path().join("bad.lua");
    std::fs::write(&bad, "x = = 1").unwrap();
    let done = rpitr(&["check", good.to_str().unwrap(), bad.to_str().unwrap()]);
    assert_eq!(
        done.code,
        Some(11),
        "one bad file among good ones: {done:?}"
    );
}

#[test]
fn output_stays_in_order() {
    let done = rpitr(&[
        "-e",
        "io.write('a', 1) print 'b' io.write 'c\\n' io.stdout:write 'd\\n' print 'e'",
    ]);
    assert_eq!(done.stdout, "a1b\nc\nd\ne\n");
}
