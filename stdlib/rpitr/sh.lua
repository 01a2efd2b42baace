--- Programs of the machine rpitr runs on.

local host, internal = ...
local args = require "rpitr.core.args"

local sh = {}

--- Runs a program and waits for it; no shell is involved. Cancelling the task kills the program.
-- @param command { program, argument..., env=, folder=, stdin=, timeout=, check=, inherit= }
--   `check` (default true) raises an error of kind "io" on a non-zero exit; `inherit` lets the
--   program use the terminal instead of capturing its output.
-- @return { code, signal, stdout, stderr }
-- @usage assert(sh.run({ "echo", "hello" }).stdout == "hello\n")
function sh.run(command)
  args.check("sh.run", "command", command, "table")
  local options = {}
  local arguments = {}
  for key, value in pairs(command) do
    if math.type(key) ~= "integer" then
      options[key] = value
    end
  end
  for i, value in ipairs(command) do
    arguments[i] =
      args.check("sh.run", "argument " .. i, type(value) == "number" and tostring(value) or value, "string")
  end
  local opts = args.options("sh.run", options, {
    env = "table?",
    folder = "string?",
    stdin = "string?",
    timeout = "duration?",
    check = { "boolean", true },
    inherit = { "boolean", false },
  })
  local program = table.remove(arguments, 1)
  args.check("sh.run", "program", program, "string")
  local function run()
    return host.process_run {
      program = program,
      arguments = arguments,
      env = opts.env,
      folder = opts.folder,
      stdin = opts.stdin,
      inherit = opts.inherit,
    }
  end
  local result = opts.timeout and require("rpitr.task").with_timeout(opts.timeout, run) or run()
  if opts.check and result.code ~= 0 then
    internal.raise({
      kind = "io",
      code = "exit_status",
      message = ("%s ended with %s"):format(
        program,
        result.signal and "signal " .. result.signal or "exit status " .. result.code
      ),
      detail = result.stderr ~= "" and result.stderr or nil,
    }, 2)
  end
  return result
end

local Output = { __name = "rpitr.Output" }
Output.__index = Output

--- What `io.popen` returns here: the program has ended, its output is read from memory.
function sh.popen(command, mode)
  if mode ~= nil and mode:sub(1, 1) ~= "r" then
    internal.raise({
      kind = "arg",
      message = 'io.popen can only read here, got mode "' .. mode .. '"',
      hint = "use sh.run { ..., stdin = text }",
    }, 3)
  end
  local result = sh.run { "sh", "-c", args.check("io.popen", "command", command, "string"), check = false }
  return setmetatable({ text = result.stdout, at = 1, code = result.code, signal = result.signal }, Output)
end

function Output:read(format)
  format = tostring(format or "l"):gsub("^%*", "")
  if format == "a" then
    local rest = self.text:sub(self.at)
    self.at = #self.text + 1
    return rest
  end
  if self.at > #self.text then
    return nil
  end
  local stop = self.text:find("\n", self.at, true) or #self.text + 1
  local line = self.text:sub(self.at, stop - (format == "L" and 0 or 1))
  self.at = stop + 1
  return line
end

function Output:lines()
  return function()
    return self:read "l"
  end
end

function Output:close()
  return self.code == 0 or nil, self.signal and "signal" or "exit", self.signal or self.code
end

Output.__close = Output.close

return sh
