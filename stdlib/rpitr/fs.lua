--- Files on the machine rpitr runs on. Of a lab in containers, the folders of the lab are seen here, too.
---@class rpitr.fs
local fs = {}

local host = ...
local args = require "rpitr.core.args"

-- Folders of a lab that runs in containers lie in volumes; what is read of them is mirrored first.
local function view(path)
  return host.options.runtime == "local" and path or host.local_view(path)
end

-- And what is changed is sent there.
local function store(path)
  if host.options.runtime ~= "local" then
    host.local_store(path)
  end
end

--- The whole file as a string.
---
--- ```lua
--- local path = lab.info().folder .. "/example.txt"
--- fs.write(path, "one\n")
--- fs.append(path, "two\n")
--- assert(fs.read(path) == "one\ntwo\n")
--- fs.remove(path)
--- assert(not fs.exists(path))
--- ```
---@param path string
---@return string
---@error io, arg
function fs.read(path)
  return host.fs_read(view(args.check("fs.read", "path", path, "string")))
end

--- Writes a file, replacing what was there.
---@param path string
---@param text string
---@error io, arg
function fs.write(path, text)
  host.fs_write(args.check("fs.write", "path", path, "string"), args.check("fs.write", "text", text, "string"))
  store(path)
end

--- Appends to a file, creating it if need be.
---@param path string
---@param text string
---@error io, arg
function fs.append(path, text)
  host.fs_append(view(args.check("fs.append", "path", path, "string")), args.check("fs.append", "text", text, "string"))
  store(path)
end

--- Whether something exists at `path`.
---@param path string
---@return boolean
---@error arg
function fs.exists(path)
  return host.fs_exists(view(args.check("fs.exists", "path", path, "string")))
end

--- Creates a folder and its parents.
---@param path string
---@error io, arg
function fs.mkdir(path)
  host.fs_mkdir(args.check("fs.mkdir", "path", path, "string"))
end

--- Removes a file; nothing happens if there is none.
---@param path string
---@error io, arg
function fs.remove(path)
  host.fs_remove(args.check("fs.remove", "path", path, "string"))
  store(path)
end

--- The names in a folder, sorted.
---
--- ```lua
--- for _, name in ipairs(fs.list(lab.info().folder)) do
---   print(name)
--- end
--- ```
---@param path string
---@return string[]
---@error io, arg
function fs.list(path)
  return host.fs_list(view(args.check("fs.list", "path", path, "string")))
end

--- SHA-256 of a file, in hex.
---@param path string
---@return string
---@error io, arg
function fs.sha256(path)
  return host.fs_sha256(view(args.check("fs.sha256", "path", path, "string")))
end

return fs
