--- Making a lab for this run, and what becomes of it when the run ends.

local host, internal = ...

local life = {}

local function is_kept()
  return host.options.keep == "always" or (host.options.keep == "failed" and internal.failed) or internal.keep_this_lab
end

-- Creates a lab. It goes when the run ends, unless --keep says otherwise; what is in it dies with it, so it is
-- the last thing that is cleaned up.
local function create(wanted, forget)
  local handle = wanted.handle
    or host.lab_create {
      script = internal.script,
      run = host.options.run_id,
      runtime = wanted.runtime,
      keep = host.options.keep == "always",
      beside = wanted.beside,
      superuser = wanted.superuser,
      password = wanted.password,
    }
  local info = host.lab_info(handle)
  table.insert(internal.at_exit, 1, function(ok)
    internal.failed = internal.failed or not ok
    forget()
    if wanted.leave then
      wanted.leave(is_kept())
    elseif is_kept() then
      host.lab_keep(handle)
      host.print(("lab %s is kept: rpitr lab ls shows it, rpitr lab rm %s removes it"):format(info.id, info.id))
    elseif host.scope_tripped() then
      -- The second Ctrl-C: whoever pressed it wants the prompt back.
      host.lab_run(handle, nil, false)
      host.notice(("lab %s is left behind, its servers too: rpitr lab gc removes them"):format(info.id))
    else
      host.lab_destroy(handle)
    end
  end)
  return handle, info
end

-- A function that gives the one lab this run has for a purpose, made when it is first asked for; by several tasks at
-- once, too. `describe` gives { runtime = "local" | "docker", beside = handle?, superuser = string?, password = string? },
-- or { handle } of a lab that is there, with `leave(kept)` for one that is not this run's to remove; `build(handle, info,
-- described)` gives what the function gives: a table. Returns that function, and one that gives the lab only if it was
-- made.
function life.shared(describe, build)
  local current, making
  return function()
    while making do
      host.event_wait(making)
    end
    if not current then
      making = host.event_new()
      local ok, made = xpcall(function()
        local wanted = describe()
        local handle, info = create(wanted, function()
          current = nil
        end)
        return build(handle, info, wanted)
      end, internal.as_error)
      local waited = making
      making = nil
      host.event_notify(waited)
      if not ok then
        error(made, 0)
      end
      current = made
    end
    return current
  end, function()
    return current
  end
end

return life
