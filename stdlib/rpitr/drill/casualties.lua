--- What an error that ended a drill does not say: which of the lab's servers is gone. A lost connection
--- names a socket; whoever reads it wants the node's name, and its last words.

local host, internal = ...

local casualties = {}

local LAST_LINES = 5

-- Connections that broke or were refused, by SQLSTATE; also inside what waited for one.
local function lost_connection(e)
  while internal.is_error(e) do
    if e.kind == "sql" and type(e.code) == "string" and (e.code:match "^08" or e.code:match "^57P0") then
      return true
    end
    e = e.cause
  end
  return false
end

local function last_lines(node)
  local lines = {}
  for line in node:logs():gmatch "[^\n]+" do
    lines[#lines + 1] = "  " .. line
  end
  return table.concat(lines, "\n", math.max(1, #lines - LAST_LINES + 1))
end

local function report_of(node)
  if node:status() ~= "crashed" then
    return nil
  end
  return ("node %s is not running: it crashed or was killed; its log ends:\n%s"):format(node.name, last_lines(node))
end

-- Adds to a lost connection what became of the crashed nodes. It does so once, for what ends a drill: scripts that
-- kill servers on purpose catch these errors as they are.
function casualties.tell(e)
  if not lost_connection(e) then
    return
  end
  local reports = {}
  for _, node in pairs(internal.lab_nodes and internal.lab_nodes() or {}) do
    -- A node that cannot be asked must not hide the error.
    local ok, report = pcall(report_of, node)
    if ok then
      reports[#reports + 1] = report
    end
  end
  if #reports == 0 then
    return
  end
  table.sort(reports)
  if e.detail then
    table.insert(reports, 1, e.detail)
  end
  e.detail = table.concat(reports, "\n")
  e.hint = host.options.keep == "never" and "--keep=failed keeps the lab to look at" or nil
end

return casualties
