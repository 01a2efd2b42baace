--- NAME: tests in Lua. `rpitr test NAME_test.lua` runs them, `--only TEXT` some of them.
--
-- A test passes when it returns. Tests in one file share nothing but what you make outside of them; what
-- a test starts is gone when it ends, and a task it leaves behind makes it fail.

-- One server for all tests of the file, made when the first of them asks.
local server
local function primary()
  server = server or lab.postgres { name = "primary" }
  return server
end

test.describe("a backup", function()
  test.it("brings back what was there when it was taken", function()
    local pg = primary()
    local db <close> = pg:connect()
    db:exec "CREATE TABLE kept (id int PRIMARY KEY)"
    db:exec "INSERT INTO kept SELECT generate_series(1, 10)"
    local backup = pitr.backup(pg, { label = "one" })
    test.equal(backup.label, "one")

    local restored <close> = pitr.restore(pg, { to = { immediate = true } })
    test.equal(restored:value "SELECT count(*) FROM kept", 10)
  end)

  test.it("is refused for a target nobody can reach", function()
    -- What is expected to fail has to fail, and in the right way.
    local e = test.raises(function()
      pitr.restore(primary(), { to = { name = "no such restore point" } })
    end)
    test.ok(e.hint or e.detail, "the error tells what to do: " .. e.message)
  end)
end)

test.describe("plain values", function()
  test.it("compare as values, not as text", function()
    test.ok(lsn "0/9000000" < lsn "0/10000000")
    test.equal(lsn "0/3000148" - lsn "0/3000028", 288)
  end)
end)
