-- Copying the files of a server, and starting another from them.

local support = require "support"

-- Servers and engines may be slow on a machine that does other things.
local function it(name, fn)
  test.it(name, fn, { timeout = "3m" })
end

local primary = support.once(function()
  local pg = support.primary {}
  local db <close> = pg:connect()
  db:exec "CREATE TABLE t AS SELECT generate_series(1, 500) AS x; CREATE INDEX t_x ON t (x)"
  return pg
end)

test.describe("node:data_files", function()
  it("lists folders before what is in them, without what belongs to the running server", function()
    local seen = {}
    for _, path in ipairs(primary():data_files()) do
      local folder = path:match "^(.*)/[^/]+$"
      test.ok(folder == nil or seen[folder], path .. " comes before its folder")
      seen[path] = true
    end
    for _, there in ipairs { "PG_VERSION", "global/pg_control", "pg_wal", "pg_notify", "base" } do
      test.ok(seen[there], there)
    end
    test.ok(not seen["postmaster.pid"] and not seen["postmaster.opts"])
  end)

  it("file_of names the file of a table", function()
    local db <close> = primary():connect()
    local path = primary():file_of(db, "t")
    test.ok(path:match "^base/%d+/%d+$", path)
    test.ok(table.concat(primary():data_files(), "\n"):find(path, 1, true))
    test.raises(function()
      primary():file_of(db, "no such table")
    end, { kind = "sql" })
  end)
end)

test.describe("node:copy_files and node:unpack", function()
  it("start a server of its own from the files of a quiet one", function()
    local pg = primary()
    pg:checkpoint()
    local copy = pg:copy_files("quiet", pg:data_files())
    test.equal(copy.files, #pg:data_files())
    local node <close> = lab.sandbox { name = "copied", version = pg.major }
    node:unpack({ copy }, pg, { conf = { work_mem = "5MB" }, files = { ["hello.txt"] = "there" } })
    node:start()
    test.equal(node:value "SELECT count(*) FROM t", 500)
    test.equal(node:setting "work_mem", "5MB")
    test.equal(node:setting "archive_mode", "off", "it may not act for the server it came from")
    test.equal(node:value "SELECT pg_read_file('hello.txt')", "there")
    test.equal(verify.amcheck(node, { dbname = "postgres", of = "tables" }), {})
    test.equal(verify.amcheck(node, { dbname = "postgres", of = "indexes" }), {})
  end)

  it("name the file that cannot be read", function()
    test.raises(function()
      primary():copy_files("none", { "base/1/nothing" })
    end, { kind = "postgres", code = "tar" })
  end)

  it("know their options", function()
    local node = lab.sandbox { name = "unused", version = primary().major }
    test.raises(function()
      node:unpack({}, primary(), { file = {} })
    end, { kind = "arg", hint = "files" })
    test.raises(function()
      verify.amcheck(primary(), { of = "table" })
    end, { kind = "arg", hint = "tables" })
  end)
end)
