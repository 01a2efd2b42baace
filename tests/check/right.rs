//! What looks like a mistake and is none.

use super::findings;

const RIGHT: &[&str] = &[
    // Shadowed names.
    "local lab = { postgress = function() end }\nlab.postgress()",
    "local function go(sql)\n  return sql.conect()\nend\ngo({ conect = print })",
    "for lab = 1, 2 do print(lab) end",
    "local string = { foramt = 1 }\nprint(string.foramt)",
    "local function drill() return function() end end\nreturn drill 'x' { nonsense = 1 }",
    "local require = function(name) return name end\nprint(require 'rpitr.nothing')",
    // Names that are there.
    "total = 0\nlocal function count()\n  total = total + 1\nend\ncount()",
    "function helper() return 1 end\nprint(helper())",
    "local _ENV = { print = print, x = 1 }\nprint(x)",
    "load('made_up = 1')()\nprint(made_up)",
    "rawset(_G, 'planted', 1)\nprint(planted)",
    "print(_VERSION, _G, ...)",
    "goto done\n::done::",
    "local function fact(n) return n == 0 and 1 or n * fact(n - 1) end\nprint(fact(3))",
    "repeat\n  local done = true\nuntil done",
    // Types that are not known, or no longer.
    "local pg = lab.postgres()\npg = { stpo = function() end }\npg:stpo()",
    "local pg\nif os.getenv 'X' then\n  pg = lab.postgres()\nelse\n  pg = { anything = print }\nend\npg:anything()",
    "local function open(node)\n  return node:conect()\nend\nopen(lab.postgres())\nopen({ conect = print })",
    "local function open(node)\n  return node:conect()\nend\nprint(open)\nopen(lab.postgres())",
    "local c = { pg = lab.postgres() }\nc.pg = { stpo = print }\nc.pg:stpo()",
    "local function either(a)\n  if a then\n    return lab.postgres()\n  end\n  return { stpo = print }\nend\neither(true):stpo()",
    // Fields the script assigns.
    "local pg = lab.postgres()\npg.note = 'mine'\nprint(pg.note)",
    "local db = sql.connect 'x'\nlocal n = db:notification()\nn.seen = true\nprint(n.seen)",
    "local pg = lab.postgres()\nfor _, name in ipairs { 'stpo' } do\n  pg[name] = print\nend\npg.stpo()",
    "function string.trimmed(s)\n  return (s:gsub('^%s+', ''))\nend\nprint((' x'):trimmed())",
    "local function go(_ENV)\n  return anything\nend\ngo({})",
    "local _ <close> = defer(function(e)\n  print(e and e.of_my_own)\nend)",
    // Keys and arguments that are computed.
    "local key = 'name'\nlocal pg = lab.postgres { [key] = 'a' }\nprint(pg)",
    "local options = { name = 'a' }\noptions.version = 15\nlab.postgres(options)",
    "local function all() return 1, 2, 3 end\nlocal db = sql.connect 'x'\ndb:close(all())",
    "local db = sql.connect 'x'\ndb:query('SELECT $1, $2', 1, 2, 3, 4, 5)",
    "local db = sql.connect 'x'\nfor row in db:rows 'SELECT 1 AS a' do print(row.anything) end",
    "local db = sql.connect 'x'\nlocal row = db:row 'SELECT 1 AS verison'\nprint(row.verison)",
    // Values.
    "timer.sleep(0.5)\ntimer.sleep '1.5h'\ntimer.sleep(tonumber('5'))",
    "local s = ' 250ms '\ntimer.sleep(s)",
    "local db = sql.connect { 'postgres:///x', host = 'y' }\nprint(db)",
    // Drills.
    "return drill 'x' {\n  summary = 's',\n  args = { rows = { 1, 'rows' }, to = { nil, 'text', type = 'string' } },\n  expect = { 'rto < 90s', 'rto.p95 <= 1.5m', 'n == 0' },\n  run = function(d, arg)\n    arg.extra = arg.rows\n    d:measure('rto', print)\n    print(arg.extra, arg.to)\n  end,\n}",
    "local common = { rows = { 1, 'rows' } }\nreturn drill 'x' {\n  summary = 's',\n  args = common,\n  run = function(_, arg) print(arg.rows) end,\n}",
    "return drill 'x' {\n  summary = 's',\n  expect = { 'made_by_a_library == 0' },\n  run = function(d) d:record { other = 1 } end,\n}",
    "local name = 'rows_lost'\nreturn drill 'x' {\n  summary = 's',\n  expect = { 'rows_lost == 0' },\n  run = function(d) d:record { [name] = 0, rows_losd = 1 } end,\n}",
    "local function go(d, arg)\n  arg = arg or {}\n  return arg.anything, d\nend\nreturn drill 'x' {\n  summary = 's',\n  run = function(d, arg) go(d, arg) end,\n}",
    "local mine = require 'lib.mine'\nreturn drill 'x' {\n  summary = 's',\n  expect = { 'rows_lost == 0' },\n  run = function(d)\n    d:record { row_lost = 0 }\n    mine.record(d)\n  end,\n}",
    // Meant to fail, and silenced.
    "test.it('refuses', function()\n  test.raises(function()\n    lab.postgres { verison = 17 }\n  end)\nend)",
    "---@diagnostic disable-next-line: undeclared\nprint(nowhere)",
    "print(nowhere) ---@diagnostic disable-line",
    // Requires.
    "local pitr = require 'rpitr.pitr'\nprint(pitr)",
    "local args = require 'rpitr.core.args'\nprint(args)",
    "local mine = require 'lib.mine'\nprint(mine.anything)",
];

#[test]
fn what_is_right_is_not_called_wrong() {
    let wrong: Vec<String> = RIGHT
        .iter()
        .filter_map(|source| {
            let found = findings(source);
            (!found.is_empty()).then(|| format!("{source}\n   got {found:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
