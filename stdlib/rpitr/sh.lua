--- Programs of the machine rpitr runs on.
---@class rpitr.sh
local sh = {}

local host, internal = ...
local args = require "rpitr.core.args"

---@class rpitr.sh.Command
---@field [integer] string|number  the program, then its arguments
---@field env? table<string, string>  added to rpitr's own
---@field folder? string  to run it in
---@field stdin? string
---@field timeout? rpitr.Duration  then it is killed; default: none
---@field check? boolean  (default true) raise an error when it fails
---@field inherit? boolean  (default false) let it use the terminal instead of capturing its output

---@class rpitr.sh.Output
---@field code? integer  its exit status
---@field signal? integer  what ended it otherwise
---@field stdout string
---@field stderr string

--- Runs a program and waits for it; no shell is involved. Cancelling the task kills the program.
---
--- ```lua
--- assert(sh.run({ "echo", "hello" }).stdout == "hello\n")
--- ```
---@param command rpitr.sh.Command
---@return rpitr.sh.Output
---@error io  code "exit_status"; or there is no such program
---@error timeout, arg
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

--- The output of a program that has ended, read like a file.
---@class rpitr.Output
---@field package text string
---@field package at integer
---@field package code? integer
---@field package signal? integer
local Output = { __name = "rpitr.Output" }
Output.__index = Output

--- What `io.popen` is here: the command has ended when it returns, its output is read from memory.
---
--- ```lua
--- local file <close> = io.popen "echo one; echo two"
--- for line in file:lines() do
---   print(line)
--- end
--- ```
---@param command string  for sh
---@param mode? string  only "r"
---@return rpitr.Output
---@error arg
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

--- Reads a line without its end ("l"), one with it ("L"), or all that is left ("a").
---@param format? "l"|"L"|"a"|"*l"|"*L"|"*a"
---@return string?
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

--- The lines, for `for`.
---@return fun(): string?
function Output:lines()
  return function()
    return self:read "l"
  end
end

--- How the program ended, as Lua's own `file:close()` says it.
---@return true? ok
---@return "exit"|"signal" how
---@return integer? code  exit status or signal
function Output:close()
  return self.code == 0 or nil, self.signal and "signal" or "exit", self.signal or self.code
end

Output.__close = Output.close

return sh
