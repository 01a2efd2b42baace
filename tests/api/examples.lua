-- Runs examples of the comments one after another. They may use `pg`, `db` and `d` without making them; what one leaves
-- behind is put right before the next. The list comes as JSON: { name, file, line, code }.

local pg, db

local function fresh()
  for name, node in pairs(lab.nodes()) do
    if node ~= pg and not node.removed then
      pcall(node.remove, node)
    end
  end
  if not pg then
    pg = lab.postgres { name = "pg" }
  end
  if pg:status() == "paused" then
    pg:resume()
  end
  if pg:status() ~= "running" then
    pg:start()
  end
  -- Standbys that are gone leave their slots.
  pg:query "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active"
  local usable = db and pcall(db.exec, db, "ROLLBACK")
  if not usable then
    db = pg:connect()
  end
  db:notices()
end

local function run(d, example)
  -- Errors point at the comment: lines before it are left empty.
  local chunk = ("\n"):rep(example.line - 1) .. example.code
  local env = setmetatable({ pg = pg, db = db, d = d }, { __index = _G })
  local f, message = load(chunk, "@stdlib/" .. example.file, "t", env)
  if not f then
    error(message, 0)
  end
  task.with_timeout("60s", f)
end

return drill "examples" {
  summary = "Every example of a comment.",
  args = { list = { "", "the examples, a JSON file" }, kind = { "offline", "lab: with servers" } },
  run = function(d, given)
    local failed = 0
    for _, example in ipairs(json.decode(fs.read(given.list))) do
      local started = timer.now()
      local ok, e = pcall(function()
        if given.kind == "lab" then
          fresh()
        end
        run(d, example)
      end)
      local took = ("%.2fs"):format(timer.now() - started)
      print("EXAMPLE", ok and "ok" or "failed", took, ("%s:%d %s"):format(example.file, example.line, example.name))
      if not ok then
        failed = failed + 1
        print(tostring(e), err.is(e) and e.detail or "", err.is(e) and e.hint or "")
      end
    end
    d:check("every example ran", failed == 0, failed .. " failed")
  end,
}
