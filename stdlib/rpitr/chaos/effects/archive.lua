--- Faults of archiving: a file in the archive tells `rpitr archive-push` which push goes wrong, and how.

local PLANT = [[
rm -f "$1/.rpitr-fault.log"
printf '%s\n' "$2" >"$1/.rpitr-fault.new" && mv -f "$1/.rpitr-fault.new" "$1/.rpitr-fault"]]
local READ = [[cat "$1/.rpitr-fault.log" 2>/dev/null || :]]

-- How the file names each kind.
local MODES = {
  archive_full = "full",
  archive_fail = "fail",
  archive_hang = "hang",
  archive_lie = "lie",
  archive_partial = "partial",
}

-- What the log says of a push that went wrong.
local STRUCK = { failed = true, hung = true, lied = true, partial = true, full = true }

local push = {
  plan = function(_, _, node, undo)
    undo.node = node
    return { { ["do"] = "clear_push", node = node.name, archive = node.archive } }
  end,
  strike = function(_, fault, node)
    local line = ("%s %d %d %d"):format(MODES[fault.kind], fault.nth, fault.count, fault.bytes)
    node:exec { "sh", "-c", PLANT, "sh", node.archive, line }
  end,
  -- How many pushes were hit: asked before healing.
  fired = function(undo)
    local count = 0
    local log = undo.node:exec({ "sh", "-c", READ, "sh", undo.node.archive }).stdout
    for what in log:gmatch "%d+ %S+ (%a+)" do
      count = count + (STRUCK[what] and 1 or 0)
    end
    return count
  end,
  after = function(undo)
    undo.node:exec { "rm", "-f", undo.node.archive .. "/.rpitr-fault.log" }
  end,
}

---@type table<string, table>
local archive = {}
for kind in pairs(MODES) do
  archive[kind] = push
end

return archive
