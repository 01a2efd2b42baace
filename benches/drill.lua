-- Reads the reports of benches/drill.sh and prints medians.

local folder, runs = arg[1], tonumber(arg[2])

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local walls, ratios, programs = {}, {}, {}
for i = 1, runs do
  local report = json.decode(fs.read(("%s/%d/report.json"):format(folder, i)))
  walls[i] = report.seconds
  ratios[i] = report.seconds / report.postgres.seconds
  for _, program in ipairs(report.postgres.programs) do
    programs[program.name] = programs[program.name] or {}
    table.insert(programs[program.name], program.seconds)
  end
end

print(("full_recovery, %d runs"):format(runs))
local names = {}
for name in pairs(programs) do
  names[#names + 1] = name
end
table.sort(names)
for _, name in ipairs(names) do
  print(("  %-18s %6.3f s"):format(name, median(programs[name])))
end
print(("wall  %.2f s median, %.2f s best (goal <= 6 s)"):format(median(walls), walls[1]))
print(("ratio %.2f median, %.2f best, wall to PostgreSQL's own time (goal <= 1.25)"):format(median(ratios), ratios[1]))
