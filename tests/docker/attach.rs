//! Working on a lab of containers that another process made.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::bench::{Bench, MAJOR, text};

#[test]
fn a_lab_of_containers_is_worked_on_by_another_process() {
    let Some(bench) = Bench::new() else { return };
    let owner = format!(
        "local pg = lab.postgres {{ version = {MAJOR} }}
         lab.standby(pg, {{ name = 'standby-2' }})
         pg:create_database 'shop'
         pitr.backup(pg)
         print(lab.info().id)
         while true do timer.sleep '1s' end"
    );
    let mut run = bench
        .rpitr(&["-e", &owner])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut id = String::new();
    let out = run.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut id).unwrap();
    let id = id.trim();

    let visit = |code: &str| {
        let script = format!("local there = lab.attach '{id}'\n{code}");
        let done = bench.rpitr(&["-e", &script]).output().unwrap();
        assert!(done.status.success(), "{}", text(&done));
    };
    visit(
        "local pg, standby = there.primary, there.standby
         assert(there:owner() and standby.primary == pg)
         assert(pg:exec({ 'pg_controldata', pg.data }).code == 0)
         pg:configure { work_mem = '5MB' }
         assert(pg:setting 'archive_mode' == 'on')
         standby:restart()
         pg:wait_streaming(standby)
         -- Its archive is in a volume that no other lab's containers see.
         local ok, e = pcall(pitr.restore, pg, { to = 'latest' })
         assert(not ok and e.code == 'lab_in_use', tostring(e))",
    );

    // The run dies: what its lab holds can be restored in it.
    run.kill().unwrap();
    run.wait().unwrap();
    visit(
        "local restored = pitr.restore(there.primary, { to = 'latest' })
         assert(restored:value \"SELECT count(*) FROM pg_database WHERE datname = 'shop'\" == 1)",
    );
    let after = bench.left();
    assert!(
        after.iter().any(|name| name.ends_with("-primary")),
        "{after:?}"
    );
    assert!(
        !after.iter().any(|name| name.contains("restored")),
        "{after:?}"
    );

    // A visitor of a lab that goes makes nothing of it anew.
    let visitor = format!(
        "local there = lab.attach '{id}'
         print 'attached'
         eventually(function() return #lab.list() == 0 end, {{ timeout = '120s' }})
         for _, f in ipairs {{
           function() there.primary:exec {{ 'true' }} end,
           function() there.primary:start() end,
           function() there.primary:restart() end,
         }} do
           local ok, e = pcall(f)
           assert(not ok and e.code == 'lab_gone', tostring(e))
         end"
    );
    let mut visitor = bench
        .rpitr(&["-e", &visitor])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let out = visitor.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).unwrap();
    assert_eq!(said, "attached\n");
    let adopted = format!("lab.attach('{id}', {{ adopt = true }})");
    let done = bench.rpitr(&["-e", &adopted]).output().unwrap();
    assert!(done.status.success(), "{}", text(&done));
    let deadline = Instant::now() + Duration::from_secs(180);
    let status = loop {
        if let Some(status) = visitor.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "the visitor waits for ever");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "{status}");
    assert_eq!(bench.left(), Vec::<String>::new());
}
