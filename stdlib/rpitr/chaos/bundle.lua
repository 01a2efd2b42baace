--- The folder a run leaves behind, from which `rpitr verify` judges it: what was planned, what
--- happened, the clients' log, the WAL, the rows at the end and after each restore.

local host = ...
local json = require "rpitr.json"
local lab = require "rpitr.lab"
local writers = require "rpitr.workload.writers"

local bundle = {}

local Bundle = { __name = "rpitr.Bundle" }
Bundle.__index = Bundle

-- One line an operation: its own row, how many rows of it the second table holds, a hash of all.
local ROWS = [[
COPY (
  SELECT coalesce(o.op, e.op), o.xid, o.items, coalesce(e.found, 0),
         left(encode(sha256(convert_to(o.op || '|' || o.note || coalesce(e.text, ''), 'UTF8')), 'hex'), 32)
  FROM operations o
  FULL JOIN (
    SELECT op, count(*) AS found, string_agg('|' || n || ':' || payload, '' ORDER BY n) AS text
    FROM entries GROUP BY op
  ) e ON e.op = o.op
  ORDER BY 1
) TO STDOUT]]

-- Creates the folder of a run. Without `dir` it lies below the report's folder, or else in the state
-- folder, from where it is removed once the run has passed.
function bundle.new(dir)
  local ours = not dir and not host.options.report
  if not dir then
    local state = lab.info().folder:match "^(.*)/[^/]+/[^/]+$"
    dir = host.options.report and host.options.report .. "/chaos" or state .. "/runs/" .. host.options.run_id
  end
  host.fs_mkdir(dir .. "/restores")
  return setmetatable({ dir = dir, temporary = ours }, Bundle)
end

function Bundle:path(name)
  return self.dir .. "/" .. name
end

function Bundle:write(name, value)
  host.fs_write(self:path(name), json.encode(value, { pretty = true }) .. "\n")
end

-- Microseconds of a time, for files.
function bundle.micros(time)
  return host.time_micros(time)
end

--- Appends a line to `events.jsonl`, stamped with this machine's clock.
function Bundle:event(event)
  event.at_us = host.time_micros(host.time_now())
  host.fs_append(self:path "events.jsonl", json.encode(event) .. "\n")
end

--- Writes down the rows of the writers' tables on a node.
function Bundle:rows(node, name)
  local db <close> = node:connect { dbname = writers.database }
  return host.copy_out_file(db.handle, ROWS, self:path(name))
end

--- Copies the WAL a node archived.
function Bundle:archive(node)
  return host.bundle_archive(node.archive, self:path "archive")
end

--- Draws targets: a list of { target = { kind, time_us | lsn | xid, inclusive }, why }.
function Bundle:draw(name, count, adversarial)
  return json.decode(host.bundle_draw(self.dir, name, count, adversarial))
end

--- Judges the run. Returns the verdict as a table and as text; `verdict.json` holds it, too.
function Bundle:judge()
  local text, shown = host.bundle_judge(self.dir)
  host.fs_write(self:path "verdict.json", text .. "\n")
  return json.decode(text), shown
end

--- The lines of one of the files that have one JSON value a line.
function Bundle:lines(name)
  local list = json.array {}
  for line in host.fs_read(self:path(name)):gmatch "[^\n]+" do
    list[#list + 1] = json.decode(line)
  end
  return list
end

--- Removes a folder nobody asked for.
function Bundle:discard()
  if self.temporary then
    host.bundle_remove(self.dir)
  end
end

return bundle
