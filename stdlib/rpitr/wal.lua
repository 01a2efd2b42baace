--- Write-ahead log files, read without a server: records, commits, gaps, damage, names.
---
--- `wal.open` takes a folder of WAL files, a node, or "lab:NODE" for a node of a lab that was kept. What it
--- returns streams: an archive of any size is read with constant memory, in a thread of its own.
---@class rpitr.wal
local wal = {}

local host, internal = ...
local args = require "rpitr.core.args"
local stream = require "rpitr.wal.stream"

--- An archive that was opened; closable.
---@class rpitr.Wal
---@field folder string  where the files are
---@field node? rpitr.Node  whose archive it is
---@field package timeline_? integer
---@field package source? userdata
---@field package closed? boolean
local Wal = { __name = "rpitr.Wal" }
Wal.__index = Wal

local DEFAULT_SIZE = 16 * 1024 ^ 2

---@class rpitr.wal.OpenOptions
---@field timeline? integer  the one to follow; default: the newest there is

--- Opens an archive for reading.
---
--- ```lua
--- pg:flush_archive()
--- local archive <close> = wal.open(pg)
--- for commit in archive:commits() do
---   print(commit.lsn, commit.xid, commit.time)
--- end
--- ```
---@param where string|rpitr.Node  a folder; a node; "lab:NODE" (the newest lab with such a node) or "lab:LAB/NODE"
---@param options? rpitr.wal.OpenOptions
---@return rpitr.Wal
---@error arg  no such folder or lab
---@error state  the node archives nothing
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

-- A misspelt kind would find nothing, which reads like good news.
local function check_kind(name, kind)
  if kind ~= nil then
    args.choice(name, "option kind", kind, host.wal_kinds())
  end
end

--- A commit record.
---@class rpitr.wal.Commit
---@field xid integer
---@field lsn rpitr.Lsn  where its record begins
---@field end_lsn rpitr.Lsn  where it ends
---@field time rpitr.Time
---@field timeline integer

---@class rpitr.wal.Rows
---@field inserted integer
---@field updated integer
---@field deleted integer

--- A transaction that ended, and what it did. Work of subtransactions is merged, what was rolled back is left out.
---@class rpitr.wal.Transaction: rpitr.wal.Commit
---@field first_lsn rpitr.Lsn  its first record
---@field committed boolean  false: it was rolled back
---@field prepared boolean  whether PREPARE TRANSACTION came first
---@field gid? string  the name it was prepared under
---@field subtransactions integer[]  their ids
---@field tables table<string, rpitr.wal.Rows>  rows of each table, as "public.orders"
---@field catalogs rpitr.wal.Rows  rows of the system catalogs
---@field destroyed { kind: rpitr.wal.IncidentKind, names: string[] }[]

---@class rpitr.wal.CommitsOptions
---@field table? string  only those that touched it, with or without schema
---@field kind? rpitr.wal.IncidentKind|"insert"  only those that did this
---@field xid? integer  only this one; also finds the transaction a subtransaction belongs to
---@field from? rpitr.Lsn|rpitr.Time|string  from here on; default: all there is
---@field to? rpitr.Lsn|rpitr.Time|string  up to here; an LSN is exclusive
---@field aborted? boolean  (default false) those that were rolled back, too
---@field base? string  folder of a base backup to take names of older tables from
---@field min_rows? integer  from how many rows on a DELETE or UPDATE counts as destruction; default 1000

--- Transactions that committed, in WAL order. Raises when the WAL is damaged, after what lies before the damage.
---
--- ```lua
--- db:exec "CREATE TABLE example_commits AS SELECT generate_series(1, 3) AS id"
--- pg:flush_archive()
--- local archive <close> = wal.open(pg)
--- for commit in archive:commits { table = "example_commits" } do
---   print(commit.lsn, commit.tables["public.example_commits"].inserted)
--- end
--- ```
---@param options? rpitr.wal.CommitsOptions
---@return fun(): rpitr.wal.Transaction? commits  for `for`; breaking off early is cheap
---@return nil
---@return nil
---@return rpitr.WalStream
---@error wal  damage or a gap, with file and position
---@error state  it is closed
---@error arg
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

--- What a transaction destroyed; with the option `harmless` also "rewrite", "rebuild", "move" and "ddl", after which
--- no data is missing.
---@alias rpitr.wal.IncidentKind "truncate"|"drop_table"|"drop_index"|"drop_matview"|"drop_sequence"|"drop_schema"|"drop_database"|"drop_other"|"delete"|"update"|"rewrite"|"rebuild"|"move"|"ddl"

--- A relation an incident hit. TRUNCATE and DROP count no rows.
---@class rpitr.wal.Lost: rpitr.wal.Rows
---@field name string
---@field oid? integer
---@field kind? string  "table", "index", "sequence" ...
---@field unlogged boolean  its rows are in no WAL and in no base backup

--- One kind of destruction by one transaction; `xid`, `time`, `lsn` and the rest are of its commit.
---@class rpitr.wal.Incident: rpitr.wal.Commit
---@field kind rpitr.wal.IncidentKind
---@field harmless boolean  no data is missing after it
---@field names string[]  of the relations with their schemas, or of the database
---@field database? string
---@field schemas string[]  that were dropped with it
---@field relations rpitr.wal.Lost[]
---@field rows rpitr.wal.Rows  over all relations
---@field cascade? boolean  TRUNCATE ... CASCADE; known at wal_level = logical only
---@field first_lsn rpitr.Lsn  the transaction's first record
---@field target rpitr.pitr.TargetOptions  just before it: what `pitr.restore { to = }` takes
---@field alternatives { xid?: integer, time?: rpitr.Time, pause_lsn?: rpitr.Lsn }  the same target said otherwise, where that is exact; `pause_lsn`: an earlier one that leaves the lost relation readable while recovery is paused
---@field backup? { start_lsn: rpitr.Lsn, stop_lsn: rpitr.Lsn, timeline: integer }  the newest base backup in this WAL that can reach the target
---@field last_kept? rpitr.wal.Commit  the last commit the target keeps
---@field first_lost? rpitr.wal.Commit  the first after the incident, which the target gives up
---@field commits_kept integer  before the target, since the WAL that was read begins
---@field commits_lost integer  behind the incident, up to the end of the WAL
---@field commits_during integer  of others, between its first record and its end
---@field notes string[]  what else is worth knowing, in sentences

---@class rpitr.wal.FindOptions
---@field kind? rpitr.wal.IncidentKind  only these
---@field table? string  only those of this table, with or without schema
---@field xid? integer  only those of this transaction
---@field from? rpitr.Lsn|rpitr.Time|string  from here on; default: all there is
---@field to? rpitr.Lsn|rpitr.Time|string  up to here; an LSN is exclusive
---@field min_rows? integer  from how many rows on a DELETE or UPDATE counts; default 1000
---@field harmless? boolean  (default false) what lost no data, too
---@field base? string  folder of a base backup to take names of older tables from

--- What destroyed data, oldest first, each with the recovery target just before it.
---
--- ```lua
--- db:exec "CREATE TABLE example_find AS SELECT 1 AS id"
--- db:exec "TRUNCATE example_find"
--- pg:flush_archive()
--- local archive <close> = wal.open(pg)
--- local found = archive:find { kind = "truncate", table = "example_find" }
--- print(found[1].target.lsn, found[1].commits_lost)
--- ```
---@param options? rpitr.wal.FindOptions
---@return rpitr.wal.Incident[]
---@error wal  damage or a gap
---@error state  it is closed
---@error arg
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

---@class rpitr.wal.Record
---@field lsn rpitr.Lsn
---@field end_lsn rpitr.Lsn
---@field prev rpitr.Lsn  where the record before it begins
---@field timeline integer
---@field xid integer  0 when it belongs to no transaction
---@field rmgr string  its resource manager: "Heap", "Transaction" ...
---@field info integer
---@field bytes integer

---@class rpitr.wal.RecordsOptions
---@field rmgr? string  only those of this resource manager, in letters of any case
---@field from? rpitr.Lsn|string
---@field to? rpitr.Lsn|string  exclusive
---@field xid? integer  only those of this transaction

--- Every record, as `pg_waldump` lists them.
---
--- ```lua
--- pg:flush_archive()
--- local archive <close> = wal.open(pg)
--- local bytes = 0
--- for record in archive:records { rmgr = "Transaction" } do
---   bytes = bytes + record.bytes
--- end
--- print(bytes)
--- ```
---@param options? rpitr.wal.RecordsOptions
---@return fun(): rpitr.wal.Record? records  for `for`; breaking off early is cheap
---@return nil
---@return nil
---@return rpitr.WalStream
---@error wal  damage or a gap, with file and position
---@error state  it is closed
---@error arg
function Wal:records(options)
  local opts = args.options("wal:records", options, { rmgr = "string?", from = "lsn?", to = "lsn?", xid = "integer?" })
  return stream("records", request(self, "wal:records", opts))
end

-- Whole looks ----------------------------------------------------------------------------------------

---@class rpitr.wal.Count
---@field records integer
---@field bytes integer  without page images
---@field image_bytes integer  of page images

---@class rpitr.wal.Stats
---@field managers table<string, rpitr.wal.Count>  by resource manager
---@field total rpitr.wal.Count
---@field first? rpitr.Lsn  the first record
---@field last? rpitr.Lsn  the end of the last

---@class rpitr.wal.RangeOptions
---@field from? rpitr.Lsn|string
---@field to? rpitr.Lsn|string  exclusive

--- Records and bytes of each resource manager.
---
--- ```lua
--- pg:flush_archive()
--- local archive <close> = wal.open(pg)
--- print(archive:stats().total.records)
--- ```
---@param options? rpitr.wal.RangeOptions
---@return rpitr.wal.Stats
---@error wal  damage or a gap
---@error state  it is closed
---@error arg
function Wal:stats(options)
  local opts = positions("wal:stats", options)
  return host.wal_statistics(open_folder(self), self.timeline_, opts.from, opts.to)
end

---@class rpitr.wal.Gap
---@field timeline integer
---@field first string  file name of the first segment that is missing
---@field last string  and of the last
---@field segments integer
---@field from rpitr.Lsn
---@field to rpitr.Lsn

--- What is missing, judged along the history of each timeline. Looks at names only.
---
--- ```lua
--- pg:flush_archive()
--- local archive <close> = wal.open(pg)
--- assert(#archive:gaps() == 0)
--- ```
---@return rpitr.wal.Gap[]
---@error wal  no WAL there
---@error state  it is closed
function Wal:gaps()
  return host.wal_gaps(open_folder(self))
end

---@class rpitr.wal.Finding
---@field kind "missing"|"empty"|"truncated"|"zero_filled"|"corrupt"|"foreign"|"misnamed"|"missing_history"|"bad_history"|"unreadable"
---@field file string
---@field lsn? rpitr.Lsn  the first position that cannot be read
---@field reason string

--- Checks every page and record of every timeline, with checksums; the list is empty when all is well.
---
--- ```lua
--- pg:flush_archive()
--- local archive <close> = wal.open(pg)
--- for _, finding in ipairs(archive:verify()) do
---   print(finding.kind, finding.file, finding.lsn, finding.reason)
--- end
--- ```
---@param options? rpitr.wal.RangeOptions
---@return rpitr.wal.Finding[]
---@error wal  no WAL there
---@error state  it is closed
---@error arg
function Wal:verify(options)
  local opts = positions("wal:verify", options)
  return host.wal_verify(open_folder(self), opts.from, opts.to)
end

---@class rpitr.wal.Event
---@field lsn rpitr.Lsn
---@field time? rpitr.Time
---@field what string  "new timeline", "base backup", "restore point", "checkpoint", "first commit" ...
---@field detail string

---@class rpitr.wal.Story
---@field [integer] rpitr.wal.Event
---@field commits integer  how many
---@field chain integer[]  the timelines that were followed
---@field finish? { lsn: rpitr.Lsn, damage: boolean, reason: string, file: string }  where and why reading ended

--- What happened, in WAL order.
---
--- ```lua
--- pg:flush_archive()
--- local archive <close> = wal.open(pg)
--- for _, event in ipairs(archive:timeline()) do
---   print(event.lsn, event.what, event.detail)
--- end
--- ```
---@param options? rpitr.wal.RangeOptions
---@return rpitr.wal.Story
---@error wal  no WAL there
---@error state  it is closed
---@error arg
function Wal:timeline(options)
  local opts = positions("wal:timeline", options)
  return host.wal_story(open_folder(self), self.timeline_, opts.from, opts.to)
end

-- Names ----------------------------------------------------------------------------------------------

---@class rpitr.wal.NameOptions
---@field segment_size? rpitr.Size  (default "16MB") a power of two from 1 MB to 1 GB

--- The name of the segment that holds a position.
---
--- ```lua
--- assert(wal.name("0/3000148", 1) == "000000010000000000000003")
--- ```
---@param lsn rpitr.Lsn|string
---@param timeline integer
---@param options? rpitr.wal.NameOptions
---@return string
---@error arg
function wal.name(lsn, timeline, options)
  local opts = args.options("wal.name", options, { segment_size = { "size", DEFAULT_SIZE } })
  local position = args.check("wal.name", "lsn", lsn, "lsn")
  timeline = args.check("wal.name", "timeline", timeline, "integer")
  return host.wal_name(position, timeline, math.floor(opts.segment_size))
end

--- The segment a position lies in.
---
--- ```lua
--- local number, offset, start = wal.segment_of "0/3000148"
--- assert(number == 3 and offset == 0x148 and start == lsn "0/3000000")
--- ```
---@param lsn rpitr.Lsn|string
---@param options? rpitr.wal.NameOptions
---@return integer number
---@return integer offset  bytes from its beginning
---@return rpitr.Lsn start  where it begins
---@error arg
function wal.segment_of(lsn, options)
  local opts = args.options("wal.segment_of", options, { segment_size = { "size", DEFAULT_SIZE } })
  local position = args.check("wal.segment_of", "lsn", lsn, "lsn")
  local number, offset, start = host.wal_segment_of(position, math.floor(opts.segment_size))
  return number, offset, start
end

return wal
