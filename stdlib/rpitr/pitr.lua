--- Point-in-time recovery: base backups, plans, restores, and the proof after each.
---
--- A restore never touches what it replaces: it fills a sandbox node beside it, which archives
--- nothing, follows nobody and listens on a private socket. Before anything is copied the WAL is
--- read to find where recovery will stop; afterwards that is compared with where it did stop.
---@class rpitr.pitr
local pitr = {}

local host = ...
local args = require "rpitr.core.args"
local backup = require "rpitr.pitr.backup"
local incident = require "rpitr.pitr.incident"
local proof = require "rpitr.pitr.proof"
local restore = require "rpitr.pitr.restore"
local target = require "rpitr.pitr.target"
local wal_source = require "rpitr.pitr.source"

-- Backups --------------------------------------------------------------------------------------------

---@class rpitr.pitr.BackupOptions
---@field label? string  what the catalogue calls it, the name of a folder; default: "base-" and the time
---@field verify? boolean  (default true) check it with pg_verifybackup
---@field max_rate? rpitr.Size  bytes a second to take from the server at most; default: as fast as it goes

---@class rpitr.pitr.Backup
---@field label string
---@field folder string
---@field node string  name of the server it was taken of
---@field major integer
---@field system_id string
---@field timeline integer
---@field start_lsn rpitr.Lsn  where its recovery begins
---@field checkpoint rpitr.Lsn
---@field stop_lsn rpitr.Lsn  from here on it is consistent: no target before it can be reached
---@field start_time rpitr.Time
---@field stop_time rpitr.Time
---@field archive? string  folder of the WAL it goes with
---@field tablespaces integer
---@field files integer
---@field bytes integer

--- Takes a base backup of a running node with pg_basebackup and checks it with pg_verifybackup.
---
--- ```lua
--- local base = pitr.backup(pg, { label = "nightly" })
--- print(base.stop_lsn, base.bytes)
--- ```
---@param pg rpitr.Node  a node that archives its WAL, or has a receiver
---@param options? rpitr.pitr.BackupOptions
---@return rpitr.pitr.Backup
---@error state  it does neither
---@error postgres  pg_basebackup or pg_verifybackup, with what it said
---@error arg  a label that cannot be, or is taken
pitr.backup = backup.take

--- The complete backups of a node, oldest first.
---
--- ```lua
--- pitr.backup(pg, { label = "weekly" })
--- for _, base in ipairs(pitr.catalog(pg)) do
---   print(base.label, base.stop_time)
--- end
--- ```
---@param pg rpitr.Node
---@return rpitr.pitr.Backup[]
pitr.catalog = backup.catalog

---@class rpitr.pitr.Window
---@field from_lsn rpitr.Lsn  the end of the oldest backup
---@field from_time rpitr.Time
---@field to_lsn rpitr.Lsn  the end of the archived WAL
---@field to_time? rpitr.Time  of the last archived commit, nil when there is none since the backup

--- The recoverable window of a node: any moment in it can be restored.
---
--- ```lua
--- pitr.backup(pg, { label = "oldest" })
--- pg:flush_archive()
--- local window = pitr.window(pg)
--- print(window.from_lsn, window.to_lsn)
--- ```
---@param pg rpitr.Node
---@return rpitr.pitr.Window? window  nil without a backup
---@error wal, state
function pitr.window(pg)
  local oldest = pitr.catalog(pg)[1]
  if not oldest then
    return nil
  end
  local last = target.resolve(wal_source.of(pg), oldest, { kind = "latest", inclusive = true })
  return {
    from_lsn = oldest.stop_lsn,
    from_time = oldest.stop_time,
    to_lsn = last.stop.switchpoint,
    to_time = last.stop.last_commit and last.stop.last_commit.time,
  }
end

-- Targets --------------------------------------------------------------------------------------------

--- A recovery target as a table: one of `time`, `xid`, `lsn`, `name`, `immediate`, `latest`.
---@class rpitr.pitr.TargetOptions
---@field time? rpitr.Time|string  a moment with its UTC offset: "2026-11-21 03:16:27+00"
---@field xid? integer|string  a transaction id
---@field lsn? rpitr.Lsn|string  a position in the WAL: "0/3000148"
---@field name? string  a restore point, from pg_create_restore_point
---@field immediate? boolean  as soon as the backup is consistent
---@field latest? boolean  everything the WAL holds
---@field inclusive? boolean  (default true) also replay what is exactly at the target
---@field timeline? integer  the one to follow; default: the backup's

--- A target: a table, an LSN or a time as it is, or a text: "latest", "immediate", "lsn:0/3000148", "0/3000148",
--- "before:0/3000148" (the same position, exclusive), "xid:1234", "name:before-deploy", or a time with its UTC offset.
---@alias rpitr.pitr.To rpitr.pitr.TargetOptions|rpitr.Lsn|rpitr.Time|string

--- A target that was read.
---@class rpitr.pitr.Target
---@field kind "time"|"xid"|"lsn"|"name"|"immediate"|"latest"
---@field value rpitr.Time|rpitr.Lsn|integer|string|boolean
---@field inclusive boolean
---@field timeline? integer

--- Reads a recovery target without using it.
---
--- ```lua
--- assert(pitr.target("lsn:0/3000148").kind == "lsn")
--- assert(pitr.target("before:0/3000148").inclusive == false)
--- ```
---@param to rpitr.pitr.To
---@return rpitr.pitr.Target
---@error arg  it cannot be right: no UTC offset, two targets at once ...
pitr.target = target.parse

--- The recovery target just before a commit: nothing of that transaction, all of those before it.
---
--- ```lua
--- local at = pitr.before { lsn = lsn "0/3000148", timeline = 1 }
--- assert(at.inclusive == false)
--- ```
---@param commit { lsn: rpitr.Lsn, timeline: integer }  as `pitr.commit_of` and `wal:commits` give it
---@return rpitr.pitr.TargetOptions
function pitr.before(commit)
  return { lsn = commit.lsn, inclusive = false, timeline = commit.timeline }
end

--- Where WAL is taken from: a receiver (with a snapshot of the segment it is receiving), a snapshot
--- (`archive.snapshot`), or the path of a folder.
---@alias rpitr.pitr.WalSource rpitr.Node|rpitr.archive.Snapshot|string

---@class rpitr.pitr.CommitOptions
---@field wal? rpitr.pitr.WalSource  take the WAL from there instead of from the node's archive

--- The commit record of a transaction in a node's archive, or nil.
---
--- ```lua
--- pitr.backup(pg, { label = "commit-of" })
--- local xid = db:value "SELECT pg_current_xact_id()"
--- pg:flush_archive()
--- local commit = pitr.commit_of(pg, xid)
--- print(commit.lsn, commit.time)
--- ```
---@param pg rpitr.Node  with a base backup: WAL before the oldest is not read
---@param xid integer  as `pg_current_xact_id()` gave it
---@param options? rpitr.pitr.CommitOptions
---@return rpitr.wal.Commit?
---@error wal  damage or a gap
---@error state, arg
function pitr.commit_of(pg, xid, options)
  local opts = args.options("pitr.commit_of", options, { wal = "any?" })
  local first = pitr.catalog(pg)[1]
  local source = wal_source.of(pg, opts.wal)
  local index = host.wal_commits(source.folder, nil, first.start_lsn, nil, source.tail)
  return host.wal_commit_of(index, xid)
end

-- Restoring ------------------------------------------------------------------------------------------

---@class rpitr.pitr.RestoreOptions
---@field to rpitr.pitr.To  the target
---@field name? string  of the node; default "restored", with a number after the first
---@field action? "promote"|"pause"|"shutdown"  (default "promote") what the server does at the target
---@field backup? string  label of the backup to use; default: the newest that ends before the target
---@field verify? boolean  (default true) read the backup against its manifest first
---@field timeout? rpitr.Duration  (default "10m") what recovery may take
---@field conf? table<string, string|number|boolean>  server parameters, but none that decide the recovery
---@field wal? rpitr.pitr.WalSource  take the WAL from there instead of from the node's archive

--- Where recovery stops, as the WAL says.
---@class rpitr.pitr.Stop
---@field stop_lsn? rpitr.Lsn  the record it stops at
---@field switchpoint rpitr.Lsn  the end of what is replayed: where a new timeline begins
---@field last_record? rpitr.Lsn  the last record that is replayed
---@field timeline integer
---@field why string
---@field last_commit? rpitr.wal.Commit  the last that is replayed
---@field next_commit? rpitr.wal.Commit  the first that is not

---@class rpitr.pitr.Plan
---@field asked string  the target in words
---@field target rpitr.pitr.Target
---@field action "promote"|"pause"|"shutdown"
---@field backup rpitr.pitr.Backup  the one that is used
---@field timeline integer
---@field settings table<string, any>  the recovery_target parameters
---@field stop rpitr.pitr.Stop
---@field source { folder: string, tail?: string }  where the WAL is
---@field wal_files integer  segments that are needed
---@field wal_bytes integer
---@field first_wal? string  name of the first segment
---@field last_wal? string  name of the last
---@field bytes_needed integer  of disk, at most
---@field bytes_free integer

--- What was asked and what was reached, compared.
---@class rpitr.pitr.Proof
---@field asked string  the target in words
---@field backup string  label of the backup
---@field reached_lsn rpitr.Lsn
---@field expected_lsn rpitr.Lsn
---@field last_commit? rpitr.wal.Commit  the last that was replayed
---@field next_commit? rpitr.wal.Commit  the first that was not
---@field why string
---@field server_says? string  the server's own line about where it stopped
---@field timeline integer  the one the server is on now
---@field parent_timeline integer  the one it came along
---@field restored_files integer  segments it fetched

--- What a restore would do, as data; nothing is written.
---
--- ```lua
--- pitr.backup(pg, { label = "planned" })
--- pg:flush_archive()
--- local plan = pitr.plan(pg, { to = "latest" })
--- print(plan.backup.label, plan.wal_files, plan.stop.why)
--- ```
---@param pg rpitr.Node  whose backups and archive are used
---@param options rpitr.pitr.RestoreOptions
---@return rpitr.pitr.Plan
---@error archive  no backup fits
---@error wal  target not reached, damage
---@error environment  code "disk_full"
---@error state, arg
pitr.plan = restore.plan

--- Restores a backup beside `pg` and recovers it to a target. Raises unless recovery provably
--- stopped where it was asked to; the server that was not proved is stopped, its files stay with the lab.
---
--- ```lua
--- pitr.backup(pg, { label = "restored" })
--- pg:create_database "example_later"
--- local upto = pg:lsn()
--- pg:flush_archive()
--- local restored <close> = pitr.restore(pg, { to = { lsn = upto, inclusive = false }, name = "example_restored" })
--- print(pitr.describe(restored))
--- ```
---@param pg rpitr.Node  whose backups and archive are used; it is not touched
---@param options rpitr.pitr.RestoreOptions
---@return rpitr.Node node  with `.plan` and `.proof`; see `pitr.describe`
---@error archive  no backup fits; the backup or a segment is damaged or missing
---@error wal  target not reached, damage
---@error postgres  recovery failed, with what the server said
---@error verify  it stopped elsewhere
---@error environment  code "disk_full"
---@error timeout, state, arg
pitr.restore = restore.run

---@class rpitr.pitr.NudgeOptions
---@field to rpitr.pitr.To  the later target
---@field action? "promote"|"pause"|"shutdown"  (default "pause") what the server does there
---@field timeout? rpitr.Duration  (default "10m")

--- Moves a paused restore forward to a later target, without restoring again. Going back needs a
--- new restore: PostgreSQL has already replayed past it.
---
--- ```lua
--- pitr.backup(pg, { label = "nudged" })
--- pg:flush_archive()
--- local paused <close> = pitr.restore(pg, { to = "immediate", action = "pause", name = "example_nudged" })
--- pitr.nudge(paused, { to = "latest" })
--- pitr.promote(paused)
--- ```
---@param node rpitr.Node  from `pitr.restore { action = "pause" }`
---@param options rpitr.pitr.NudgeOptions
---@return rpitr.Node node  the same, with a new `.plan` and `.proof`
---@error state  it is not a paused restore
---@error arg  code "backwards"
---@error wal, archive, postgres, verify, timeout
pitr.nudge = restore.nudge

--- Opens a paused restore for writing, on a new timeline.
---@param node rpitr.Node  from `pitr.restore { action = "pause" }`
---@return rpitr.Node node  the same, with a new `.proof`
---@error postgres, verify, timeout
pitr.promote = restore.promote

--- Lines that say what was asked, what was reached and what comes next.
---@param node rpitr.Node  from `pitr.restore`
---@return string
pitr.describe = proof.describe

-- Finding the moment ---------------------------------------------------------------------------------

---@class rpitr.pitr.IncidentsOptions
---@field kind? rpitr.wal.IncidentKind  only these
---@field table? string  only those of this table, with or without schema
---@field min_rows? integer  from how many rows on a DELETE or UPDATE counts; default: 1000, and each DELETE where nothing large was destroyed
---@field from? rpitr.Lsn|rpitr.Time|string  default: the end of the oldest backup
---@field to? rpitr.Lsn|rpitr.Time|string

--- What destroyed data since the oldest base backup, found in the WAL: TRUNCATE, DROP, mass DELETE and UPDATE. Where nothing
--- large was destroyed, every DELETE. One entry a transaction, oldest first.
---
--- ```lua
--- db:exec "CREATE TABLE example_lost AS SELECT 1 AS id"
--- pitr.backup(pg, { label = "incidents" })
--- db:exec "DROP TABLE example_lost"
--- pg:flush_archive()
--- local found = pitr.incidents(pg, { kind = "drop_table", table = "example_lost" })
--- local restored <close> = pitr.restore(pg, { to = found[1].target, name = "example_undone" })
--- assert(restored:value "SELECT id FROM example_lost" == 1)
--- ```
---@param pg rpitr.Node  whose archive is read
---@param options? rpitr.pitr.IncidentsOptions
---@return rpitr.wal.Incident[] incidents  the `target` of each is what `pitr.restore { to = }` takes
---@error wal  damage or a gap
---@error archive  no base backup
---@error state, arg
pitr.incidents = incident.find

--- Column names and rows that show incidents, for `d:table`.
---
--- ```lua
--- d:table("What destroyed data:", pitr.incident_table {})
--- ```
---@param list rpitr.wal.Incident[]
---@return string[] columns
---@return any[][] rows
pitr.incident_table = incident.table

--- The incident to undo. On a terminal the user is asked. Otherwise it is the one that stands out: the only one that
--- destroyed a table or a database, or ten times as many rows as any other.
---
--- ```lua
--- local list = {} -- from pitr.incidents(pg)
--- local ok, e = pcall(pitr.choose, list)
--- assert(not ok and e.code == "no_incident")
--- ```
---@param list rpitr.wal.Incident[]  from `pitr.incidents`
---@return rpitr.wal.Incident
---@error state  code "no_incident"; code "ambiguous_incident", with a list to choose from
---@error arg
pitr.choose = incident.choose

---@class rpitr.pitr.Check
---@field name string
---@field held boolean
---@field detail string  what differs, if it did not hold

--- Whether a restore to an incident's target stopped right before it: the server's log, the first commit that was not replayed,
--- the last that was.
---
--- ```lua
--- db:exec "CREATE TABLE example_checked AS SELECT 1 AS id"
--- pitr.backup(pg, { label = "checked" })
--- db:exec "TRUNCATE example_checked"
--- pg:flush_archive()
--- local found = pitr.choose(pitr.incidents(pg, { table = "example_checked" }))
--- local restored <close> = pitr.restore(pg, { to = found.target, name = "example_choice" })
--- for _, check in ipairs(pitr.check_choice(restored, found)) do
---   d:check(check.name, check.held, check.detail)
--- end
--- ```
---@param node rpitr.Node  from `pitr.restore`
---@param found rpitr.wal.Incident
---@return rpitr.pitr.Check[]
pitr.check_choice = incident.check

--- An incident that was prepared first is still there before its COMMIT PREPARED, and holds its locks: rolls it back.
---@param node rpitr.Node  from `pitr.restore`
---@param found rpitr.wal.Incident
---@return string? gid  its name, or nil when it was not prepared
---@error sql
pitr.roll_back_prepared = incident.roll_back_prepared

return pitr
