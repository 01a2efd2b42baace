--- What the engine sends bit by bit, for the script that waits for it.

local host, internal = ...
local task = require "rpitr.task"

local output = {}

-- Shows the progress of a pull or a build, and keeps its last lines for the error if it fails.
function output.show(what, parts, timeout)
  local last = {}
  local ok, e = xpcall(task.with_timeout, internal.as_error, timeout, function()
    while true do
      local source, bytes = host.docker_next(parts)
      if not source then
        return
      end
      for line in bytes:gmatch "[^\r\n]+" do
        host.progress(what .. "  " .. line)
        last[#last + 1] = line
        if #last > 10 then
          table.remove(last, 1)
        end
      end
    end
  end)
  host.progress(nil)
  task.shield(host.docker_close, parts)
  if not ok then
    if e.code == "build_failed" then
      e.detail = (e.detail or "") .. "\n" .. table.concat(last, "\n")
    end
    error(e, 0)
  end
end

-- The lines of a stream of parts: returns a function that gives the next line, nil at the end. A last line
-- without an end counts as one.
function output.lines(next_part)
  local rest, ended = "", false
  return function()
    while true do
      local line, behind = rest:match "^([^\n]*)\n(.*)$"
      if line then
        rest = behind
        return (line:gsub("\r$", ""))
      elseif ended then
        line, rest = rest, ""
        return line ~= "" and line or nil
      end
      local bytes = next_part()
      if bytes then
        rest = rest .. bytes
      else
        ended = true
      end
    end
  end
end

return output
