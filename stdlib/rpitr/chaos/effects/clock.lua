--- Faults of a server's clock, which libfaketime shows it.

local host, internal = ...

local clock = {}

clock.clock_step = {
  resolve = function(_, _, node)
    if not node.clock then
      internal.raise({
        kind = "state",
        code = "no_clock",
        message = ("the clock of %s cannot be set"):format(node.name),
        hint = "create it with clock = true; it takes libfaketime and the local runtime",
      }, 4)
    end
  end,
  plan = function(_, _, node)
    return { { ["do"] = "clock", node = node.name, file = node.clock } }
  end,
  strike = function(_, fault, node)
    host.node_write(node.handle, node.clock, ("%+.6f\n"):format(fault.by))
  end,
}

return clock
