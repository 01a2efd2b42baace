--- Faults under load, and the proof that nothing was lost.
--
-- A fault is plain data (`chaos.pause("primary", "5..20s")`), so that a schedule of faults can be written down.
-- `chaos.inject(cluster, fault)` makes it happen and returns what undoes it.

local chaos = {}

local function add(name)
  for key, value in pairs(require("rpitr.chaos." .. name)) do
    chaos[key] = value
  end
end

add "faults"
add "legal"
add "inject"
add "cluster"

return chaos
