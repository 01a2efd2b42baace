--- Containers of your own: run, exec, copy, wait, with networks and volumes, on the Docker engine that
-- DOCKER_HOST, the current context or the usual socket leads to.
--
-- Labs need none of this: `--runtime docker` runs their servers in containers by itself. This is for scripts
-- that orchestrate something else beside them. What is made here carries rpitr's labels and belongs to a lab of
-- its own: it goes when the run ends, `--keep` keeps it, and `rpitr lab gc` finds what a run that was killed left.
-- Containers, networks and volumes are closable: `local c <close> = docker.run(...)` removes it at the end of the block.

local host, internal = ...
local args = require "rpitr.core.args"
local container = require "rpitr.docker.container"
local life = require "rpitr.lab.life"
local output = require "rpitr.docker.output"
local sh = require "rpitr.sh"
local wait = require "rpitr.docker.wait"

local docker = {}

--- Wait strategies, for `docker.run { wait = ... }` and `container:wait(...)`. Each takes { timeout = "60s",
-- every = "100ms" }.
--
-- * `docker.wait.log(text, options)`: the log holds this text (a plain text, no pattern)
-- * `docker.wait.port(port, options)`: the published port accepts connections
-- * `docker.wait.healthy(options)`: the image's own health check passes
-- * `docker.wait.exec({ program, argument... }, options)`: the program succeeds in the container
-- * `docker.wait.exit(options)`: the container has ended; returns its exit status
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

local Network = { __name = "rpitr.Network" }
Network.__index = Network

--- Removes the network. Its containers must be gone.
function Network:rm()
  host.docker_network_remove(engine().all, self.name)
end

Network.__close = Network.rm

--- Makes a network. Containers in it reach each other by name and alias.
-- @param options { name = string?, internal = false }  `internal`: without a way out
-- @return network, closable: { name, rm() }
-- @usage local net <close> = docker.network()
function docker.network(options)
  local opts = args.options("docker.network", options, { name = "string?", internal = { "boolean", false } })
  local network = setmetatable({ name = name_of(opts.name, "network") }, Network)
  host.docker_network_create(engine().all, network.name, opts.internal)
  return network
end

local Volume = { __name = "rpitr.Volume" }
Volume.__index = Volume

--- Removes the volume and what is in it. No container may use it any more.
function Volume:rm()
  host.docker_volume_remove(engine().all, self.name)
end

Volume.__close = Volume.rm

--- Makes a volume.
-- @param options { name = string? }
-- @return volume, closable: { name, rm() }
-- @usage local data <close> = docker.volume()
function docker.volume(options)
  local opts = args.options("docker.volume", options, { name = "string?" })
  local volume = setmetatable({ name = name_of(opts.name, "volume") }, Volume)
  host.docker_volume_create(engine().all, volume.name)
  return volume
end

-- Images ---------------------------------------------------------------------------------------------

--- Whether the engine has an image.
-- @usage assert(not docker.has_image "no/such:image")
function docker.has_image(image)
  return host.docker_has_image(engine().all, args.check("docker.has_image", "image", image, "string"))
end

--- Pulls an image, showing how far it is.
-- @param image string  name:tag; without a tag, :latest
-- @param options { timeout = "30m" }
-- @error environment  pull_failed, with what the registry or the engine said; no_engine
function docker.pull(image, options)
  args.check("docker.pull", "image", image, "string")
  local opts = args.options("docker.pull", options, { timeout = { "duration", 1800 } })
  output.show("pulling " .. image, host.docker_pull(engine().all, image), opts.timeout)
end

--- Builds an image from a folder with a Dockerfile.
-- @param folder string  all of it is sent to the engine
-- @param options { tag = string, dockerfile = "Dockerfile", args = { NAME = value }?, no_cache = false,
--   timeout = "30m" }
-- @return tag
-- @error script  build_failed, with the step that failed
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

--- Removes an image's name. Returns whether there was one.
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

--- Makes and starts a container. An image the engine does not have is pulled.
-- @param image string
-- @param options { command = { word... }?, entrypoint = { word... }?, env = { NAME = value }?, user = string?,
--   cwd = string?, ports = { port... }?, volumes = { [path] = volume }?, network = network?,
--   aliases = { name... }?, memory = size?, name = string?, wait = strategy | { strategy... }?, start = true }
--   `command` is a list of words, no shell in between; `ports` are published on 127.0.0.1, where the engine
--   likes (`container:port(5432)` tells) or, with `{ [5432] = 15432 }`, where you say
-- @return container, closable; see `rpitr.docker.container`
-- @error environment  no_engine, no_image, pull_failed, port_taken
-- @usage local c <close> = docker.run("rpitr/postgres:15", { command = { "sleep", "60" } })
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
