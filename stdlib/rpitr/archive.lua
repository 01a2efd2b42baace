--- Captured WAL: what a receiver has got, whether it is whole, and the newest of it for a restore.
---
--- `archive.watch` keeps a catalogue (an SQLite file) of a receiver's folder while a script goes on, as `rpitr wal watch`
--- does for a machine: each segment with size, positions, checksum and state, gaps along the timelines, names that do not
--- belong, growth and lag. `archive.snapshot` makes the segment that is still being received usable.
---@class rpitr.archive
local archive = {}

local host, internal = ...
local args = require "rpitr.core.args"
local task = require "rpitr.task"
local timer = require "rpitr.timer"

-- A receiver, or a folder by its path.
local function source_of(name, source)
  if type(source) == "table" and source.need_receiver then
    source:need_receiver(name)
    return source.data, ("%s/%s.catalogue.sqlite"):format(source.lab.info.folder, source.name)
  end
  local folder = args.check(name, "the source", source, "string")
  return folder, folder .. "/.rpitr-catalogue.sqlite"
end

-- Catalogues -----------------------------------------------------------------------------------------

--- A segment as the catalogue knows it.
---@class rpitr.archive.Segment
---@field name string
---@field timeline integer
---@field start_lsn rpitr.Lsn
---@field end_lsn rpitr.Lsn
---@field size integer  bytes
---@field sha256? string
---@field state "partial"|"complete"|"verified"|"damaged"|"removed"
---@field code? string  what is wrong with a damaged one, in a word
---@field reason? string  and in a sentence
---@field valid_to? rpitr.Lsn  of a partial one: the end of its last good record
---@field first_seen rpitr.Time
---@field completed_at? rpitr.Time
---@field verified_at? rpitr.Time

---@class rpitr.archive.Problem
---@field kind "gap"|"removed"|"damaged"|"invalid_name"|"bad_history"|"missing_history"
---@field name string  of the file
---@field lsn? rpitr.Lsn
---@field reason string
---@field first_seen rpitr.Time

---@class rpitr.archive.Totals
---@field segments integer
---@field bytes integer
---@field verified integer  segments
---@field damaged integer  segments
---@field partial integer  segments
---@field received? rpitr.Lsn  how far the WAL goes

--- What is known of a folder of WAL.
---@class rpitr.Catalogue
---@field folder string
---@field file string  the catalogue itself, an SQLite file
---@field package handle userdata
local Catalogue = { __name = "rpitr.Catalogue" }
Catalogue.__index = Catalogue

function Catalogue:__tostring()
  return "catalogue of " .. self.folder
end

---@class rpitr.archive.CatalogueOptions
---@field file? string  default: beside a receiver's folder, else inside the folder

--- Opens the catalogue of a receiver's folder, or of any folder with WAL; makes it when there is none.
---
--- ```lua
--- local receiver <close> = lab.receiver(pg, { name = "example_catalogue" })
--- receiver:complete_segment()
--- print(archive.catalogue(receiver):scan().totals.segments)
--- ```
---@param source rpitr.Node|string  a receiver, or the path of a folder
---@param options? rpitr.archive.CatalogueOptions
---@return rpitr.Catalogue
---@error archive  the file is no catalogue
---@error arg
function archive.catalogue(source, options)
  local opts = args.options("archive.catalogue", options, { file = "string?" })
  local folder, usual = source_of("archive.catalogue", source)
  local file = opts.file or usual
  return setmetatable({ handle = host.catalogue_open(file), folder = folder, file = file }, Catalogue)
end

---@class rpitr.archive.Scan
---@field changes rpitr.archive.Segment[]  segments in a new state
---@field problems rpitr.archive.Problem[]  all there are
---@field appeared rpitr.archive.Problem[]  those that are new
---@field gone rpitr.archive.Problem[]  those that no longer are
---@field totals rpitr.archive.Totals
---@field lag? rpitr.lab.ReceiverLag  of a watch: what the primary says

--- Looks at the folder now: reads every segment that is new or has changed, record by record.
---@return rpitr.archive.Scan
---@error archive  the folder cannot be read
function Catalogue:scan()
  return host.catalogue_scan(self.handle, self.folder)
end

--- Every segment ever seen, by timeline and position.
---@return rpitr.archive.Segment[]
function Catalogue:list()
  return host.catalogue_list(self.handle)
end

--- What is wrong.
---@return rpitr.archive.Problem[]
function Catalogue:problems()
  return host.catalogue_problems(self.handle)
end

--- The gaps among the problems: segments that never came, and those that went.
---@return rpitr.archive.Problem[]
function Catalogue:gaps()
  local gaps = {}
  for _, problem in ipairs(self:problems()) do
    if problem.kind == "gap" or problem.kind == "removed" then
      gaps[#gaps + 1] = problem
    end
  end
  return gaps
end

--- Sums over all segments.
---@return rpitr.archive.Totals
function Catalogue:totals()
  return host.catalogue_totals(self.handle)
end

-- Watching -------------------------------------------------------------------------------------------

--- A catalogue that is kept up to date; closable.
---@class rpitr.Watch
---@field catalogue rpitr.Catalogue
---@field receiver? rpitr.Node
---@field primary? rpitr.Node
---@field lag? rpitr.lab.ReceiverLag  as last measured, nil while the primary does not answer
---@field primary_error? rpitr.Error  why it does not
---@field error? rpitr.Error  why the last look failed
---@field seen rpitr.archive.Problem[]  every problem that appeared
---@field scans integer  how often it looked
---@field package mirrors boolean
---@field package mirror_connection? rpitr.Conn
---@field package on_scan? fun(scan: rpitr.archive.Scan)
---@field package task? rpitr.Task
local Watch = { __name = "rpitr.Watch" }
Watch.__index = Watch

-- The mirror's own connection: it is set up not to wait for the receiver it reports about.
local function mirror(self)
  if not self.mirror_connection or self.mirror_connection:is_closed() then
    self.mirror_connection = self.primary:connect { application_name = "rpitr mirror" }
  end
  return host.catalogue_mirror(self.catalogue.handle, self.mirror_connection.handle)
end

--- Looks once: scans, asks the primary for the lag, brings the mirror up to date. The task does this again and again; a
--- script may do it whenever it wants to be sure.
---@return rpitr.archive.Scan scan  with `lag`
---@error archive  the folder cannot be read
function Watch:look()
  local scan = self.catalogue:scan()
  if self.primary then
    local ok, answer = pcall(function()
      if self.mirrors then
        mirror(self)
      end
      return self.receiver and self.receiver:receiver_lag() or nil
    end)
    -- Capture is for the day the primary does not answer.
    scan.lag, self.lag = ok and answer or nil, ok and answer or nil
    self.primary_error = not ok and answer or nil
  end
  host.catalogue_sample(self.catalogue.handle, scan.lag)
  self.scans = self.scans + 1
  for _, problem in ipairs(scan.appeared) do
    self.seen[#self.seen + 1] = problem
  end
  if self.on_scan then
    self.on_scan(scan)
  end
  return scan
end

--- Ends the task. What is in the catalogue stays.
function Watch:close()
  if self.task then
    self.task:cancel()
    self.task = nil
  end
  if self.mirror_connection then
    pcall(self.mirror_connection.close, self.mirror_connection)
    self.mirror_connection = nil
  end
end

Watch.__close = Watch.close

---@class rpitr.archive.WatchOptions
---@field every? rpitr.Duration  (default "1s") pause between two looks
---@field file? string  the catalogue; default: as for `archive.catalogue`
---@field primary? rpitr.Node  whose lag is measured; default: the receiver's
---@field mirror? boolean  (default false) copy the catalogue into the table rpitr.wal_segments of the primary
---@field on_scan? fun(scan: rpitr.archive.Scan)  called after each look

--- Keeps a catalogue up to date in a task of its own until it is closed.
---
--- ```lua
--- local receiver <close> = lab.receiver(pg, { name = "example_watch" })
--- local watch <close> = archive.watch(receiver, { mirror = true })
--- receiver:complete_segment()
--- print(watch:look().totals.bytes, watch.lag and watch.lag.bytes)
--- ```
---@param source rpitr.Node|string  a receiver, or the path of a folder
---@param options? rpitr.archive.WatchOptions
---@return rpitr.Watch
---@error archive, arg
function archive.watch(source, options)
  local opts = args.options("archive.watch", options, {
    every = { "duration", 1 },
    file = "string?",
    primary = "table?",
    mirror = { "boolean", false },
    on_scan = "function?",
  })
  local receiver = type(source) == "table" and source or nil
  local watch = setmetatable({
    catalogue = archive.catalogue(source, { file = opts.file }),
    receiver = receiver,
    primary = opts.primary or (receiver and receiver.primary),
    mirrors = opts.mirror,
    on_scan = opts.on_scan,
    seen = {},
    scans = 0,
  }, Watch)
  watch.task = task.spawn(function()
    while true do
      local ok, e = xpcall(watch.look, internal.as_error, watch)
      if not ok and e.kind == "cancelled" then
        error(e, 0)
      end
      watch.error = not ok and e or nil
      timer.sleep(opts.every)
    end
  end)
  return watch
end

-- Snapshots ------------------------------------------------------------------------------------------

---@class rpitr.archive.SnapshotOptions
---@field into? string  folder to put it in; a folder needs it, a receiver keeps its own

--- A copy of a segment that was still being received; `pitr.restore { wal = }` takes it.
---@class rpitr.archive.Snapshot
---@field file string  the copy
---@field folder string  of the complete segments before it
---@field segment string  its name
---@field timeline integer
---@field begins rpitr.Lsn
---@field upto rpitr.Lsn  the end of its last good record
---@field last_record? rpitr.Lsn  where that begins
---@field commits integer  how many are in it
---@field ended string  why reading ended there
---@field sha256 string
---@field bytes integer
---@field source string  path of the segment
---@field taken_at string  time

--- Copies the segment that is being received, up to its last good record, and describes it in a file beside the copy
--- (source, time, positions, SHA-256). Pass it to `pitr.restore` as `wal`: recovery gets it under the segment's own name,
--- after the last complete segment and nowhere else.
---
--- ```lua
--- local receiver <close> = lab.receiver(pg, { name = "example_tail" })
--- pg:value "SELECT pg_current_xact_id()"
--- receiver:wait_received()
--- local tail = archive.snapshot(receiver)
--- print(tail and tail.upto)
--- ```
---@param source rpitr.Node|string  a receiver, or the path of a folder
---@param options? rpitr.archive.SnapshotOptions
---@return rpitr.archive.Snapshot? tail  nil when nothing whole is being received
---@error archive  the segment before it is damaged
---@error arg
function archive.snapshot(source, options)
  local opts = args.options("archive.snapshot", options, { into = "string?" })
  local folder = source_of("archive.snapshot", source)
  local taken
  if opts.into then
    taken = host.archive_snapshot(folder, opts.into)
  elseif type(source) == "table" then
    taken = host.node_snapshot(source.handle)
  else
    internal.raise({ kind = "arg", message = "archive.snapshot: a folder needs the option into" }, 2)
  end
  if taken then
    taken.folder = folder
  end
  return taken
end

return archive
