--- Faults of rpitr itself.

local host = ...

return {
  kill_orchestrator = {
    strike = function()
      host.chaos_kill_self()
    end,
  },
}
