--- NAME: lose a table, recover to the instant before, prove that nothing else was lost.
--
-- What a drill does, step by step; `rpitr NAME.lua` runs it, `rpitr help NAME.lua` shows its arguments,
-- `rpitr check NAME.lua` finds mistakes in it without starting anything. The first line above is what
-- other people see of it: say there what the drill shows.

local ORDERS = "SELECT * FROM orders ORDER BY id"

return drill "NAME" {
  summary = "Lose a table, recover to the instant before, prove that nothing else was lost.",

  -- Each argument is { default, "help" } and becomes a flag: --rows 5000. The type is the default's.
  args = {
    rows = { 1000, "rows that are there when the backup is taken" },
    version = { 0, "PostgreSQL major version; 0 is the newest installed" },
  },

  -- The whole drill has to be over by then; what it started is cleaned up either way.
  budget = "5m",

  -- What must hold at the end. The numbers come from d:measure and d:record below; one that was never
  -- recorded counts as not met, because a check that could not run is no pass.
  expect = { "rto < 60s", "rows_missing == 0", "rows_extra == 0" },

  run = function(d, arg)
    -- A server of the drill's own, with an archive of its WAL. `<close>` stops and removes it when the
    -- drill ends, also when it fails; --keep=failed leaves it up to look at.
    local pg <close> = lab.postgres {
      name = "primary",
      version = arg.version > 0 and arg.version or nil,
    }
    local db <close> = pg:connect()

    d:step("load, and take a base backup", function()
      db:exec "CREATE TABLE orders (id int PRIMARY KEY, total numeric NOT NULL)"
      db:exec("INSERT INTO orders SELECT n, n * 1.5 FROM generate_series(1, $1) n", arg.rows)
      local backup = pitr.backup(pg, { label = "base" })
      d:say("Backup %s: %s, complete at %s.", backup.label, report.bytes(backup.bytes), backup.stop_lsn)
    end)

    -- Business goes on after the backup: these rows are in the WAL only.
    d:step("more orders come in", function()
      db:exec("INSERT INTO orders SELECT n, n * 1.5 FROM generate_series($1 + 1, $1 + 100) n", arg.rows)
    end)
    local before = db:query(ORDERS)

    local accident = d:step("the accident: DROP TABLE orders", function()
      local xid = db:tx(function()
        db:exec "DROP TABLE orders"
        return db:value "SELECT pg_current_xact_id()"
      end)
      -- The WAL up to here has to be in the archive before anything can be restored from it.
      pg:flush_archive()
      -- Where that transaction committed. Who does not know its number asks pitr.incidents(pg).
      return pitr.commit_of(pg, xid)
    end)

    -- Beside the damaged server, which is not touched. pitr.before is the instant before that commit.
    local restored <close> = d:step("recover to the instant before", function()
      local node = d:measure("rto", pitr.restore, pg, { to = pitr.before(accident) })
      d:say(pitr.describe(node))
      return node
    end)

    d:step("verify: every row, not only their number", function()
      local diff = verify.same_rows(before, restored, ORDERS, { key = "id", dbname = "postgres" })
      d:record { rows_missing = #diff.missing + #diff.changed, rows_extra = #diff.extra }
      d:check("the recovered server is on a new timeline", restored:timeline() > pg:timeline())
      d:check("it takes writes", restored:value "SELECT NOT pg_is_in_recovery()")
    end)
  end,
}
