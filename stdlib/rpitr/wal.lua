--- Write-ahead log files, read without a server: records, commits, gaps, damage, names.
--
-- `wal.open` takes a folder of WAL files, a node, or "lab:NODE" for a node of a lab that was kept. What it
-- returns streams: an archive of any size is read with constant memory, in a thread of its own.

local host, internal = ...
local args = require "rpitr.core.args"

local wal = {}

local Wal = { __name = "rpitr.Wal" }
Wal.__index = Wal

local DEFAULT_SIZE = 16 * 1024 ^ 2

--- Opens an archive for reading.
-- @param where string | node  a folder; a node; "lab:NODE" (the newest lab with such a node) or "lab:LAB/NODE"
-- @param options { timeline = integer? }  the timeline to follow; default: the newest there is
-- @return Wal; closable
-- @error arg (no such folder or lab), state (the node archives nothing)
-- @usage local w <close> = wal.open(pg); for c in w:commits() do print(c.lsn, c.xid, c.time) end
function wal.open(where, options)
  local opts = args.options("wal.open", options, { timeline = "integer?" })
  local self = setmetatable({ timeline_ = opts.timeline }, Wal)
  if type(where) == "table" and where.handle and where.name then
    if not where.archive then
      internal.raise({ kind = "state", message = ("%s does not archive its WAL"):format(where.name) }, 2)
    end
    self.folder, self.node = where.archive, where
  else
    args.check("wal.open", "where", where, "string")
    self.folder, self.source = host.wal_source(where)
  end
  return self
end

function Wal:__tostring()
  return "WAL in " .. self.folder
end

--- Closes it. Streams that were begun can still be read to their end.
function Wal:close()
  self.source, self.closed = nil, true
end

Wal.__close = Wal.close

local function open_folder(self)
  if self.closed then
    internal.raise({ kind = "state", message = "the WAL is closed" }, 3)
  end
  return self.folder
end

-- Ranges ---------------------------------------------------------------------------------------------

-- A bound is an LSN or a time. Positions bound what is read, times what is shown of it.
local function bound(name, key, value)
  if value == nil or host.is_lsn(value) then
    return value
  elseif host.is_time(value) then
    return nil, value
  end
  local text = args.check(name, "option " .. key, value, "string")
  if text:match "^%x+/%x+$" then
    return host.lsn_parse(text)
  end
  return nil, args.check(name, "option " .. key, text, "time")
end

local function positions(name, options)
  return args.options(name, options, { from = "lsn?", to = "lsn?" })
end

local function request(self, name, opts)
  local from, from_time = bound(name, "from", opts.from)
  local to, to_time = bound(name, "to", opts.to)
  return {
    folder = open_folder(self),
    timeline = self.timeline_,
    from = from,
    to = to,
    from_time = from_time,
    to_time = to_time,
    xid = opts.xid,
    table = opts.table,
    kind = opts.kind,
    rmgr = opts.rmgr,
    aborted = opts.aborted,
    harmless = opts.harmless,
    min_rows = opts.min_rows,
    base = opts.base,
  }
end

-- Streams --------------------------------------------------------------------------------------------

local Stream = { __name = "rpitr.WalStream" }
Stream.__index = Stream

local function stream(kind, wanted)
  local made = setmetatable({ handle = host.wal_stream(kind, wanted), batch = {}, at = 0 }, Stream)
  return made, nil, nil, made
end

function Stream:__call()
  if not self.batch then
    return nil
  end
  self.at = self.at + 1
  if not self.batch[self.at] then
    self.batch, self.at = host.wal_stream_next(self.handle), 1
  end
  return self.batch and self.batch[self.at]
end

function Stream:close()
  self.batch = nil
  host.wal_stream_close(self.handle)
end

Stream.__close = Stream.close

-- A misspelt kind would find nothing, which reads like good news.
local function check_kind(name, kind)
  if kind ~= nil then
    args.choice(name, "option kind", kind, host.wal_kinds())
  end
end

--- Transactions that committed, in WAL order: { xid, lsn, end_lsn, first_lsn, time, timeline, committed, prepared, gid,
-- subtransactions, tables = { ["public.orders"] = { inserted, updated, deleted } }, catalogs = { inserted ... },
-- destroyed = { { kind, names } } }. Work of subtransactions is merged, what was rolled back is left out. Raises when the
-- WAL is damaged, after what lies before the damage.
-- @param options { table = string?, kind = string?, xid = integer?, from = lsn | time, to = lsn | time, aborted = false,
--   base = string?, min_rows = 1000 }  `table`: with or without schema; `kind`: "insert", or one that `find` knows; `to` as
--   an LSN is exclusive; `xid` also finds the transaction a subtransaction belongs to; `aborted`: those, too; `base`: the
--   folder of a base backup to take names of older tables from
-- @return an iterator for `for`; breaking off early is cheap
-- @error wal  damage or a gap, with file and position
-- @usage for c in w:commits { table = "orders" } do print(c.lsn, c.xid, c.time) end
function Wal:commits(options)
  local opts = args.options("wal:commits", options, {
    table = "string?",
    kind = "string?",
    from = "any?",
    to = "any?",
    xid = "integer?",
    aborted = { "boolean", false },
    base = "string?",
    min_rows = "integer?",
  })
  check_kind("wal:commits", opts.kind)
  return stream("commits", request(self, "wal:commits", opts))
end

--- What destroyed data, oldest first, each with the recovery target just before it. An incident is { kind, names, xid, lsn,
-- end_lsn, first_lsn, time, timeline, database, schemas, relations, rows, cascade, target, alternatives, backup, last_kept,
-- first_lost, commits_kept, commits_lost, commits_during, notes, harmless }. `kind`: truncate, drop_table, drop_index,
-- drop_matview, drop_sequence, drop_schema, drop_database, drop_other, delete, update; with `harmless` also rewrite, rebuild,
-- move, ddl. `target` is what `pitr.restore { to = }` takes; `alternatives` has { xid, time, pause_lsn } where they are exact.
-- @param options { kind = string?, table = string?, xid = integer?, from = lsn | time, to = lsn | time, min_rows = 1000,
--   harmless = false, base = string? }  `min_rows`: from how many rows on a DELETE or UPDATE counts
-- @return list
-- @error wal  damage or a gap
-- @usage local found = w:find { kind = "truncate", table = "products" }
function Wal:find(options)
  local opts = args.options("wal:find", options, {
    kind = "string?",
    table = "string?",
    xid = "integer?",
    from = "any?",
    to = "any?",
    min_rows = "integer?",
    harmless = { "boolean", false },
    base = "string?",
  })
  check_kind("wal:find", opts.kind)
  return host.wal_find(request(self, "wal:find", opts))
end

--- Every record: { lsn, end_lsn, prev, timeline, xid, rmgr, info, bytes }, as `pg_waldump` lists them.
-- @param options { rmgr = "Heap"?, from = lsn?, to = lsn?, xid = integer? }  `to` is exclusive
-- @return an iterator for `for`
-- @error wal  damage or a gap, with file and position
-- @usage local n = 0; for r in w:records { rmgr = "Transaction" } do n = n + r.bytes end
function Wal:records(options)
  local opts = args.options("wal:records", options, { rmgr = "string?", from = "lsn?", to = "lsn?", xid = "integer?" })
  return stream("records", request(self, "wal:records", opts))
end

-- Whole looks ----------------------------------------------------------------------------------------

--- Records and bytes of each resource manager: { managers = { Heap = { records, bytes, image_bytes } ... },
-- total, first, last }. `bytes` does not count page images.
-- @param options { from = lsn?, to = lsn? }
-- @error wal  damage or a gap
-- @usage print(w:stats().total.records)
function Wal:stats(options)
  local opts = positions("wal:stats", options)
  return host.wal_statistics(open_folder(self), self.timeline_, opts.from, opts.to)
end

--- What is missing, judged along the history of each timeline: a list of { timeline, first, last, segments,
-- from, to }; `first` and `last` are file names. Looks at names only.
-- @usage assert(#w:gaps() == 0)
function Wal:gaps()
  return host.wal_gaps(open_folder(self))
end

--- Checks every page and record of every timeline, with checksums: a list of { kind, file, lsn, reason },
-- empty when all is well. `kind`: missing, empty, truncated, zero_filled, corrupt, foreign, misnamed,
-- missing_history, bad_history, unreadable.
-- @param options { from = lsn?, to = lsn? }
-- @usage for _, f in ipairs(w:verify()) do print(f.kind, f.file, f.lsn, f.reason) end
function Wal:verify(options)
  local opts = positions("wal:verify", options)
  return host.wal_verify(open_folder(self), opts.from, opts.to)
end

--- What happened, in WAL order: a list of { lsn, time, what, detail }, `what` being "new timeline", "base backup",
-- "restore point", "checkpoint", "first commit", ... The list also has `commits` (how many), `chain` (the timelines that
-- were followed) and `finish`: { lsn, damage, reason, file }, where and why reading ended.
-- @param options { from = lsn?, to = lsn? }
-- @usage for _, e in ipairs(w:timeline()) do print(e.lsn, e.what, e.detail) end
function Wal:timeline(options)
  local opts = positions("wal:timeline", options)
  return host.wal_story(open_folder(self), self.timeline_, opts.from, opts.to)
end

-- Names ----------------------------------------------------------------------------------------------

--- The name of the segment that holds a position.
-- @param lsn lsn
-- @param timeline integer
-- @param options { segment_size = "16MB" }
-- @usage assert(wal.name("0/3000148", 1) == "000000010000000000000003")
function wal.name(lsn, timeline, options)
  local opts = args.options("wal.name", options, { segment_size = { "size", DEFAULT_SIZE } })
  local position = args.check("wal.name", "lsn", lsn, "lsn")
  timeline = args.check("wal.name", "timeline", timeline, "integer")
  return host.wal_name(position, timeline, math.floor(opts.segment_size))
end

--- The segment a position lies in.
-- @param lsn lsn
-- @param options { segment_size = "16MB" }
-- @return number, offset in bytes inside it, and the LSN it starts at
-- @usage local number, offset, start = wal.segment_of "0/3000148"; assert(number == 3 and offset == 0x148)
function wal.segment_of(lsn, options)
  local opts = args.options("wal.segment_of", options, { segment_size = { "size", DEFAULT_SIZE } })
  return host.wal_segment_of(args.check("wal.segment_of", "lsn", lsn, "lsn"), math.floor(opts.segment_size))
end

return wal
