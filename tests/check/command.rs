//! The commands themselves: what they print, how they exit, what they leave alone.

use std::fs;

use super::common::{Bench, Finished};
use super::findings;

fn json_lines(run: &Finished) -> Vec<serde_json::Value> {
    let lines = run.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn findings_are_shown_like_errors_with_line_and_column() {
    let bench = Bench::new();
    bench.script(
        "a.lua",
        "local pg <close> = lab.postgres {\n\tverison = 17,\n}\nprint(pg)\n",
    );
    let run = bench.run(&["check", "a.lua"]);
    run.expect(10);
    assert_eq!(
        run.stderr,
        "\
error[arg/unknown_option]: lab.postgres: unknown option \"verison\"
  --> a.lua:2:2
   2 |     verison = 17,
     |     ^^^^^^^
  hint: did you mean \"version\"?
"
    );
    assert_eq!(run.stdout, "");
}

#[test]
fn every_file_is_checked_and_the_worst_decides() {
    let bench = Bench::new();
    bench.script("good.lua", "print 'never printed'");
    bench.script("wrong.lua", "print(nowhere)\nlab.nothing()\n");
    bench.script("broken.lua", "local a = 1\nlocal b = = 2\n");
    bench.script(
        "drill.lua",
        "return drill 'd' { summary = 's', run = function() end }",
    );
    let run = bench.run(&["check", "good.lua", "drill.lua"]);
    run.expect(0);
    assert_eq!(
        run.stdout,
        "good.lua: a plain script\ndrill.lua: drill d, ok\n"
    );

    let run = bench.run(&["check", "wrong.lua", "good.lua", "drill.lua"]);
    run.expect(10);
    run.says("wrong.lua:1:7");
    run.says("wrong.lua:2:5");
    run.says("drill.lua: drill d, ok");

    let run = bench.run(&["check", "wrong.lua", "broken.lua", "good.lua"]);
    run.expect(11);
    run.says("wrong.lua:1:7");
    run.says("--> broken.lua:2:11");
    run.says("good.lua: a plain script");

    let run = bench.run(&["check", "broken.lua", "missing.lua"]);
    run.expect(2);
    run.says("no such script: missing.lua");
    run.says("--> broken.lua:2:11");
}

#[test]
fn json_is_one_finding_a_line() {
    let bench = Bench::new();
    bench.script(
        "a.lua",
        "-- é\nprint('é', nowhere)\nlab.postgres { nmae = 'x' }\n",
    );
    bench.script("b.lua", "x = = 1");
    bench.script("c.lua", "print 'fine'");
    let run = bench.run(&["check", "--json", "a.lua", "b.lua", "c.lua"]);
    run.expect(11);
    assert_eq!(run.stderr, "");
    let lines = json_lines(&run);
    assert_eq!(lines.len(), 3);
    let keys = [
        "file", "line", "column", "width", "kind", "rule", "message", "hint",
    ];
    for line in &lines {
        let found: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(found, keys);
    }
    let place = |n: usize| {
        let line = &lines[n];
        (
            line["file"].as_str().unwrap(),
            line["line"].as_u64(),
            line["column"].as_u64(),
        )
    };
    assert_eq!(place(0), ("a.lua", Some(2), Some(12)));
    assert_eq!(place(1), ("a.lua", Some(3), Some(16)));
    assert_eq!(place(2), ("b.lua", Some(1), Some(5)));
    assert_eq!(lines[1]["rule"], "unknown_option");
    assert_eq!(lines[1]["hint"], "did you mean \"name\"?");
    assert_eq!(lines[2]["rule"], "syntax");
    assert_eq!(bench.run(&["check", "--json", "c.lua"]).stdout, "");
}

#[test]
fn nothing_is_started_and_nothing_asked_from_the_script() {
    let bench = Bench::new();
    bench.script("eager.lua", "local pg = lab.postgres()\nreturn drill 'd' { summary = 's', run = function() print(pg) end }");
    for word in ["check", "help"] {
        let run = bench.run(&[word, "eager.lua"]);
        run.expect(11);
        run.says("does something while it is loaded");
        run.says("--> eager.lua:1");
    }
    bench.assert_clean(&[]);
    // What only shows when the header is built is told as well.
    bench.script(
        "late.lua",
        "local spec = { summary = 's' }\nreturn drill 'd'(spec)",
    );
    let run = bench.run(&["check", "late.lua"]);
    run.expect(11);
    run.says("option \"run\" is required");
    bench.script("shebang.lua", "#!/usr/bin/env rpitr\nprint(nowhere)");
    let run = bench.run(&["check", "shebang.lua"]);
    run.expect(10);
    run.says("shebang.lua:2:7");
}

#[test]
fn globals_of_the_scripts_own_modules_are_known() {
    let bench = Bench::new();
    fs::create_dir(bench.dir().join("lib")).unwrap();
    bench.script(
        "lib/shop.lua",
        "require 'deeper'\nfunction open_shop() end\n",
    );
    bench.script("lib/deeper.lua", "DEPTH = 3\n");
    bench.script(
        "a.lua",
        "require 'shop'\nopen_shop()\nprint(DEPTH)\nclose_shop()\n",
    );
    let run = bench.run(&["check", "--json", "a.lua"]);
    run.expect(10);
    let lines = json_lines(&run);
    assert_eq!(lines.len(), 1, "{run:?}");
    assert_eq!(lines[0]["line"], 4);
}

/// What the checker reads in Rust is read in Lua at run time; both must say the same.
#[test]
fn durations_ranges_and_expectations_are_those_of_the_library() {
    let durations = [
        "5", "5s", " 250 ms ", "1.5h", "2d", "", "10x", "s", "1.2.3s", "-5s", "5 s s", "5S", ".5s",
        "5.", "1e3",
    ];
    let ranges = [
        "5..20s",
        "5s",
        "0..2ms",
        "1s..2m",
        "..5s",
        "5..",
        "5...20s",
        "a..b",
        "500ms..1s",
    ];
    let expectations = [
        "rto < 90s",
        "n == 0",
        "x.p95<=1.5m",
        "a.max >= 16MB",
        "n",
        "n <",
        "n < x",
        "n << 5",
        "n < 5 s",
        "n < 5x",
        " n < 5",
        "n < 5 ",
        "n-m < 5",
        "n.p95.max < 5",
        "n < -5",
    ];
    let bench = Bench::new();
    let quoted =
        |list: &[&str]| -> String { list.iter().map(|one| format!("{one:?}, ")).collect() };
    let code = format!(
        "local args, range = require 'rpitr.core.args', require 'rpitr.core.range'
         for _, s in ipairs {{ {} }} do print(args.seconds(s) ~= nil) end
         for _, s in ipairs {{ {} }} do print((pcall(range.seconds, 'x', s))) end
         for _, s in ipairs {{ {} }} do
           print((pcall(function() return drill 'x' {{ summary = 's', expect = {{ s }}, run = print }} end)))
         end",
        quoted(&durations),
        quoted(&ranges),
        quoted(&expectations)
    );
    let run = bench.run(&["-e", &code]);
    run.expect(0);
    let at_run_time: Vec<bool> = run.stdout.lines().map(|line| line == "true").collect();
    let scripts = durations
        .iter()
        .map(|one| format!("timer.sleep({one:?})"))
        .chain(
            ranges
                .iter()
                .map(|one| format!("chaos.pause('primary', {one:?})")),
        )
        .chain(expectations.iter().map(|one| {
            format!("return drill 'x' {{ summary = 's', expect = {{ {one:?} }}, run = print }}")
        }));
    let mut differ = Vec::new();
    let mut count = 0;
    for (script, held) in scripts.zip(&at_run_time) {
        if findings(&script).is_empty() != *held {
            differ.push(format!("{script}: {held} at run time"));
        }
        count += 1;
    }
    assert_eq!((count, at_run_time.len()), (39, 39));
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn a_new_drill_is_checked_runs_and_proves_something() {
    let bench = Bench::new();
    let run = bench.run(&["new", "first"]);
    run.expect(0);
    assert_eq!(
        run.stdout,
        "first.lua written. Next:\n  rpitr check first.lua\n  rpitr first.lua\n"
    );
    bench.run(&["check", "first.lua"]).expect(0);
    bench.run(&["help", "first.lua"]).says("--rows");
    let (report, _) = bench.drill(&["first.lua", "--rows", "50"], 0);
    assert_eq!(report["verdict"], "pass");
    // The proof is one: recovered to behind the accident, the drill fails.
    let path = bench.dir().join("first.lua");
    let text = fs::read_to_string(&path).unwrap();
    let late = text.replace(
        "pitr.before(accident)",
        "{ lsn = accident.lsn, inclusive = true }",
    );
    assert_ne!(text, late);
    fs::write(&path, late).unwrap();
    let run = bench.run(&["first.lua"]);
    assert!(matches!(run.code, Some(10 | 11)), "{run:?}");
    bench.assert_clean(&[]);
}

#[test]
fn every_other_kind_is_checked_and_runs() {
    let bench = Bench::new();
    for (kind, file, arguments) in [
        ("script", "mine.lua", vec!["mine.lua", "20"]),
        ("test", "mine_test.lua", vec!["test", "mine_test.lua"]),
        (
            "chaos",
            "mine.lua",
            vec![
                "mine.lua",
                "--duration",
                "4s",
                "--every",
                "1s",
                "--restores",
                "1",
            ],
        ),
    ] {
        let run = bench.run(&["new", "mine", "--kind", kind]);
        run.expect(0);
        bench.run(&["check", file]).expect(0);
        bench.run(&arguments).expect(0);
        // The same name again changes nothing.
        let before = fs::read_to_string(bench.dir().join(file)).unwrap();
        assert!(!before.contains("NAME"), "{before}");
        let run = bench.run(&["new", "mine", "--kind", kind]);
        run.expect(2);
        run.says("is there already and stays as it is");
        assert_eq!(fs::read_to_string(bench.dir().join(file)).unwrap(), before);
        fs::remove_file(bench.dir().join(file)).unwrap();
    }
    for bad in ["1st", "a b", "no/such/folder/x"] {
        bench.run(&["new", bad]).expect(2);
    }
    bench.assert_clean(&[]);
}

#[test]
fn setup_writes_once_and_then_changes_nothing() {
    let bench = Bench::new();
    let settings = bench.dir().join(".luarc.json");
    let run = bench.run(&["setup"]);
    run.expect(0);
    run.says("files written");
    let written: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&settings).unwrap()).unwrap();
    assert_eq!(written["workspace"]["library"][0], ".rpitr/stubs");
    let stub = bench.dir().join(".rpitr/stubs/rpitr/lab.lua");
    assert!(
        fs::read_to_string(&stub)
            .unwrap()
            .contains("function lab.postgres(")
    );

    let times = || {
        (
            fs::metadata(&settings).unwrap().modified().unwrap(),
            fs::metadata(&stub).unwrap().modified().unwrap(),
        )
    };
    let before = times();
    let again = bench.run(&["setup", "."]);
    again.expect(0);
    assert_eq!(again.stdout.matches("up to date").count(), 2, "{again:?}");
    assert_eq!(times(), before);

    // Stubs are made anew, those of modules that are no more go; what is not a stub stays.
    let folder = bench.dir().join(".rpitr/stubs/rpitr");
    fs::write(&stub, "---@meta\n-- old").unwrap();
    fs::write(folder.join("gone.lua"), "---@meta rpitr.gone\n").unwrap();
    fs::write(folder.join("mine.lua"), "-- mine\n").unwrap();
    bench.run(&["setup"]).says("2 files written");
    assert!(!folder.join("gone.lua").exists() && folder.join("mine.lua").exists());
}

#[test]
fn setup_asks_before_it_changes_settings_of_others() {
    let bench = Bench::new();
    let settings = bench.dir().join(".luarc.json");
    let mine = "{\n    \"runtime.version\": \"Lua 5.4\",\n    \"workspace.library\": [\n        \"vendor\"\n    ]\n}\n";
    fs::write(&settings, mine).unwrap();
    let run = bench.run(&["setup"]);
    run.expect(11);
    run.says("nobody agreed");
    run.says("--yes agrees");
    assert_eq!(fs::read_to_string(&settings).unwrap(), mine);
    bench.run(&["setup", "--yes"]).expect(0);
    assert_eq!(
        fs::read_to_string(&settings).unwrap(),
        mine.replace("\"vendor\"\n", "\"vendor\",\n        \".rpitr/stubs\"\n")
    );
    bench.run(&["setup"]).expect(0);

    let commented = "{\n  // mine\n  \"runtime.version\": \"Lua 5.4\"\n}\n";
    fs::write(&settings, commented).unwrap();
    let run = bench.run(&["setup", "--yes"]);
    run.expect(11);
    run.says("by hand");
    assert_eq!(fs::read_to_string(&settings).unwrap(), commented);
    bench.run(&["setup", "no/such/folder"]).expect(2);
}

#[test]
fn scripts_that_nest_without_end_are_read() {
    let bench = Bench::new();
    let sum = format!("local n = 0{}\nprint(n, nowhere)\n", " + 1".repeat(20_000));
    bench.script("sum.lua", &sum);
    let mut doubled = String::from("local t0 = { a = 1 }\n");
    for n in 0..60 {
        doubled.push_str(&format!(
            "local t{} = {{ l = t{n}, r = t{n}, f = function() return t{n}, t{n} end }}\n",
            n + 1
        ));
    }
    doubled.push_str("t1 = t60\nt2 = t60.f\nprint(t60, nowhere)\n");
    bench.script("doubled.lua", &doubled);
    let run = bench.run(&["check", "--json", "sum.lua", "doubled.lua"]);
    run.expect(10);
    let found = json_lines(&run);
    assert_eq!(found.len(), 2, "{run:?}");
    assert!(found.iter().all(|one| one["rule"] == "undeclared"));
}

/// The words bash offers behind these, of which the last is being typed.
fn offered(bench: &Bench, words: &str) -> Vec<String> {
    let program = bench.program.display();
    let script = format!(
        "source completions; COMP_WORDS=({program} {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
         _rpitr_drills {program} \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let mut command = std::process::Command::new("bash");
    let output = command
        .args(["-c", &script])
        .current_dir(bench.dir())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_string).collect()
}

#[test]
fn bash_completes_drills_and_their_own_flags() {
    let bench = Bench::new();
    let run = bench.run(&["completions", "bash"]);
    run.expect(0);
    bench.script("completions", &run.stdout);
    assert_eq!(offered(&bench, "full_r"), ["full_recovery"]);
    assert_eq!(offered(&bench, "help full_r"), ["full_recovery"]);
    assert!(offered(&bench, "pitr --pl").contains(&"--plant".to_string()));
    assert!(offered(&bench, "run pitr --pl").contains(&"--plant".to_string()));
    assert!(offered(&bench, "che").contains(&"check".to_string()));
    assert!(!offered(&bench, "list --pl").contains(&"--plant".to_string()));
}

/// A Lua language server, where one is installed, understands what `setup` writes.
#[test]
fn a_language_server_reads_the_stubs() {
    let bench = Bench::new();
    bench.run(&["setup"]).expect(0);
    for kind in ["drill", "script", "chaos", "test"] {
        bench
            .run(&["new", &format!("my_{kind}"), "--kind", kind])
            .expect(0);
    }
    let server = || {
        let mut command = std::process::Command::new("emmylua_check");
        command.arg(".").current_dir(bench.dir()).output()
    };
    let Ok(output) = server() else {
        eprintln!("SKIPPED: emmylua_check is not installed");
        return;
    };
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}");
    bench.script(
        "bad.lua",
        "lab.postgress()\nlocal pg = lab.postgres()\npg:stpo()\n",
    );
    let told = String::from_utf8_lossy(&server().unwrap().stdout).into_owned();
    assert!(
        told.contains("postgress") && told.contains("stpo"),
        "{told}"
    );
}
