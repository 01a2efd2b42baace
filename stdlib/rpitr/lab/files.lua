--- A node's files: reading and writing single ones, copying the data directory while the server runs, starting a
--- server from such a copy.
---
--- The latter is how not to make a backup: PostgreSQL knows nothing of it. Recovery does not need it;
--- drills do, which show what comes of it, and `pg_backup_start` does, which makes it right.

local host, internal = ...
local args = require "rpitr.core.args"
local stopwatch = require "rpitr.core.stopwatch"

-- What a base backup leaves out, too: the running server's own, and what it makes again.
local LEFT_OUT = { "%.pid$", "^postmaster%.opts$", "/pg_internal%.init$", "^pg_stat_tmp/", "/pgsql_tmp" }

local function is_left_out(path)
  for _, pattern in ipairs(LEFT_OUT) do
    if path:find(pattern) then
      return true
    end
  end
  return false
end

-- The copy may not act for the server it came from.
local ALONE = {
  archive_mode = "off",
  archive_command = "",
  primary_conninfo = "",
  primary_slot_name = "",
  synchronous_standby_names = "",
}

return function(class)
  ---@class rpitr.Node
  local Node = class

  --- A file of the node as a string.
  ---
  --- ```lua
  --- local version = pg:read_file "PG_VERSION"
  --- assert(version:match "%d+" == tostring(pg.major))
  --- ```
  ---@param path string  a relative one begins in the data directory
  ---@return string
  ---@error io, arg
  function Node:read_file(path)
    return host.node_read(self.handle, args.check("node:read_file", "path", path, "string"))
  end

  --- Writes a file of the node in one step: readers see the old contents or the new ones.
  ---
  --- ```lua
  --- pg:write_file("example.txt", "hello")
  --- assert(pg:read_file "example.txt" == "hello")
  --- ```
  ---@param path string  below the lab; a relative one begins in the data directory
  ---@param text string
  ---@error io, arg
  function Node:write_file(path, text)
    args.check("node:write_file", "path", path, "string")
    host.node_write(self.handle, path, args.check("node:write_file", "text", text, "string"))
  end

  --- Copies a file of this machine into the node.
  ---@param from string  path on this machine
  ---@param to string  path in the node, below the lab; a relative one begins in the data directory
  ---@error io, arg
  function Node:copy_in(from, to)
    self:write_file(to, host.fs_read(args.check("node:copy_in", "from", from, "string")))
  end

  --- Copies a file of the node to this machine.
  ---@param from string  path in the node; a relative one begins in the data directory
  ---@param to string  path on this machine
  ---@error io, arg
  function Node:copy_out(from, to)
    host.fs_write(args.check("node:copy_out", "to", to, "string"), self:read_file(from))
  end

  --- The files and folders of the data directory, folders before what is in them, relative to it. What a base backup
  --- leaves out is left out.
  ---@return string[]
  ---@error postgres
  function Node:data_files()
    local found = self:exec({ "sh", "-c", 'cd "$1" && find .', "sh", self.data }).stdout
    local paths = {}
    for path in found:gmatch "%./([^\n]+)" do
      if not is_left_out(path) then
        paths[#paths + 1] = path
      end
    end
    return paths
  end

  --- The file a table, index or sequence begins in, relative to the data directory.
  ---
  --- ```lua
  --- print(pg:file_of(db, "pg_class")) --> base/5/1259
  --- ```
  ---@param db rpitr.Conn  to the database it is in
  ---@param relation string
  ---@return string
  ---@error sql, arg
  function Node:file_of(db, relation)
    args.check("node:file_of", "relation", relation, "string")
    return db:value("SELECT pg_relation_filepath($1::text::regclass)", relation)
  end

  ---@class rpitr.lab.Copy
  ---@field path string  of the tar file
  ---@field files integer  how many are in it

  --- Copies files of the data directory with tar, in the order given, whatever the server does to them
  --- meanwhile. What is copied lies in a file of the lab, for `node:unpack`.
  ---
  --- ```lua
  --- local copy = pg:copy_files("example-copy", pg:data_files())
  --- print(copy.files, "files in", copy.path)
  --- ```
  ---@param name string  of the copy
  ---@param files string[]  paths, as `node:data_files` gives them
  ---@return rpitr.lab.Copy
  ---@error postgres  code "tar": it could not read one of them
  ---@error arg
  function Node:copy_files(name, files)
    args.check("node:copy_files", "name", name, "string")
    args.check("node:copy_files", "files", files, "table")
    local folder = self.lab.info.folder .. "/backup"
    host.lab_mkdir(self.lab.handle, folder)
    local path = ("%s/%s.tar"):format(folder, name)
    local list = table.concat(files, "\n") .. "\n"
    local copied = self:exec {
      "tar",
      "-c",
      "-f",
      path,
      "-C",
      self.data,
      "--no-recursion",
      "-T",
      "-",
      stdin = list,
      check = false,
    }
    -- 1: a file changed while it was read. That is the point of it.
    if copied.code > 1 then
      internal.raise({
        kind = "postgres",
        code = "tar",
        message = ("the files of %s could not be copied"):format(self.name),
        detail = copied.stderr:gsub("%s+$", ""),
      }, 2)
    end
    return { path = path, files = #files }
  end

  ---@class rpitr.lab.UnpackOptions
  ---@field files? table<string, string>  text by path: files to add, such as a backup_label
  ---@field conf? table<string, string|number|boolean>  server parameters of its own

  --- Fills this node with copied files, and sets it apart from the server they came from: it archives
  --- nothing and follows nobody. It is not started.
  ---
  --- ```lua
  --- local server <close> = lab.postgres { name = "example_cold" }
  --- server:stop()
  --- local copy = server:copy_files("example-cold", server:data_files())
  --- local twin <close> = lab.sandbox { name = "example_twin", version = server.major }
  --- twin:unpack({ copy }, server):start()
  --- assert(twin.major == server.major)
  --- ```
  ---@param copies rpitr.lab.Copy[]  from `source:copy_files`
  ---@param source rpitr.Node
  ---@param options? rpitr.lab.UnpackOptions
  ---@return rpitr.Node node  itself
  ---@error postgres, arg
  function Node:unpack(copies, source, options)
    args.check("node:unpack", "copies", copies, "table")
    local opts = args.options("node:unpack", options, { files = "table?", conf = "table?" })
    self:wipe()
    self:exec { "mkdir", "-p", "-m", "700", self.data }
    stopwatch.run("unpack", function()
      for _, copy in ipairs(copies) do
        self:exec { "tar", "-x", "-p", "-f", copy.path, "-C", self.data }
      end
    end)
    host.node_scrub(self.handle)
    self.settings = {}
    for setting, value in pairs(source.settings) do
      self.settings[setting] = value
    end
    self:write_conf(ALONE)
    self:write_conf(opts.conf or {})
    for path, text in pairs(opts.files or {}) do
      host.node_write(self.handle, self.data .. "/" .. path, text)
    end
    return self
  end
end
