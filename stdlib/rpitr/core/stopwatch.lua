--- How long PostgreSQL's own programs and servers worked during the run.
--
-- The report compares the drill's wall time with it: what is left is rpitr's own. Intervals may
-- overlap; `busy` counts overlapping time once.

local host = ...

local stopwatch = {}

local intervals = {}

--- Counts an interval that ended now.
function stopwatch.add(name, seconds)
  local now = host.now()
  intervals[#intervals + 1] = { name = name, from = now - seconds, to = now }
end

--- Runs `fn(...)` and counts the time it took under `name`. Returns what it returns.
function stopwatch.run(name, fn, ...)
  local started = host.now()
  local results = table.pack(fn(...))
  intervals[#intervals + 1] = { name = name, from = started, to = host.now() }
  return table.unpack(results, 1, results.n)
end

--- Seconds during which at least one of the intervals was open.
function stopwatch.busy()
  local sorted = table.move(intervals, 1, #intervals, 1, {})
  table.sort(sorted, function(a, b)
    return a.from < b.from
  end)
  local busy, reached = 0, -math.huge
  for _, interval in ipairs(sorted) do
    local from = math.max(interval.from, reached)
    if interval.to > from then
      busy = busy + interval.to - from
      reached = interval.to
    end
  end
  return busy
end

--- { name, seconds, count } for each name, longest first.
function stopwatch.list()
  local by_name, list = {}, {}
  for _, interval in ipairs(intervals) do
    local entry = by_name[interval.name]
    if not entry then
      entry = { name = interval.name, seconds = 0, count = 0 }
      by_name[interval.name] = entry
      list[#list + 1] = entry
    end
    entry.seconds = entry.seconds + interval.to - interval.from
    entry.count = entry.count + 1
  end
  table.sort(list, function(a, b)
    return a.seconds > b.seconds
  end)
  return list
end

return stopwatch
