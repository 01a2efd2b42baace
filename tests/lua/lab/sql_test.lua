-- The sql module against a real server.

local support = require "support"

local server = support.once(function()
  local pg = lab.postgres { name = "sql", archive = false }
  local db <close> = pg:connect()
  db:exec [[
    CREATE TYPE mood AS ENUM ('calm', 'alert');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TYPE pair AS (a int, b text);
    CREATE TABLE t (id int PRIMARY KEY, name text);
    CREATE TABLE big AS SELECT n AS id, repeat('x', 1000) AS filler FROM generate_series(1, 40000) n]]
  return pg
end)

local function with_db(fn)
  return function()
    local db <close> = server():connect()
    fn(db)
  end
end

test.describe("types", function()
  test.it(
    "come back as they were sent",
    with_db(function(db)
      local values = {
        { "int8", 9223372036854775807 },
        { "int8", math.mininteger },
        { "int4", -2147483648 },
        { "int2", 32767 },
        { "float8", 0.1 },
        { "float4", 1.5 },
        { "numeric", "12345678901234567890.123456789012345678901234567890" },
        { "numeric", "-0.000001" },
        { "numeric", "NaN" },
        { "bool", true },
        { "bool", false },
        { "text", "Zoë 😀 'quoted' $1 \\" },
        { "text", "" },
        { "bytea", "a\0b\0\255\254" },
        { "uuid", "6f1c2b9e-3b1a-4b6e-9a53-0d1e2f3a4b5c" },
        { "mood", "alert" },
        { "positive", 5 },
        { "int4range", "[1,5)" },
        { "date", "2026-02-28" },
        { "time", "23:59:59.999999" },
        { "timestamp", "2026-11-21 03:16:27.828671" },
        { "interval", "1 day 02:03:04" },
        { "inet", "10.0.0.1/8" },
        { "xid8", 5000000000 },
        { "bigint[]", { 1, -2, 9007199254740993 } },
        { "text[]", { "a", "", 'b,c"' } },
        { "int4[]", {} },
      }
      for _, pair in ipairs(values) do
        local kind, value = pair[1], pair[2]
        test.equal(db:value(("SELECT $1::%s"):format(kind), value), value, kind)
      end
    end)
  )

  test.it(
    "of time and position are values of their own",
    with_db(function(db)
      local at = time.parse "2026-11-21 03:16:27.828671+00"
      test.equal(db:value("SELECT $1::timestamptz", at) == at, true)
      db:exec "SET timezone = 'Asia/Kolkata'"
      test.equal(db:value("SELECT $1::timestamptz", at) == at, true)
      test.equal(db:value("SELECT extract(epoch FROM $1::timestamptz)::text", at), "1795230987.828671")
      local here = lsn "16/B374D848"
      test.equal(db:value("SELECT $1::pg_lsn", here) == here, true)
      test.ok(lsn.is(db:value "SELECT pg_current_wal_lsn()"))
      test.equal(db:value("SELECT $1::pg_lsn - '16/B374D840'::pg_lsn", here), "8")
    end)
  )

  test.it(
    "NULL is nil, in a row, an array, as a parameter",
    with_db(function(db)
      local row = db:row "SELECT NULL::int AS a, 1 AS b, NULL AS c"
      test.equal({ row.a, row.b, row.c }, { nil, 1, nil })
      test.equal(db:value("SELECT $1::int IS NULL", nil), true)
      test.equal(db:value("SELECT $1::int IS NULL AND $2 = 'x'", nil, "x"), true)
      local list = db:value "SELECT ARRAY[1, NULL, 3]"
      test.equal({ list[1], list[2] == sql.null, list[3] }, { 1, true, 3 })
      test.equal(db:value("SELECT ($1::int[])[2] IS NULL", { 1, sql.null }), true)
    end)
  )

  test.it(
    "json is decoded, nested and with its null",
    with_db(function(db)
      local doc =
        db:value [[SELECT '{"a": [1, 2.5, "x"], "n": null, "deep": {"yes": true}, "big": 9007199254740993}'::jsonb]]
      test.equal({ doc.a[1], doc.a[2], doc.a[3], doc.deep.yes, doc.big }, { 1, 2.5, "x", true, 9007199254740993 })
      test.equal(doc.n == json.null, true)
      test.equal(db:value("SELECT $1::jsonb -> 'list' ->> 1", { list = { "a", "b" } }), "b")
    end)
  )

  test.it(
    "that are unknown arrive as text, never as an error",
    with_db(function(db)
      test.equal(db:value "SELECT ROW(1, 'x')::pair", "(1,x)")
      test.equal(db:value "SELECT '(1,2)'::point", "(1,2)")
      test.equal(db:value "SELECT 'fat & rat'::tsquery", "'fat' & 'rat'")
      test.equal(db:value "SELECT B'101'", "101")
      test.equal(db:value "SELECT 'pg_class'::regclass", "pg_class")
      test.equal(db:value "SELECT '{[1,3),[5,7)}'::int4multirange", "{[1,3),[5,7)}")
    end)
  )

  test.it(
    "keep the order of their columns, and rows know their names",
    with_db(function(db)
      local rows = db:query "SELECT 1 AS z, 2 AS a, 3 AS m"
      test.equal(rows.columns, { "z", "a", "m" })
      test.equal(#db:query "SELECT 1 WHERE false", 0)
      test.equal(db:row "SELECT 1 WHERE false", nil)
      test.equal(db:value "SELECT 1 WHERE false", nil)
    end)
  )

  test.it(
    "a parameter of the wrong type is refused and named",
    with_db(function(db)
      local e = test.raises(function()
        db:value("SELECT $1::int", "12x")
      end)
      test.ok(e.message:find("$1", 1, true) or e.message:find("12x", 1, true), e.message)
      test.raises(function()
        db:value("SELECT $1::int", 1, 2)
      end, { match = "2" })
      test.raises(function()
        db:value("SELECT $1::int2", 40000)
      end)
      test.equal(db:value "SELECT 1", 1, "the connection is usable afterwards")
    end)
  )
end)

test.describe("transactions", function()
  local function names(db)
    return db:value "SELECT coalesce(string_agg(name, ' ' ORDER BY id), '') FROM t"
  end

  test.it(
    "commit what returns and roll back what raises",
    with_db(function(db)
      db:exec "TRUNCATE t"
      test.equal(
        db:tx(function()
          db:exec "INSERT INTO t VALUES (1, 'kept')"
          return "result"
        end),
        "result"
      )
      test.raises(function()
        db:tx(function()
          db:exec "INSERT INTO t VALUES (2, 'gone')"
          err.raise { kind = "state", message = "no" }
        end)
      end, { kind = "state" })
      test.raises(function()
        db:tx(function()
          db:exec "INSERT INTO t VALUES (3, 'gone')"
          db:exec "INSERT INTO t VALUES (1, 'twice')"
        end)
      end, { kind = "sql", code = "23505" })
      test.equal(names(db), "kept")
    end)
  )

  test.it(
    "nested are savepoints",
    with_db(function(db)
      db:exec "TRUNCATE t"
      db:tx(function()
        db:exec "INSERT INTO t VALUES (1, 'outer')"
        pcall(db.tx, db, function()
          db:exec "INSERT INTO t VALUES (2, 'inner')"
          db:exec "SELECT 1/0"
        end)
        db:tx(function()
          db:exec "INSERT INTO t VALUES (3, 'second')"
        end)
      end)
      test.equal(names(db), "outer second")
    end)
  )

  test.it(
    "are rolled back when their task is cancelled",
    with_db(function(db)
      db:exec "TRUNCATE t"
      local inside = false
      local job = task.spawn(function()
        local other <close> = server():connect()
        other:tx(function()
          other:exec "INSERT INTO t VALUES (1, 'cancelled')"
          inside = true
          other:exec "SELECT pg_sleep(60)"
        end)
      end)
      eventually(function()
        return inside
      end)
      job:cancel()
      test.raises(function()
        job:join()
      end, { kind = "cancelled" })
      test.equal(names(db), "")
      test.equal(
        db:value "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid() AND state = 'active'",
        0
      )
    end)
  )

  test.it(
    "may be tried out and undone, and read only",
    with_db(function(db)
      db:exec "TRUNCATE t"
      db:tx(function()
        db:exec "INSERT INTO t VALUES (1, 'trial')"
      end, { rollback = true })
      test.equal(names(db), "")
      test.raises(function()
        db:tx(function()
          db:exec "INSERT INTO t VALUES (1, 'x')"
        end, { read_only = true })
      end, { kind = "sql", code = "25006" })
      test.equal(
        db:tx(function()
          return db:value "SHOW transaction_isolation"
        end, { isolation = "SERIALIZABLE" }),
        "serializable"
      )
    end)
  )
end)

test.describe("large results and copies", function()
  test.it(
    "rows come one by one; breaking off is cheap and bounded in memory",
    with_db(function(db)
      local function resident()
        return tonumber(fs.read("/proc/self/status"):match "VmRSS:%s*(%d+)")
      end
      local before, n = resident(), 0
      for row in db:rows "SELECT * FROM big, generate_series(1, 100)" do
        n = n + 1
        if n == 20000 then
          break
        end
      end
      test.ok(resident() - before < 30000, ("%d kB more for 20 MB of rows"):format(resident() - before))
      test.equal(db:value "SELECT 1", 1)
      local sum = 0
      for row in db:rows("SELECT id FROM big WHERE id <= $1", 2000) do
        sum = sum + row.id
      end
      test.equal(sum, 2001000)
    end)
  )

  test.it(
    "prepared statements take parameters as often as asked",
    with_db(function(db)
      local square = db:prepare "SELECT $1::int * $1::int"
      for n = 1, 100 do
        test.equal(square:value(n), n * n)
      end
      test.equal(db:prepare("INSERT INTO t VALUES ($1, $2) ON CONFLICT DO NOTHING"):exec(4711, "p"), 1)
      test.raises(function()
        db:prepare "SELECT * FROM nowhere"
      end, { kind = "sql", code = "42P01" })
    end)
  )

  test.it(
    "copy goes in and out unchanged, in chunks",
    with_db(function(db)
      db:exec "CREATE TEMP TABLE c (n int, x text)"
      do
        local copy <close> = db:copy_in "COPY c FROM STDIN"
        for n = 1, 5000 do
          copy:write(("%d\trow %d\n"):format(n, n))
        end
        test.equal(copy:finish(), 5000)
      end
      local parts = {}
      for chunk in db:copy_out "COPY (SELECT * FROM c ORDER BY n) TO STDOUT" do
        parts[#parts + 1] = chunk
      end
      local text = table.concat(parts)
      test.equal(select(2, text:gsub("\n", "")), 5000)
      test.equal(text:sub(1, 15), "1\trow 1\n2\trow 2")
    end)
  )

  test.it(
    "a copy that is left, or wrong, changes nothing",
    with_db(function(db)
      db:exec "CREATE TEMP TABLE c (n int)"
      do
        local copy <close> = db:copy_in "COPY c FROM STDIN"
        copy:write "1\n"
      end
      test.raises(function()
        local copy <close> = db:copy_in "COPY c FROM STDIN"
        copy:write "not a number\n"
        copy:finish()
      end, { kind = "sql", code = "22P02" })
      for _ in db:copy_out "COPY big TO STDOUT" do
        break
      end
      test.equal(db:value "SELECT count(*) FROM c", 0)
    end)
  )
end)

test.describe("messages", function()
  test.it(
    "notifications arrive with channel and payload",
    with_db(function(db)
      local other <close> = server():connect()
      db:listen "Orders"
      other:exec [[NOTIFY "Orders", 'first']]
      other:exec("SELECT pg_notify('Orders', $1)", "second")
      for _, payload in ipairs { "first", "second" } do
        local n = task.with_timeout("5s", db.notification, db)
        test.equal({ n.channel, n.payload, n.pid }, { "Orders", payload, other:pid() })
      end
      test.raises(function()
        task.with_timeout("50ms", db.notification, db)
      end, { kind = "timeout" })
      test.equal(db:value "SELECT 1", 1)
    end)
  )

  test.it(
    "notices are kept",
    with_db(function(db)
      db:exec "DO $$ BEGIN RAISE NOTICE 'mind the gap'; END $$"
      local list = db:notices()
      test.equal({ #list, list[1].message, list[1].severity }, { 1, "mind the gap", "NOTICE" })
      test.equal(#db:notices(), 0)
    end)
  )
end)

test.describe("failures", function()
  test.it(
    "carry the SQLSTATE and what the server says",
    with_db(function(db)
      for statement, code in pairs {
        ["SELEC 1"] = "42601",
        ["SELECT * FROM nowhere"] = "42P01",
        ["SELECT 1/0"] = "22012",
        ["INSERT INTO t VALUES (NULL)"] = "23502",
        ["SELECT 0::positive"] = "23514",
      } do
        test.raises(function()
          db:exec(statement)
        end, { kind = "sql", code = code })
      end
      local e = test.raises(function()
        db:query "SELECT nme FROM t"
      end, { code = "42703", hint = "t.name" })
      test.ok(e.message:find("nme", 1, true))
      test.equal(db:value "SELECT 1", 1)
    end)
  )

  test.it(
    "a timeout cancels the statement on the server",
    with_db(function(db)
      local other <close> = server():connect()
      local pid = db:pid()
      test.raises(function()
        task.with_timeout("100ms", function()
          db:exec "SELECT pg_sleep(60)"
        end)
      end, { kind = "timeout" })
      eventually(function()
        return other:value("SELECT state FROM pg_stat_activity WHERE pid = $1", pid) ~= "active"
      end, { timeout = "5s" })
      test.equal(db:value "SELECT 1", 1, "the connection goes on")
    end)
  )

  test.it(
    "cancel ends what another task runs",
    with_db(function(db)
      local job = task.spawn(function()
        db:exec "SELECT pg_sleep(60)"
      end)
      local other <close> = server():connect()
      eventually(function()
        return other:value("SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1", db:pid())
      end)
      db:cancel()
      test.raises(function()
        job:join()
      end, { kind = "sql", code = "57014" })
      test.equal(db:value "SELECT 1", 1)
    end)
  )

  test.it("a server that dies under a query gives a clear error at once", function()
    local pg = lab.postgres { name = "mortal", archive = false }
    local db <close> = pg:connect()
    local job = task.spawn(function()
      db:exec "SELECT pg_sleep(60)"
    end)
    eventually(function()
      return pg:value "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"
    end)
    pg:kill()
    local e = test.raises(function()
      job:join()
    end, { kind = "sql" })
    test.ok(e.code == nil or e.code:match "^08" or e.code:match "^57P", e.code)
    test.ok(e.message:find("connection", 1, true), e.message)
    test.equal(db:is_closed(), true)
    test.raises(function()
      db:value "SELECT 1"
    end, { kind = "sql", match = "clos" })
    local refused = test.raises(function()
      pg:connect()
    end, { kind = "sql" })
    test.ok(refused.message:find(tostring(pg:endpoint().port), 1, true), refused.message)
  end)

  test.it("never show a password", function()
    local pg = server()
    local at = pg:endpoint()
    local secret = "s3cr3t%40pw"
    local address = ("postgres://postgres:%s@127.0.0.1:%d/postgres"):format(secret, at.port)
    local e = test.raises(function()
      sql.connect(address)
    end, { kind = "sql", code = "28P01" })
    for _, text in ipairs { tostring(e), e.message, e.detail or "", e.hint or "", json.encode(e) } do
      test.ok(not text:find("s3cr3t", 1, true), text)
    end
    local e2 = test.raises(function()
      sql.connect { host = "127.0.0.1", port = 1, user = "u", password = "s3cr3t" }
    end, { kind = "sql" })
    test.ok(not json.encode(e2):find("s3cr3t", 1, true))
    local db <close> = pg:connect()
    local real = fs.read(lab.info().folder .. "/password"):gsub("%s", "")
    test.ok(not tostring(db):find(real, 1, true), tostring(db))
    test.raises(function()
      sql.connect "postgres://u:s3cr3t@host:notaport/db"
    end)
  end)
end)

test.describe("pool", function()
  test.it("hands out at most max connections and waits for one to come back", function()
    local pg = server()
    local settings = pg:endpoint()
    settings.passfile = lab.info().folder .. "/pgpass"
    local pool <close> = sql.pool(settings, { max = 2 })
    local a, b = pool:get(), pool:get()
    local pids = { [a:pid()] = true, [b:pid()] = true }
    test.raises(function()
      task.with_timeout("50ms", pool.get, pool)
    end, { kind = "timeout" })
    local waiting = task.spawn(function()
      local c <close> = pool:get()
      return c:pid()
    end)
    timer.sleep "5ms"
    test.equal(waiting:done(), false)
    a:close()
    test.equal(pids[waiting:join()], true, "a connection is used again")
    b:close()
  end)

  test.it("gives back a connection without what was left open on it", function()
    local settings = server():endpoint()
    settings.passfile = lab.info().folder .. "/pgpass"
    local pool <close> = sql.pool(settings, { max = 1 })
    do
      local db <close> = pool:get()
      db:exec "BEGIN"
      db:exec "SET search_path = nowhere"
      pcall(db.exec, db, "SELECT 1/0")
    end
    local db <close> = pool:get()
    test.equal(db:value "SELECT count(*) > 0 FROM t", true)
  end)
end)
