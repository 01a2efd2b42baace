--- Containers of your own: run, exec, copy, wait, with networks and volumes, on the Docker engine that
--- DOCKER_HOST, the current context or the usual socket leads to.
---
--- Labs need none of this: `--runtime docker` runs their servers in containers by itself. This is for scripts
--- that orchestrate something else beside them. What is made here carries rpitr's labels and belongs to a lab of
--- its own: it goes when the run ends, `--keep` keeps it, and `rpitr lab gc` finds what a run that was killed left.
--- Containers, networks and volumes are closable: `local c <close> = docker.run(...)` removes it at the end of the block.
---@class rpitr.docker
local docker = {}

local host, internal = ...
local args = require "rpitr.core.args"
local container = require "rpitr.docker.container"
local life = require "rpitr.lab.life"
local output = require "rpitr.docker.output"
local sh = require "rpitr.sh"
local wait = require "rpitr.docker.wait"

--- Wait strategies, for `docker.run { wait = ... }` and `container:wait(...)`.
---@type rpitr.docker.wait
docker.wait = wait

-- One lab a run for everything made here, connected to the engine when it is first needed.
local engine = life.shared(function()
  return { runtime = "docker" }
end, function(handle)
  return { all = host.docker_of(handle), made = 0 }
end)

local function name_of(name, kind)
  local here = engine()
  here.made = here.made + 1
  if name ~= nil and not name:match "^[%w][%w_.-]*$" then
    internal.raise({
      kind = "arg",
      message = ("%q cannot be the name of a %s"):format(name, kind),
      hint = "use letters, digits, -, _ and ., a letter or digit first",
    }, 3)
  end
  return host.docker_full_name(here.all, name or ("%s-%d"):format(kind, here.made))
end

-- Networks and volumes -------------------------------------------------------------------------------

--- A network; closable, which removes it.
---@class rpitr.Network
---@field name string
local Network = { __name = "rpitr.Network" }
Network.__index = Network

--- Removes the network. Its containers must be gone.
---@error state, environment
function Network:rm()
  host.docker_network_remove(engine().all, self.name)
end

Network.__close = Network.rm

---@class rpitr.docker.NetworkOptions
---@field name? string  default: "network-" and a number
---@field internal? boolean  (default false) without a way out

--- Makes a network. Containers in it reach each other by name and alias.
---
--- ```lua
--- -- needs: a Docker engine
--- local net <close> = docker.network()
--- local c <close> = docker.run("rpitr/postgres:15", { command = { "sleep", "60" }, network = net })
--- ```
---@param options? rpitr.docker.NetworkOptions
---@return rpitr.Network
---@error environment  no engine
---@error arg
function docker.network(options)
  local opts = args.options("docker.network", options, { name = "string?", internal = { "boolean", false } })
  local network = setmetatable({ name = name_of(opts.name, "network") }, Network)
  host.docker_network_create(engine().all, network.name, opts.internal)
  return network
end

--- A volume; closable, which removes it.
---@class rpitr.Volume
---@field name string
local Volume = { __name = "rpitr.Volume" }
Volume.__index = Volume

--- Removes the volume and what is in it. No container may use it any more.
---@error state, environment
function Volume:rm()
  host.docker_volume_remove(engine().all, self.name)
end

Volume.__close = Volume.rm

---@class rpitr.docker.VolumeOptions
---@field name? string  default: "volume-" and a number

--- Makes a volume.
---
--- ```lua
--- -- needs: a Docker engine
--- local data <close> = docker.volume()
--- local c <close> = docker.run("rpitr/postgres:15", { command = { "sleep", "60" }, volumes = { ["/data"] = data } })
--- ```
---@param options? rpitr.docker.VolumeOptions
---@return rpitr.Volume
---@error environment  no engine
---@error arg
function docker.volume(options)
  local opts = args.options("docker.volume", options, { name = "string?" })
  local volume = setmetatable({ name = name_of(opts.name, "volume") }, Volume)
  host.docker_volume_create(engine().all, volume.name)
  return volume
end

-- Images ---------------------------------------------------------------------------------------------

--- Whether the engine has an image.
---
--- ```lua
--- -- needs: a Docker engine
--- assert(not docker.has_image "no/such:image")
--- ```
---@param image string  name:tag; without a tag, :latest
---@return boolean
---@error environment  no engine
---@error arg
function docker.has_image(image)
  return host.docker_has_image(engine().all, args.check("docker.has_image", "image", image, "string"))
end

---@class rpitr.docker.PullOptions
---@field timeout? rpitr.Duration  (default "30m")

--- Pulls an image, showing how far it is.
---
--- ```lua
--- -- needs: a Docker engine and a registry
--- docker.pull "postgres:17"
--- ```
---@param image string  name:tag; without a tag, :latest
---@param options? rpitr.docker.PullOptions
---@error environment  code "pull_failed", with what the registry or the engine said; code "no_engine"
---@error timeout, arg
function docker.pull(image, options)
  args.check("docker.pull", "image", image, "string")
  local opts = args.options("docker.pull", options, { timeout = { "duration", 1800 } })
  output.show("pulling " .. image, host.docker_pull(engine().all, image), opts.timeout)
end

---@class rpitr.docker.BuildOptions
---@field tag string  name:tag of the image
---@field dockerfile? string  (default "Dockerfile") in that folder
---@field args? table<string, string>  (default {}) build arguments
---@field no_cache? boolean  (default false)
---@field timeout? rpitr.Duration  (default "30m")

--- Builds an image from a folder with a Dockerfile.
---
--- ```lua
--- -- needs: a Docker engine
--- local folder = lab.info().folder .. "/image"
--- fs.mkdir(folder)
--- fs.write(folder .. "/Dockerfile", "FROM rpitr/postgres:15\nENV PGTZ=UTC\n")
--- local image = docker.build(folder, { tag = "example/postgres:1" })
--- docker.remove_image(image)
--- ```
---@param folder string  all of it is sent to the engine
---@param options rpitr.docker.BuildOptions
---@return string tag
---@error script  code "build_failed", with the step that failed
---@error environment  no engine
---@error timeout, arg
function docker.build(folder, options)
  args.check("docker.build", "folder", folder, "string")
  local opts = args.options("docker.build", options, {
    tag = "string",
    dockerfile = { "string", "Dockerfile" },
    args = { "table", {} },
    no_cache = { "boolean", false },
    timeout = { "duration", 1800 },
  })
  local sent = sh.run({ "tar", "-c", "-C", folder, "." }).stdout
  local steps = host.docker_build(engine().all, sent, {
    tag = opts.tag,
    dockerfile = opts.dockerfile,
    args = opts.args,
    no_cache = opts.no_cache,
  })
  output.show("building " .. opts.tag, steps, opts.timeout)
  return opts.tag
end

--- Removes an image's name.
---@param image string
---@return boolean found  whether there was one
---@error environment  no engine
---@error arg
function docker.remove_image(image)
  return host.docker_remove_image(engine().all, args.check("docker.remove_image", "image", image, "string"))
end

-- Containers -----------------------------------------------------------------------------------------

-- { 5432 } or { [5432] = 15432 }: a port, or a port and where it is published.
local function read_ports(ports)
  local published = {}
  for key, value in pairs(ports) do
    local port, at = key, value
    if math.type(key) == "integer" and key <= #ports then
      port, at = value, 0
    end
    if math.type(port) ~= "integer" or math.type(at) ~= "integer" or port < 1 or port > 65535 then
      internal.raise({
        kind = "arg",
        message = "docker.run: option ports must be a list of port numbers, or { [port] = port on this machine }",
      }, 3)
    end
    published[port] = at
  end
  return published
end

local function names_of(things)
  local names = {}
  for path, thing in pairs(things) do
    names[path] = type(thing) == "table" and thing.name or thing
  end
  return names
end

---@class rpitr.docker.RunOptions
---@field command? string[]  words, no shell in between; default: the image's
---@field entrypoint? string[]  default: the image's
---@field env? table<string, string>
---@field user? string  name, or uid:gid
---@field cwd? string
---@field ports? integer[]|table<integer, integer>  (default {}) published on 127.0.0.1, where the engine likes (`container:port(5432)` tells) or, with `{ [5432] = 15432 }`, where you say
---@field volumes? table<string, rpitr.Volume|string>  (default {}) volumes, by the path they are mounted at
---@field network? rpitr.Network|string
---@field aliases? string[]  (default {}) more names it has in the network
---@field memory? rpitr.Size  limit
---@field name? string  default: "container-" and a number
---@field wait? rpitr.WaitStrategy|rpitr.WaitStrategy[]  how to tell that it is ready
---@field start? boolean  (default true)

--- Makes and starts a container. An image the engine does not have is pulled. What does not come up is removed.
---
--- ```lua
--- -- needs: a Docker engine
--- local c <close> = docker.run("rpitr/postgres:15", { command = { "sleep", "60" } })
--- print(c:exec({ "psql", "--version" }).stdout)
--- ```
---@param image string  name:tag; without a tag, :latest
---@param options? rpitr.docker.RunOptions
---@return rpitr.Container
---@error environment  code "no_engine", "no_image", "pull_failed" or "port_taken"
---@error timeout, state, arg
function docker.run(image, options)
  args.check("docker.run", "image", image, "string")
  local opts = args.options("docker.run", options, {
    command = "table?",
    entrypoint = "table?",
    env = "table?",
    user = "string?",
    cwd = "string?",
    ports = { "table", {} },
    volumes = { "table", {} },
    network = "any?",
    aliases = { "table", {} },
    memory = "size?",
    name = "string?",
    wait = "any?",
    start = { "boolean", true },
  })
  local wanted = {
    image = image,
    name = name_of(opts.name, "container"),
    command = opts.command,
    entrypoint = opts.entrypoint,
    env = opts.env,
    user = opts.user,
    cwd = opts.cwd,
    ports = read_ports(opts.ports),
    volumes = names_of(opts.volumes),
    network = type(opts.network) == "table" and opts.network.name or opts.network,
    aliases = opts.aliases,
    memory = opts.memory and math.floor(opts.memory),
  }
  if not docker.has_image(image) then
    docker.pull(image)
  end
  local made = container.attach(engine().all, host.docker_create(engine().all, wanted), wanted.name, image)
  if not opts.start then
    return made
  end
  -- What does not come up is not left behind by its script.
  local ok, e = xpcall(function()
    made:start()
    if opts.wait then
      made:wait(opts.wait)
    end
  end, internal.as_error)
  if not ok then
    require("rpitr.task").shield(pcall, made.rm, made)
    error(e, 0)
  end
  return made
end

return docker
