--- How far a standby is behind its primary, for any pair of servers somebody can connect to.
---
--- WAL reaches a standby in four stages, and each can be the one that is late: *sent* to the network,
--- *written* by the standby, *flushed* to its disk (from here on it survives a crash), *replayed* (from here
--- on a query sees it). In each of three units: bytes of WAL, seconds, transactions.
---@class rpitr.replication
local replication = {}

local _, internal = ...
local args = require "rpitr.core.args"
local task = require "rpitr.task"

--- The stages, in the order WAL passes them.
---@type string[]
replication.stages = { "sent", "write", "flush", "replay" }

-- What only the primary knows. Only flushed WAL is sent; behind it nothing was ever acknowledged.
local PRIMARY = [[
SELECT clock_timestamp() AS at,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_flush_lsn() END AS lsn,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_xid,
       (SELECT system_identifier FROM pg_control_system()) AS system_id]]

local SENDERS = [[
SELECT r.application_name AS name, r.state, r.sync_state, r.sent_lsn AS sent, r.write_lsn AS write, r.flush_lsn AS flush,
       r.replay_lsn AS replay, s.slot_name::text AS slot,
       extract(epoch FROM r.write_lag)::float8 AS write_lag, extract(epoch FROM r.flush_lag)::float8 AS flush_lag,
       extract(epoch FROM r.replay_lag)::float8 AS replay_lag,
       extract(epoch FROM clock_timestamp() - r.reply_time)::float8 AS heard
FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
WHERE r.state <> 'backup' ORDER BY r.application_name]]

local STANDBY = [[
SELECT pg_is_in_recovery() AS recovers, pg_last_wal_receive_lsn() AS flush, pg_last_wal_replay_lsn() AS replay,
       pg_last_xact_replay_timestamp() AS replayed_to, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_xid,
       (SELECT system_identifier FROM pg_control_system()) AS system_id,
       w.slot_name AS slot, substring(w.conninfo FROM 'application_name=''?([^'' ]+)') AS name,
       nullif(current_setting('cluster_name'), '') AS cluster
FROM (VALUES (1)) one LEFT JOIN pg_stat_wal_receiver w ON true]]

local function refuse(message, hint)
  internal.raise({ kind = "state", message = message, hint = hint }, 3)
end

-- A server that is frozen accepts connections and answers nothing: each question has a deadline.
local function ask(standby, timeout)
  if standby == nil then
    return nil, "was not asked"
  end
  local ok, row = xpcall(task.with_timeout, internal.as_error, timeout, standby.row, standby, STANDBY)
  if ok then
    return row
  elseif row.kind == "timeout" then
    return nil, ("did not answer within %g s"):format(timeout)
  elseif standby:is_closed() then
    return nil, "is gone: " .. row.message
  end
  error(row, 0)
end

local function names_of(senders)
  local names = {}
  for i, sender in ipairs(senders) do
    names[i] = sender.name
  end
  return table.concat(names, ", ")
end

-- The primary's view of this standby: by the name asked for, by slot, by what it calls itself, or the only one.
local function sender_of(senders, wanted, seen)
  if wanted then
    for _, sender in ipairs(senders) do
      if sender.name == wanted or sender.slot == wanted then
        return sender
      end
    end
    return nil
  end
  for _, key in ipairs { "slot", "name", "cluster" } do
    for _, sender in ipairs(senders) do
      local known = key == "slot" and sender.slot or sender.name
      if seen and seen[key] and known == seen[key] then
        return sender
      end
    end
  end
  if #senders > 1 then
    refuse(("the primary has %d standbys: %s"):format(#senders, names_of(senders)), "say which one by name")
  end
  return senders[1]
end

-- The further of what the primary was told and what the standby says itself: both were true.
local function furthest(a, b)
  return (a and b) and (a > b and a or b) or a or b
end

local function behind(primary, position)
  return position and math.max(primary.lsn - position, 0) or nil
end

-- How old the standby's data is. An idle primary does not make it older: with everything replayed it is 0,
-- however long ago the last commit was. Both times are the primary's clock.
local function age_of(primary, seen, bytes)
  if bytes.replay == 0 then
    return 0
  end
  return seen and seen.replayed_to and math.max(primary.at - seen.replayed_to, 0) or nil
end

---@class rpitr.replication.LagOptions
---@field name? string  of the standby or its slot, when there are several
---@field timeout? rpitr.Duration  (default "3s") what the standby may take to answer

--- A measurement. What is not known is nil.
---@class rpitr.replication.Lag
---@field at rpitr.Time  the primary's clock
---@field connected boolean  whether the primary sends to it
---@field name? string
---@field state? string  as in pg_stat_replication: "streaming", "catchup" ...
---@field sync_state? "async"|"potential"|"sync"|"quorum"
---@field heard? number  seconds since it last reported to the primary
---@field silent? string  why the standby itself was not heard
---@field bytes { sent?: integer, write?: integer, flush?: integer, replay?: integer }  how far each stage is behind
---@field seconds { write?: number, flush?: number, replay?: number, data?: number }  what recent commits took to get to each stage, as the primary measured it; `data`: age of what a query on the standby sees
---@field transactions? integer  that a query on the standby does not see

--- Measures once how far `standby` is behind `primary`.
---
--- ```lua
--- local standby <close> = lab.standby(pg, { name = "example_behind" })
--- local lag = replication.lag(pg:admin(), standby:admin(), { name = standby.name })
--- print(lag.bytes.replay, lag.seconds.data, lag.transactions)
--- ```
---@param primary rpitr.Conn  to the server that sends, as superuser or a member of pg_monitor
---@param standby? rpitr.Conn  to the one that receives; without it, what the primary knows
---@param options? rpitr.replication.LagOptions
---@return rpitr.replication.Lag
---@error state  not a standby, another cluster, several standbys
---@error sql, arg
function replication.lag(primary, standby, options)
  local opts = args.options("replication.lag", options, { name = "string?", timeout = { "duration", 3 } })
  -- The standby first: what happens in between makes the lag too large, never too small.
  local seen, silent = ask(standby, opts.timeout)
  local here = primary:row(PRIMARY)
  if seen and not seen.recovers then
    refuse("the standby is not in recovery: it was promoted, or is another server", "are the two the right way round?")
  elseif seen and seen.system_id ~= here.system_id then
    refuse "the two servers are not of one cluster: their system identifiers differ"
  end
  local sender = sender_of(primary:query(SENDERS), opts.name, seen)
  if not sender and not seen then
    refuse(
      (opts.name or "the standby") .. " is not connected to the primary, and " .. (silent or "was not asked"),
      "give a connection to the standby as well"
    )
  end
  local view, own = sender or {}, seen or {}
  local bytes = {
    sent = behind(here, view.sent),
    write = behind(here, furthest(view.write, own.flush)),
    flush = behind(here, furthest(view.flush, own.flush)),
    replay = behind(here, furthest(view.replay, own.replay)),
  }
  return {
    at = here.at,
    connected = sender ~= nil,
    name = view.name or opts.name or own.name or own.cluster,
    state = view.state,
    sync_state = view.sync_state,
    heard = view.heard,
    silent = silent,
    bytes = bytes,
    seconds = {
      write = view.write_lag,
      flush = view.flush_lag,
      replay = view.replay_lag,
      data = age_of(here, seen, bytes),
    },
    transactions = seen and math.max(here.next_xid - seen.next_xid, 0) or nil,
  }
end

---@class rpitr.replication.Limit
---@field kind "bytes"|"seconds"|"transactions"
---@field limit number
---@field text string

--- A limit on lag: bytes, seconds or transactions, as a text says.
---
--- ```lua
--- assert(replication.limit("16MB").kind == "bytes")
--- assert(replication.limit("100 transactions").limit == 100)
--- ```
---@param text string  "16MB", "30s", "100 transactions"
---@return rpitr.replication.Limit
---@error arg
function replication.limit(text)
  args.check("replication.limit", "text", text, "string")
  local count = text:match "^%s*(%d+)%s*transactions?%s*$"
  local number = text:match "^%s*[%d.]+%s*%a+%s*$"
  local bytes = number and args.bytes(text)
  local seconds = number and args.seconds(text)
  if count then
    return { kind = "transactions", limit = tonumber(count), text = text }
  elseif bytes then
    return { kind = "bytes", limit = bytes, text = text }
  elseif seconds then
    return { kind = "seconds", limit = seconds, text = text }
  end
  internal.raise({
    kind = "arg",
    message = ("%q is not a limit on lag"):format(text),
    hint = 'write bytes ("16MB"), seconds ("30s") or transactions ("100 transactions")',
  }, 2)
end

--- Holds a measurement against a limit. What is not known exceeds every limit: it may be anything.
---
--- ```lua
--- local standby <close> = lab.standby(pg, { name = "example_within" })
--- pg:wait_replayed(standby)
--- local lag = replication.lag(pg:admin(), standby:admin(), { name = standby.name })
--- assert(replication.within(lag, replication.limit "64MB"))
--- ```
---@param lag rpitr.replication.Lag
---@param limit rpitr.replication.Limit
---@return boolean holds
---@return string why  the measured value beside the limit, or why there is none
function replication.within(lag, limit)
  local value = lag.transactions
  if limit.kind == "bytes" then
    value = lag.bytes.replay
  elseif limit.kind == "seconds" then
    value = lag.seconds.data
  end
  if value == nil then
    return false, ("not known: the standby %s"):format(lag.silent or "is not connected")
  end
  return value <= limit.limit, ("%s: %s of at most %s"):format(limit.kind, value, limit.text)
end

return replication
