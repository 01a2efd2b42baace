//! Each mistake stands between `⟦` and `⟧`: that is where it must be found, under its rule, with
//! its hint, and nothing else with it.

use rpitr::check::Place;

use super::findings;

/// Rule, part of the hint or the message, script.
const PLANTED: &[(&str, &str, &str)] = &[
    // Names.
    (
        "undeclared",
        "did you mean lab?",
        "local pg <close> = ⟦lib⟧.postgres()",
    ),
    (
        "undeclared",
        "did you mean primary?",
        "local primary = 1\nprint(⟦primari⟧)",
    ),
    ("undeclared", "declare it with local", "print(⟦xyzzy⟧)"),
    (
        "undeclared",
        "write: local total",
        "local function count()\n  ⟦total⟧ = 1\nend\ncount()",
    ),
    (
        "undeclared",
        "declare it with local",
        "do\n  local inner = 1\n  print(inner)\nend\nprint(⟦inner⟧)",
    ),
    (
        "unknown_function",
        "did you mean lab.postgres?",
        "local pg = lab.⟦postgress⟧()",
    ),
    (
        "unknown_function",
        "did you mean sql.connect?",
        "local db = sql.⟦conect⟧ 'postgres:///x'",
    ),
    (
        "unknown_function",
        "did you mean string.format?",
        "print(string.⟦foramt⟧('%d', 1))",
    ),
    (
        "unknown_function",
        "did you mean table.concat?",
        "print(table.⟦conact⟧({}, ','))",
    ),
    (
        "unknown_function",
        "did you mean lab.standby?",
        "local nodes = require 'rpitr.lab'\nnodes.⟦stadnby⟧()",
    ),
    ("read_only", "lab is read-only", "lab.⟦mine⟧ = 1"),
    (
        "read_only",
        "is an rpitr module and read-only",
        "⟦sql⟧ = nil",
    ),
    (
        "no_module",
        "did you mean rpitr.workload?",
        "local w = require ⟦'rpitr.worklaod'⟧\nw.init()",
    ),
    (
        "unused_require",
        "remove the line",
        "local ⟦shop⟧ = require 'rpitr.workload'",
    ),
    // Methods and fields of values whose type is known.
    (
        "unknown_method",
        "did you mean stop?",
        "local pg <close> = lab.postgres { name = 'a' }\npg:⟦stpo⟧()",
    ),
    (
        "unknown_method",
        "did you mean query?",
        "local pg = lab.postgres()\nlocal db <close> = pg:connect()\nfor _, row in ipairs(db:⟦qeury⟧ 'SELECT 1') do print(row) end",
    ),
    (
        "unknown_method",
        "did you mean value?",
        "local n = lab.postgres():connect():⟦valeu⟧ 'SELECT 1'\nprint(n)",
    ),
    (
        "unknown_method",
        "did you mean promote?",
        "local pg\npg = lab.postgres()\npg:⟦promot⟧()",
    ),
    (
        "unknown_method",
        "did you mean exec?",
        "local c = { db = sql.connect 'x' }\nc.db:⟦exce⟧ 'SELECT 1'",
    ),
    (
        "unknown_method",
        "did you mean connect?",
        "local function open(node)\n  return node:⟦conect⟧()\nend\nopen(lab.postgres())",
    ),
    (
        "unknown_method",
        "did you mean stop?",
        "local function make()\n  return lab.postgres()\nend\nlocal pg = make()\npg:⟦stopp⟧()",
    ),
    (
        "unknown_method",
        "did you mean stop?",
        "---@param pg rpitr.Node\nlocal function halt(pg)\n  pg:⟦stpo⟧()\nend\nreturn { halt = halt }",
    ),
    (
        "unknown_method",
        "did you mean exec?",
        "local db = sql.connect 'x'\ndb:tx(function(inner)\n  inner:⟦exce⟧ 'SELECT 1'\nend)",
    ),
    (
        "unknown_method",
        "did you mean format?",
        "print(('%d'):⟦fromat⟧(1))",
    ),
    (
        "unknown_field",
        "did you mean payload?",
        "local db = sql.connect 'x'\nprint(db:notification().⟦paylaod⟧)",
    ),
    (
        "unknown_field",
        "did you mean message?",
        "local db = sql.connect 'x'\nfor _, notice in ipairs(db:notices()) do\n  print(notice.⟦mesage⟧)\nend",
    ),
    (
        "wrong_call",
        "write pg:stop(...)",
        "local pg = lab.postgres()\npg.⟦stop⟧()",
    ),
    (
        "wrong_call",
        "write lab.postgres(...)",
        "local pg = lab:⟦postgres⟧()",
    ),
    // Options and arguments.
    (
        "unknown_option",
        "did you mean \"version\"?",
        "local pg = lab.postgres { ⟦verison⟧ = 17 }",
    ),
    (
        "unknown_option",
        "did you mean \"name\"?",
        "local pg = lab.postgres({ [⟦'nmae'⟧] = 'a' })",
    ),
    (
        "unknown_option",
        "did you mean \"rollback\"?",
        "local db = sql.connect 'x'\ndb:tx(function() end, { ⟦rolback⟧ = true })",
    ),
    (
        "unknown_option",
        "known options:",
        "local p = sql.pool('x', { ⟦zebra⟧ = 1 })",
    ),
    (
        "too_many_arguments",
        "Conn:close takes no arguments, got 1",
        "local db = sql.connect 'x'\ndb:close(⟦true⟧)",
    ),
    (
        "too_many_arguments",
        "takes 1 argument, got 2",
        "local db = sql.connect 'x'\nprint(db:prepare('SELECT 1', ⟦2⟧))",
    ),
    (
        "bad_value",
        "must be an integer, got the string \"four\"",
        "local p = sql.pool('x', { max = ⟦'four'⟧ })",
    ),
    ("bad_value", "a duration such as", "timer.sleep ⟦'10x'⟧"),
    ("bad_value", "a duration such as", "timer.sleep(⟦true⟧)"),
    (
        "bad_value",
        "did you mean \"require\"?",
        "local db = sql.connect { host = 'x', sslmode = ⟦'requir'⟧ }",
    ),
    (
        "bad_value",
        "did you mean \"latest\"?",
        "local pg <close> = lab.postgres()\nlocal r <close> = pitr.restore(pg, { to = ⟦'lastest'⟧ })",
    ),
    (
        "bad_value",
        "a time with a UTC offset",
        "local t = pitr.target(⟦'2026-11-21 03:16:27'⟧)\nprint(t.kind)",
    ),
    (
        "missing_argument",
        "pitr.restore: options is required",
        "local pg <close> = lab.postgres()\nlocal r <close> = ⟦pitr.restore⟧(pg)",
    ),
    (
        "missing_argument",
        "Node:follow: primary is required",
        "local pg <close> = lab.postgres()\npg:⟦follow⟧()",
    ),
    // Drills.
    (
        "unknown_argument",
        "did you mean arg.rows?",
        "return drill 'x' {\n  summary = 's',\n  args = { rows = { 1, 'rows' } },\n  run = function(_, arg)\n    print(arg.⟦rwos⟧)\n  end,\n}",
    ),
    (
        "unknown_argument",
        "the drill declares no argument 'rows'",
        "return drill 'x' {\n  summary = 's',\n  run = function(_, arg)\n    print(arg.⟦rows⟧)\n  end,\n}",
    ),
    (
        "unknown_argument",
        "did you mean arg.rows?",
        "local function go(arg)\n  return arg.⟦rosw⟧\nend\nreturn drill 'x' {\n  summary = 's',\n  args = { rows = { 1, 'rows' } },\n  run = function(_, arg)\n    go(arg)\n  end,\n}",
    ),
    (
        "bad_expectation",
        "cannot read the expectation",
        "return drill 'x' {\n  summary = 's',\n  expect = { ⟦'rto < fast'⟧ },\n  run = function(d) d:measure('rto', print) end,\n}",
    ),
    (
        "bad_expectation",
        "cannot read the expectation \"rto < 5x\"",
        "return drill 'x' {\n  summary = 's',\n  expect = { ⟦'rto < 5x'⟧ },\n  run = function(d) d:measure('rto', print) end,\n}",
    ),
    (
        "bad_expectation",
        "use <, <=",
        "return drill 'x' {\n  summary = 's',\n  expect = { ⟦'rto = 5s'⟧ },\n  run = function(d) d:measure('rto', print) end,\n}",
    ),
    (
        "bad_expectation",
        "count, sum, min, max",
        "return drill 'x' {\n  summary = 's',\n  expect = { ⟦'rto.avg < 5s'⟧ },\n  run = function(d) d:measure('rto', print) end,\n}",
    ),
    (
        "bad_expectation",
        "did you mean \"rows_lost\"?",
        "return drill 'x' {\n  summary = 's',\n  expect = { '⟦rows_lots⟧ == 0' },\n  run = function(d) d:record { rows_lost = 0 } end,\n}",
    ),
    (
        "bad_header",
        "must be declared as { default, \"help\" }",
        "return drill 'x' {\n  summary = 's',\n  args = { rows = ⟦100⟧ },\n  run = function(_, arg) print(arg.rows) end,\n}",
    ),
    (
        "unknown_option",
        "did you mean \"summary\"?",
        "return drill 'x' {\n  summary = 's',\n  ⟦sumary⟧ = 's',\n  run = function() end,\n}",
    ),
    (
        "missing_option",
        "option \"run\" is required",
        "return drill 'x' ⟦{⟧\n  summary = 's',\n}",
    ),
    (
        "unknown_method",
        "did you mean step?",
        "return drill 'x' {\n  summary = 's',\n  run = function(d)\n    d:⟦setp⟧('a', function() end)\n  end,\n}",
    ),
    (
        "unknown_method",
        "did you mean check?",
        "local function judge(d)\n  d:⟦chekc⟧('a', true)\nend\nreturn drill 'x' {\n  summary = 's',\n  run = function(d) judge(d) end,\n}",
    ),
    (
        "bad_value",
        "budget",
        "return drill 'x' {\n  summary = 's',\n  budget = ⟦'10q'⟧,\n  run = function() end,\n}",
    ),
    (
        "unknown_method",
        "did you mean stop?",
        "return drill 'x' {\n  summary = 's',\n  run = function(d)\n    local pg = d:step('make', function()\n      return lab.postgres()\n    end)\n    pg:⟦stpo⟧()\n  end,\n}",
    ),
];

#[test]
fn every_planted_mistake_is_found_in_its_place() {
    let mut wrong = Vec::new();
    for (rule, words, marked) in PLANTED {
        let start = marked.find('⟦').unwrap();
        let source = marked.replace(['⟦', '⟧'], "");
        let end = marked.find('⟧').unwrap() - '⟦'.len_utf8();
        let place = Place::of(&source, &(start..end));
        let found = findings(&source);
        let told: Vec<String> = found
            .iter()
            .map(|one| {
                let at = Place::of(&source, &one.span);
                let hint = one.hint.as_deref().unwrap_or_default();
                format!(
                    "{}:{} {} {} | {hint}",
                    at.line,
                    at.column,
                    one.rule.name(),
                    one.message
                )
            })
            .collect();
        let fits = match found.as_slice() {
            [only] => {
                Place::of(&source, &only.span) == place
                    && only.rule.name() == *rule
                    && told[0].contains(words)
            }
            _ => false,
        };
        if !fits {
            wrong.push(format!(
                "{marked}\n   wanted {rule} at {place:?}: {words}\n   got {told:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}\n{}",
        wrong.len(),
        PLANTED.len(),
        wrong.join("\n")
    );
    assert!(PLANTED.len() >= 40);
}

#[test]
fn all_findings_of_a_script_are_told_in_order() {
    let found =
        findings("print(aa)\nlab.nothing()\nlocal pg = lab.postgres { verison = 1, nmae = 2 }");
    let rules: Vec<&str> = found.iter().map(|one| one.rule.name()).collect();
    assert_eq!(
        rules,
        [
            "undeclared",
            "unknown_function",
            "unknown_option",
            "unknown_option"
        ]
    );
}
