--- What the lab suites share. A file makes its servers once; its tests restore beside them.

local support = {}

--- A function that calls `fn` the first time and gives the same result ever after.
function support.once(fn)
  local done, value = false, nil
  return function()
    if not done then
      value, done = fn(), true
    end
    return value
  end
end

--- A primary with small WAL segments, so that a few commits fill an archive.
function support.primary(options)
  local settings = { wal_segment_size = "1MB" }
  for key, value in pairs(options or {}) do
    settings[key] = value
  end
  return lab.postgres(settings)
end

--- Commits row `n` of the table `log`; what is known of the transaction, and the time just after.
function support.commit(db, n)
  local made = db:tx(function()
    db:exec("INSERT INTO log VALUES ($1, repeat('x', 500))", n)
    return { n = n, xid = db:value "SELECT pg_current_xact_id()" }
  end)
  made.after = db:value "SELECT clock_timestamp()"
  return made
end

--- The rows of `log` as text: "1 2 3".
function support.rows(node)
  return node:value "SELECT coalesce(string_agg(n::text, ' ' ORDER BY n), '') FROM log"
end

local restores = 0

--- Restores under a name of its own and stops the server when the test is over.
---@return rpitr.Node node  closable
function support.restore(pg, options)
  restores = restores + 1
  options.name = options.name or "r" .. restores
  return pitr.restore(pg, options)
end

--- Every file below a folder with its content's hash; two of them are compared by `test.equal`.
function support.tree(folder)
  local list = sh.run { "sh", "-c", 'cd "$1" && find . -type f -exec sha256sum {} + | sort -k 2', "sh", folder }
  return list.stdout
end

--- The processes of this run's lab whose command line contains `text`.
function support.processes(text)
  local list = sh.run { "ps", "-eo", "pid=,args=" }
  local found = {}
  for line in list.stdout:gmatch "[^\n]+" do
    if line:find(text, 1, true) and not line:find("ps -eo", 1, true) then
      found[#found + 1] = line
    end
  end
  return found
end

--- Whether a program on `from` reaches the server of `to` over the network.
function support.reaches(from, to)
  local at = to:endpoint(from)
  local asked = from:exec { "pg_isready", "--host=" .. at.host, "--port=" .. at.port, "--timeout=5", check = false }
  return asked.code == 0
end

--- Whether the script can open a connection to a server that is not paused.
function support.answers(node)
  local ok, db = pcall(node.connect, node)
  if ok then
    db:close()
  end
  return ok
end

-- Runs what a server would run, with paths in the places of %p and %f.
local function run_command(node, command, path, name)
  local line = command:gsub("%%p", '"$1"'):gsub("%%f", '"$2"')
  return node:exec { "sh", "-c", 'cd "$3" && ' .. line, "sh", path, name, node.data, check = false }
end

--- Pushes a file with the archive_command of a node: { code, stderr }.
function support.push(node, path, name)
  return run_command(node, node:setting "archive_command", path, name)
end

--- Fetches a file with the restore_command of a restored node: { code, stderr }.
function support.fetch(node, name, path)
  return run_command(node, node:setting "restore_command", path, name)
end

--- The rpitr that runs these tests.
function support.program()
  return (sh.run({ "sh", "-c", "readlink /proc/$PPID/exe" }).stdout:gsub("%s+$", ""))
end

--- Changes bytes of a file in place.
function support.patch(path, offset, bytes)
  local text = fs.read(path)
  fs.write(path, text:sub(1, offset) .. bytes .. text:sub(offset + #bytes + 1))
end

--- The byte at an offset of a file.
function support.byte(path, offset)
  return fs.read(path):byte(offset + 1)
end

--- Runs `fn` while a file is damaged by `damage(path)`; afterwards it is as it was.
function support.while_damaged(path, damage, fn)
  local whole = fs.read(path)
  local _ <close> = defer(function()
    fs.write(path, whole)
  end)
  damage(path)
  return fn()
end

return support
