-- The folders runs leave behind.

local host, internal = ...
local json = require "rpitr.json"
local lab = require "rpitr.lab"
local writers = require "rpitr.workload.writers"

local bundle = {}

--- The folder a run leaves behind, from which `rpitr verify` judges it: what was planned, what
--- happened, the clients' log, the WAL, the rows at the end and after each restore.
---@class rpitr.Bundle
---@field dir string
---@field package temporary? boolean  nobody asked for it: it goes when the run has passed
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
  local asked = dir
  local ours = not dir and not host.options.report
  if not dir then
    local state = lab.info().folder:match "^(.*)/[^/]+/[^/]+$"
    dir = host.options.report and host.options.report .. "/chaos" or state .. "/runs/" .. host.options.run_id
  end
  if host.fs_exists(dir .. "/schedule.json") then
    if not host.options.report or asked then
      internal.raise({
        kind = "arg",
        message = ("there is a run in %s already"):format(dir),
        hint = "give its bundle another folder; rpitr chaos resume DIR goes on with a run that was killed",
      }, 3)
    end
    host.bundle_remove(dir)
  end
  host.fs_mkdir(dir .. "/restores")
  return setmetatable({ dir = dir, temporary = ours }, Bundle)
end

--- Opens the folder of a run that was killed.
---@param dir string
---@return rpitr.Bundle
function bundle.open(dir)
  return setmetatable({ dir = dir }, Bundle)
end

--- Where one of its files is.
---@param name string
---@return string
function Bundle:path(name)
  return self.dir .. "/" .. name
end

--- Writes one of its files as JSON.
---@param name string
---@param value any
---@error io
function Bundle:write(name, value)
  host.bundle_write(self:path(name), json.encode(value, { pretty = true }) .. "\n")
end

--- A value that `write` wrote.
---@param name string  of the file
---@return table
---@error io, arg
function Bundle:read(name)
  return json.decode(host.fs_read(self:path(name)))
end

--- Takes away the last lines that were being written when rpitr was killed.
---@error io
function Bundle:mend()
  for _, name in ipairs { "events.jsonl", "samples.jsonl" } do
    local path = self:path(name)
    local text = host.fs_exists(path) and host.fs_read(path) or ""
    if text ~= "" and text:sub(-1) ~= "\n" then
      host.bundle_write(path, text:match "^(.*\n)" or "")
    end
  end
end

-- Microseconds of a time, for files.
function bundle.micros(time)
  return host.time_micros(time)
end

--- Appends a line to `events.jsonl`, stamped with this machine's clock.
---@param event table
---@error io
function Bundle:event(event)
  event.at_us = host.time_micros(host.time_now())
  host.fs_append(self:path "events.jsonl", json.encode(event) .. "\n")
end

--- Writes down the rows of the writers' tables on a node.
---@param node rpitr.Node
---@param name string  of the file
---@return integer  how many there were
---@error sql, io
function Bundle:rows(node, name)
  local db <close> = node:connect { dbname = writers.database }
  return host.copy_out_file(db.handle, ROWS, self:path(name))
end

--- Copies a folder of WAL: an archive, or what a receiver got.
---@param folder string
---@param name string  of the copy
---@error io
function Bundle:wal(folder, name)
  return host.bundle_archive(folder, self:path(name))
end

---@class rpitr.chaos.Draw
---@field target { kind: string, time_us?: integer, lsn?: string, xid?: integer, inclusive: boolean }
---@field why string

--- Draws targets from the WAL.
---@param name string  what they are for: other numbers, from the same seed
---@param count integer
---@param adversarial number  share that aims at places where recoveries go wrong
---@return rpitr.chaos.Draw[]
---@error wal, io
function Bundle:draw(name, count, adversarial)
  return json.decode(host.bundle_draw(self.dir, name, count, adversarial))
end

--- Judges the run; `verdict.json` holds the verdict, too.
---@return table verdict
---@return string text  for people
---@error wal, io
function Bundle:judge()
  local text, shown = host.bundle_judge(self.dir)
  host.fs_write(self:path "verdict.json", text .. "\n")
  return json.decode(text), shown
end

--- The lines of one of the files that have one JSON value a line.
---@param name string
---@return table[]
---@error io
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
