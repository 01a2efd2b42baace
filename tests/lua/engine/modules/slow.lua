-- Waits while it loads, and counts how often it is loaded.
timer.sleep "5ms"
local loads = _G.rawget(_G, "slow_loads") or 0
rawset(_G, "slow_loads", loads + 1)
return { name = "slow", loads = loads + 1 }
