-- Fails the first time.
local first = not rawget(_G, "flaky_loaded")
rawset(_G, "flaky_loaded", true)
if first then
  error { code = "flaky" }
end
return "loaded"
