--- The catalogue: what each kind of fault may be aimed at, what it acts on, how it is described.
---
--- `uses` names what a fault acts on while it lasts; two faults on the same thing exclude each other. `%s` is the
--- target. `needs` names what must be untouched when it begins. `lasting = false`: it is over when it has happened.

local NODES = { "primary", "standby" }
local ALL = { "primary", "standby", "receiver" }
local EDGES = { "client", "standby", "receiver" }

local list = {
  -- Processes
  pause = { class = "process", targets = ALL, uses = { "process:%s" } },
  kill_tree = { class = "process", targets = NODES, uses = { "process:%s" } },
  kill_postmaster = { class = "process", targets = NODES, uses = { "process:%s" } },
  kill_backend = { class = "process", targets = NODES, uses = { "process:%s" }, lasting = false },
  immediate = { class = "process", targets = NODES, uses = { "process:%s" } },
  restart = { class = "process", targets = ALL, uses = { "process:%s" }, lasting = false },
  crash_loop = { class = "process", targets = NODES, uses = { "process:%s" } },

  -- Network
  isolate = { class = "network", targets = NODES, uses = { "net:%s" } },
  cut_pair = { class = "network", targets = EDGES, uses = { "net:%s" } },
  cut_oneway = { class = "network", targets = EDGES, uses = { "net:%s" } },
  latency = { class = "network", targets = EDGES, uses = { "net:%s" } },
  rate = { class = "network", targets = EDGES, uses = { "net:%s" } },
  reset = { class = "network", targets = EDGES, uses = { "net:%s" } },
  ack_loss = { class = "network", targets = { "client" }, uses = { "net:%s" } },

  -- Archiving
  archive_full = { class = "archive", targets = { "primary" }, uses = { "push:%s" }, needs = { "process:%s" } },
  archive_fail = { class = "archive", targets = { "primary" }, uses = { "push:%s" }, needs = { "process:%s" } },
  archive_hang = { class = "archive", targets = { "primary" }, uses = { "push:%s" }, needs = { "process:%s" } },
  archive_lie = { class = "archive", targets = { "primary" }, uses = { "push:%s" }, needs = { "process:%s" } },
  archive_partial = { class = "archive", targets = { "primary" }, uses = { "push:%s" }, needs = { "process:%s" } },

  -- Segments at rest
  segment_missing = { class = "segment", targets = { "primary" }, uses = { "segment:%s" } },
  segment_truncated = { class = "segment", targets = { "primary" }, uses = { "segment:%s" } },
  segment_bitflip = { class = "segment", targets = { "primary" }, uses = { "segment:%s" } },
  segment_zeroed = { class = "segment", targets = { "primary" }, uses = { "segment:%s" } },

  -- The clock, and who watches
  clock_step = { class = "clock", targets = NODES, uses = { "clock:%s" }, needs = { "process:%s" } },
  kill_capturer = { class = "process", targets = { "receiver" }, uses = { "process:%s" } },
  kill_orchestrator = { class = "orchestration", targets = { "rpitr" }, uses = {}, lasting = false },
}

return { list = list }
