//! The reports of a run: every file, for a run that passed and one that did not, and what compares them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::Bench;
use rpitr::report::{Document, SCHEMA};

const DRILL: &str = r#"return drill "sample" {
  summary = "A <b>drill</b> that only records.",
  args = { rows = { 3, "how many" }, broken = { false, "fail a check" } },
  expect = { "rto < 60s", "rows_lost == 0" },
  run = function(d, arg)
    d:step("prepare", function()
      d:say "getting ready & set"
    end)
    local over = d:band "primary paused"
    for i = 1, 30 do
      d:sample("commits", i * i % 7, "tx/s")
      d:sample("lag", i * 100000, "bytes")
    end
    over()
    d:step("recover", function()
      d:record { rto = 1.5, rto_restore = 1.2, rto_swap = 0.1, rpo_transactions = 2, rows_lost = 0 }
    end)
    d:check("rows are there", not arg.broken, "1 row is missing")
    d:table("Before and after", { "table", "before", "after" }, { { "orders", 10, 10 }, { "<script>", 1, 1 } })
    d:table("Lost", { "order" }, {})
    local function held(rows)
      local n = 0
      for _ in pairs(rows) do n = n + 1 end
      return { tables = { orders = { rows = n, hash = json.encode(rows), key = "id", digests = rows } } }
    end
    local was = held { ["1"] = "a", ["2"] = "b", ["10"] = "c" }
    d:compare("Kept:", was, held(arg.broken and { ["2"] = "x", ["10"] = "c", ["<11>"] = "d" } or was.tables.orders.digests))
  end,
}"#;

fn run(bench: &Bench, name: &str, arguments: &[&str], code: i32) -> std::path::PathBuf {
    let script = bench.script("sample.lua", DRILL);
    let folder = bench.dir().join(name);
    let folder_text = folder.display().to_string();
    let mut all = vec![script.as_str(), "--report", &folder_text];
    all.extend(arguments);
    bench.run(&all).expect(code);
    folder
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn every_file_of_a_run_that_passed() {
    let bench = Bench::new();
    let folder = run(&bench, "good", &[], 0);
    // The schema is the type: an unknown or missing field fails here.
    let document: Document = serde_json::from_str(&text(&folder, "report.json")).unwrap();
    assert_eq!(document.schema, SCHEMA);
    assert_eq!(document.verdict, "pass");
    assert_eq!(document.series["commits"].points.len(), 30);
    assert_eq!(document.bands.len(), 1);
    assert_eq!(document.environment["rpitr"], env!("CARGO_PKG_VERSION"));
    let kept = &document.comparisons[0].tables[0];
    assert!(kept.same && kept.differing.is_empty());
    assert_eq!((kept.before, kept.after, kept.missing), (3, 3, Some(0)));

    let junit = text(&folder, "junit.xml");
    assert!(
        junit.contains("tests=\"7\"") && junit.contains("failures=\"0\""),
        "{junit}"
    );

    let metrics = text(&folder, "metrics.prom");
    for line in [
        "rpitr_drill_passed{drill=\"sample\"} 1",
        "rpitr_drill_rto_seconds{drill=\"sample\"} 1.5",
        "rpitr_drill_rpo{drill=\"sample\",unit=\"transactions\"} 2",
        "rpitr_drill_metric{drill=\"sample\",metric=\"rows_lost\"} 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}: {metrics}"
        );
    }
    assert!(metrics.contains("rpitr_drill_last_success_timestamp_seconds"));

    let checklist = text(&folder, "checklist.md");
    for part in [
        "## Preparation",
        "## Steps",
        "## Verification",
        "## Timings",
        "## Issues\n\nNone.",
        "## Sign-off",
    ] {
        assert!(checklist.contains(part), "{part}: {checklist}");
    }

    let html = text(&folder, "report.html");
    assert!(
        html.contains("Proved") && html.contains("polyline") && html.contains("primary paused")
    );
    // What a run says is text, never markup.
    assert!(!html.contains("<script>") && !html.contains("<b>drill</b>"));
    for reach in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!html.contains(reach), "{reach}");
    }
    assert_eq!(bench.labs().len(), 0);
}

#[test]
fn a_run_that_did_not_pass_says_so_in_every_file() {
    let bench = Bench::new();
    run(&bench, "first", &[], 0);
    let folder = run(&bench, "bad", &["--broken"], 10);
    assert!(text(&folder, "junit.xml").contains("1 row is missing"));
    let metrics = text(&folder, "metrics.prom");
    assert!(metrics.contains("rpitr_drill_passed{drill=\"sample\"} 0"));
    // When it last passed is still known.
    assert!(metrics.contains("rpitr_drill_last_success_timestamp_seconds"));
    assert!(text(&folder, "checklist.md").contains("- [ ] check failed: rows are there"));
    let html = text(&folder, "report.html");
    assert!(html.contains("Not proved"));
    // Which rows differ, in all three ways.
    let document: Document = serde_json::from_str(&text(&folder, "report.json")).unwrap();
    let kept = &document.comparisons[0].tables[0];
    assert!(!kept.same);
    assert_eq!(
        (kept.missing, kept.extra, kept.altered),
        (Some(1), Some(1), Some(1))
    );
    assert!(html.contains("id 1 is missing, id &lt;11&gt; is extra, id 2 is altered"));
    assert!(text(&folder, "junit.xml").contains("id 1 is missing"));
}

const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/alerts.yml");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reports.md");

/// The metrics of rpitr that a text names.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("rpitr_drill_"))
        .map(str::to_string)
        .collect()
}

/// The metrics in the expressions of alert rules.
fn metrics_of_rules(rules: &str) -> BTreeSet<String> {
    let lines = rules.lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with('#') && !line.starts_with("summary:") && !line.starts_with("description:")
    });
    metrics_in(&lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn alert_rules_use_what_a_run_writes_and_the_page_names_all_of_it() {
    let bench = Bench::new();
    let folder = run(&bench, "good", &[], 0);
    let text_of = |path: &str| fs::read_to_string(path).unwrap();
    let metrics = text(&folder, "metrics.prom");
    let written: BTreeSet<String> = metrics
        .lines()
        .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_string()))
        .collect();
    let rules = text_of(ALERTS);
    let used = metrics_of_rules(&rules);
    assert!(used.len() >= 5, "{used:?}");
    let unknown: Vec<_> = used.difference(&written).collect();
    assert!(unknown.is_empty(), "no run writes {unknown:?}");
    // The net holds: a metric nobody writes is caught, a comment about one is not a use.
    let planted = metrics_of_rules("expr: rpitr_drill_rto_minutes > 1\n# rpitr_drill_ghost");
    assert!(planted.iter().eq(["rpitr_drill_rto_minutes"]) && planted.is_disjoint(&written));
    // Units that the rules ask for are units that drills record.
    for unit in rules.split("unit=\"").skip(1) {
        let unit = unit.split('"').next().unwrap();
        assert!(
            ["seconds", "bytes", "transactions"].contains(&unit),
            "{unit}"
        );
    }
    for alert in [
        "RecoveryNotProvedLately",
        "RecoveryNeverProved",
        "RecoveryNotProved",
        "RecoveryTooSlow",
        "RecoveryLosesTooMuch",
    ] {
        assert!(rules.contains(&format!("alert: {alert}\n")), "{alert}");
    }

    // The page names every metric, every field and the version.
    let page = text_of(PAGE);
    assert_eq!(metrics_in(&page), written);
    let report: serde_json::Value = serde_json::from_str(&text(&folder, "report.json")).unwrap();
    for field in report.as_object().unwrap().keys() {
        let name = format!("`{field}`");
        let rows = page.lines().filter(|line| line.starts_with('|'));
        assert_eq!(
            rows.filter(|row| row.contains(&name)).count().min(2),
            if field == "schema" { 1 } else { 2 },
            "{field}"
        );
    }
    assert!(page.contains(&format!("\n| {SCHEMA} | ")));
    assert!(!page.contains(&format!("\n| {} | ", SCHEMA + 1)));
    for file in fs::read_dir(&folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}

#[test]
fn promtool_accepts_the_rules_and_each_alert_fires_when_it_should() {
    let promtool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".into());
    let run = |arguments: &[&str]| {
        let done = Command::new(&promtool).args(arguments).output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
    };
    if Command::new(&promtool).arg("--version").output().is_err() {
        eprintln!("SKIPPED: promtool is not installed, the alert rules are not run");
        return;
    }
    run(&["check", "rules", ALERTS]);
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/alerts_test.yml");
    run(&["test", "rules", tests]);
}

#[test]
fn runs_are_compared_and_kept() {
    let bench = Bench::new();
    let good = run(&bench, "good", &[], 0).display().to_string();
    let bad = run(&bench, "bad", &["--broken"], 10).display().to_string();
    let same = bench.run(&["report", "diff", &good, &good]);
    same.expect(0);
    assert_eq!(same.stdout, "no difference worth a line\n");
    let worse = bench.run(&["report", "diff", &good, &bad]);
    worse.expect(10);
    worse.says("verdict");
    worse.says("rows are there");
    bench
        .run(&["report", "diff", &bad, &good, "--json"])
        .expect(0);

    let trend = bench.run(&["report", "trend", "sample"]);
    trend.expect(0);
    trend.says("RTO of 1 passed runs: median 1.50 s");
    assert_eq!(
        trend.stdout.matches(" local ").count(),
        2,
        "{}",
        trend.stdout
    );
    let unknown = bench.run(&["report", "trend", "nothing"]);
    unknown.expect(2);
    unknown.says("there are runs of: sample");
}

#[test]
fn what_is_no_report_is_refused() {
    let bench = Bench::new();
    let newer = bench.script("newer.json", "{\"schema\": 99}");
    let no_json = bench.script("text.json", "hello");
    bench
        .run(&["report", "diff", &newer, &newer])
        .says("report schema 99; this rpitr reads up to");
    bench
        .run(&["report", "diff", &no_json, &no_json])
        .says("is not a report of rpitr");
    bench
        .run(&["report", "diff", "/nowhere", "/nowhere"])
        .says("cannot read /nowhere");
}

/// A real browser: nothing on its console, nothing asked of the network.
#[test]
fn a_browser_shows_it_without_a_word_or_a_request() {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| {
            Command::new(name)
                .arg("--version")
                .output()
                .is_ok_and(|done| done.status.success())
        })
    else {
        eprintln!("SKIPPED: no Chromium on this machine");
        return;
    };
    let bench = Bench::new();
    let folder = run(&bench, "good", &[], 0);
    let log = bench.dir().join("net.json");
    let profile = bench.dir().join("profile");
    let done = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--log-net-log={}", log.display()))
        .arg(format!("file://{}", folder.join("report.html").display()))
        .output()
        .unwrap();
    let (dom, said) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(dom.contains("Proved"), "{said}");
    let console: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect();
    assert!(console.is_empty(), "{console:?}");
    // The page itself may only be read from disk; the browser's own chatter is not the page's.
    let net = fs::read_to_string(&log).unwrap_or_default();
    let asked = net.matches("\"initiator\":\"file://").count();
    assert_eq!(asked, 0);
}
