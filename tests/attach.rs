//! Working on a lab that another process made: its servers as nodes, and who removes it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Bench, Running, eventually};
use nix::sys::signal::Signal;

/// A run with a primary and a standby that goes on until it is killed; gives the lab's id.
fn owner(bench: &Bench) -> (Running, String) {
    let script = bench.script(
        "owner.lua",
        r#"local pg = lab.postgres { conf = { work_mem = "7MB" } }
        lab.standby(pg, { name = "standby-2" })
        pg:create_database "shop"
        pitr.backup(pg)
        print(lab.info().id)
        while true do timer.sleep "1s" end"#,
    );
    let run = bench.start(&[&script]);
    let id = eventually("the owner's lab", || {
        let out = run.stdout();
        out.strip_suffix('\n').map(str::to_string)
    });
    (run, id)
}

/// What scripts check a refusal with.
const REFUSED: &str = "local function refused(f, code)
  local ok, e = pcall(f)
  assert(not ok and e.kind == 'state' and e.code == code, tostring(e))
end
";

/// What a script says on a lab.
fn visit(bench: &Bench, id: &str, code: &str) -> String {
    let script = bench.script(
        "visit.lua",
        &format!("{REFUSED}local there = lab.attach({id:?})\n{code}"),
    );
    let run = bench.run(&[&script]);
    run.expect(0);
    run.stdout
}

#[test]
fn a_lab_of_a_running_process_is_worked_on_and_left() {
    let bench = Bench::new();
    let (run, id) = owner(&bench);
    let short = id.strip_prefix("rpitr-").unwrap();
    let said = visit(
        &bench,
        short,
        r#"local pg, standby = there.primary, there.nodes["standby-2"]
        assert(there:owner() and there.standby == standby and standby.primary == pg)
        -- What the run had set stays set.
        pg:configure { maintenance_work_mem = "9MB" }
        assert(pg:setting "work_mem" == "7MB" and pg:setting "archive_mode" == "on")
        standby:restart()
        pg:wait_streaming(standby)
        assert(pg:logs { grep = "ready to accept" } ~= "")
        assert(pg:exec { "pg_controldata", pg.data }.code == 0)
        -- What is restored goes beside it.
        local restored = pitr.restore(pg, { to = "latest" })
        assert(restored:value "SELECT count(*) FROM pg_database WHERE datname = 'shop'" == 1)
        assert(lab.info().id ~= there.id)
        -- What would pull a server from under the run is refused.
        for _, name in ipairs { "wipe", "remove", "initdb" } do
          refused(function() pg[name](pg) end, "lab_in_use")
        end
        refused(function() pg:edge "client" end, "not_proxied")
        refused(function() lab.attach(there.id, { adopt = true }) end, "lab_made")
        do local block <close> = pg end
        print(pg:status(), standby:status())"#,
    );
    assert_eq!(said, "running\tstandby\n");
    let labs = bench.labs();
    assert_eq!(labs.len(), 1, "{labs:?}");
    assert_eq!(labs[0]["condition"], "in use");
    run.signal(Signal::SIGINT);
    run.finish().expect(130);
    bench.assert_clean(&[]);
}

#[test]
fn the_lab_of_a_killed_run_stays_while_somebody_is_attached_and_is_adopted() {
    let bench = Bench::new();
    let (run, id) = owner(&bench);
    run.signal(Signal::SIGKILL);
    drop(run.finish());
    assert_eq!(bench.labs()[0]["condition"], "left behind");

    let script = bench.script(
        "visitor.lua",
        &format!(
            r#"local there = lab.attach({id:?})
            local restored = pitr.restore(there.primary, {{ to = "latest" }})
            assert(lab.info().id == there.id)
            print("attached")
            while true do timer.sleep "1s" end"#
        ),
    );
    let visitor = bench.start(&[&script]);
    eventually("the visitor", || {
        visitor.stdout().contains("attached").then_some(())
    });
    assert_eq!(bench.labs()[0]["condition"], "attached");
    let gc = bench.run(&["lab", "gc", "--all"]);
    gc.expect(0);
    gc.says("nothing to remove");
    let rm = bench.run(&["lab", "rm", &id]);
    rm.expect(11);
    rm.says("is in use by a running rpitr");
    // A visitor that ends takes along what it made, and nothing else.
    visitor.signal(Signal::SIGINT);
    visitor.finish().expect(130);
    let nodes = bench.labs()[0]["nodes"].as_array().unwrap().len();
    assert_eq!(nodes, 2);

    // One that dies removes nothing, and holds nothing either.
    let visitor = bench.start(&[&script]);
    eventually("the visitor", || {
        visitor.stdout().contains("attached").then_some(())
    });
    visitor.signal(Signal::SIGKILL);
    drop(visitor.finish());
    let labs = bench.labs();
    assert_eq!(labs[0]["condition"], "left behind");
    assert_eq!(labs[0]["nodes"][0]["status"], "running");

    // Adopted, it is that run's own: it goes when the run ends.
    let script = bench.script(
        "adopt.lua",
        &format!(
            r#"local there = lab.attach({id:?}, {{ adopt = true }})
            assert(not there:owner() and lab.list()[1].condition == "in use")
            lab.standby(there.primary, {{ name = "third" }})
            print(lab.nodes().third:status(), lab.info().id)"#
        ),
    );
    let run = bench.run(&[&script]);
    run.expect(0);
    assert_eq!(run.stdout, format!("standby\t{id}\n"));
    bench.assert_clean(&[]);
}

#[test]
fn a_lab_that_goes_while_somebody_is_attached_is_missed() {
    let bench = Bench::new();
    let (run, id) = owner(&bench);
    let script = bench.script(
        "visitor.lua",
        &format!(
            r#"{REFUSED} local there = lab.attach({id:?})
            print("attached")
            eventually(function() return #lab.list() == 0 end, {{ timeout = "60s" }})
            refused(function() there.primary:exec {{ "true" }} end, "lab_gone")
            refused(function() there.primary:query "SELECT 1" end, "lab_gone")
            refused(function() there.primary:start() end, "lab_gone")
            print "missed""#
        ),
    );
    let visitor = bench.start(&[&script]);
    eventually("the visitor", || {
        visitor.stdout().contains("attached").then_some(())
    });
    run.signal(Signal::SIGINT);
    run.finish().expect(130);
    let done = visitor.finish();
    done.expect(0);
    done.says("missed");
    bench.assert_clean(&[]);
}

#[test]
fn an_unknown_lab_is_an_error_with_the_nearest_name() {
    let bench = Bench::new();
    let kept = bench.run(&["--keep", "-e", "print(lab.info().id)"]);
    kept.expect(0);
    let id = kept.stdout.lines().next().unwrap().to_string();
    let wrong = format!("{}zz", &id[..id.len() - 2]);
    let unknown = bench.run(&["-e", &format!("lab.attach {wrong:?}")]);
    unknown.expect(11);
    unknown.says(&format!("no lab \"{wrong}\""));
    unknown.says(&format!("did you mean {id}?"));
    bench
        .run(&["-e", "lab.attach 'recovry'"])
        .says("did you mean recovery?");
    // Its folder is gone, its record is not.
    std::fs::remove_dir_all(bench.state.join("labs").join(&id)).unwrap();
    let gone = bench.run(&["-e", &format!("lab.attach {id:?}")]);
    gone.expect(11);
    gone.says("is gone");
}
