--- Captured WAL: what a receiver has got, whether it is whole, and the newest of it for a restore.
--
-- `archive.watch` keeps a catalogue (an SQLite file) of a receiver's folder while a script goes on, as `rpitr wal watch`
-- does for a machine: each segment with size, positions, checksum and state, gaps along the timelines, names that do not
-- belong, growth and lag. `archive.snapshot` makes the segment that is still being received usable.

local host, internal = ...
local args = require "rpitr.core.args"
local task = require "rpitr.task"
local timer = require "rpitr.timer"

local archive = {}

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

local Catalogue = { __name = "rpitr.Catalogue" }
Catalogue.__index = Catalogue

function Catalogue:__tostring()
  return "catalogue of " .. self.folder
end

--- Opens the catalogue of a receiver's folder, or of any folder with WAL; makes it when there is none.
-- @param source  a receiver node, or the path of a folder
-- @param options { file = string? }  default: beside a receiver's folder, else inside the folder
-- @return catalogue: `scan`, `list`, `gaps`, `problems`, `totals`
-- @usage print(archive.catalogue(receiver):scan().totals.segments)
function archive.catalogue(source, options)
  local opts = args.options("archive.catalogue", options, { file = "string?" })
  local folder, usual = source_of("archive.catalogue", source)
  local file = opts.file or usual
  return setmetatable({ handle = host.catalogue_open(file), folder = folder, file = file }, Catalogue)
end

--- Looks at the folder now: reads every segment that is new or has changed, record by record.
-- @return { changes, problems, appeared, gone, totals }  `changes`: segments in a new state; `appeared` and `gone`:
--   problems that are new, and that no longer are
-- @error archive  the folder cannot be read
function Catalogue:scan()
  return host.catalogue_scan(self.handle, self.folder)
end

--- Every segment ever seen, by timeline and position.
-- @return list of { name, timeline, start_lsn, end_lsn, size, sha256, state, reason, valid_to, first_seen, completed_at,
--   verified_at }  `state`: "partial", "complete", "verified", "damaged" or "removed"; `valid_to`: the end of the last
--   good record of a partial one
function Catalogue:list()
  return host.catalogue_list(self.handle)
end

--- What is wrong: { kind, name, lsn, reason, first_seen } each. `kind` is "gap", "removed", "damaged", "invalid_name",
-- "bad_history" or "missing_history".
function Catalogue:problems()
  return host.catalogue_problems(self.handle)
end

--- The gaps among the problems.
function Catalogue:gaps()
  local gaps = {}
  for _, problem in ipairs(self:problems()) do
    if problem.kind == "gap" or problem.kind == "removed" then
      gaps[#gaps + 1] = problem
    end
  end
  return gaps
end

--- Sums: { segments, bytes, verified, damaged, partial, received }.
function Catalogue:totals()
  return host.catalogue_totals(self.handle)
end

-- Watching -------------------------------------------------------------------------------------------

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
-- script may do it whenever it wants to be sure.
-- @return what `catalogue:scan` returns, with `lag`
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

--- Keeps a catalogue up to date in a task of its own until it is closed.
-- @param source  a receiver node, or the path of a folder
-- @param options { every = "1s", file = string?, primary = node?, mirror = false, on_scan = function(scan)? }
--   `primary`: whose lag is measured, default the receiver's; `mirror`: copy the catalogue into the table
--   rpitr.wal_segments of the primary
-- @return watch: `catalogue`, `lag` (last measured), `seen` (every problem that appeared), `scans`; `look`, `close`
-- @usage local watch <close> = archive.watch(receiver, { mirror = true })
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

--- Copies the segment that is being received, up to its last good record, and describes it in a file beside the copy
-- (source, time, positions, SHA-256). Pass it to `pitr.restore` as `wal`: recovery gets it under the segment's own name,
-- after the last complete segment and nowhere else.
-- @param source  a receiver node, or the path of a folder
-- @param options { into = string? }  where to put it; a folder needs it, a receiver keeps its own
-- @return { file, segment, begins, upto, commits, ended, sha256, taken_at, source, folder } or nil when nothing whole is
--   being received
-- @error archive  the segment before it is damaged
-- @usage local tail = archive.snapshot(receiver)
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
