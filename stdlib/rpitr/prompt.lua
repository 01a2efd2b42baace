--- Questions to the person at the terminal. Where nobody can answer, the default is the answer;
--- nothing ever waits for input that cannot come.
---@class rpitr.prompt
local prompt = {}

local host, internal = ...
local args = require "rpitr.core.args"

---@class rpitr.prompt.LineOptions
---@field default? string  the answer without a terminal, and to an empty line

--- Asks for a line of text.
---
--- ```lua
--- local name = prompt.line("Your name", { default = "nobody" })
--- print(name)
--- ```
---@param question string
---@param options? rpitr.prompt.LineOptions
---@return string? answer  nil when the input has ended
---@error state  there is no terminal, and no default
---@error arg
function prompt.line(question, options)
  args.check("prompt.line", "question", question, "string")
  local opts = args.options("prompt.line", options, { default = "string?" })
  if not host.options.interactive then
    if opts.default == nil then
      internal.raise({ kind = "state", message = ("nobody can answer %q: there is no terminal"):format(question) }, 2)
    end
    return opts.default
  end
  local answer = host.read_line(question .. (opts.default and " [" .. opts.default .. "]" or "") .. ": ")
  if answer == nil or answer == "" then
    return opts.default or answer
  end
  return answer
end

--- Asks yes or no. `--yes` says yes; without a terminal the answer is no.
---
--- ```lua
--- if prompt.confirm "Drop everything?" then
---   print "dropped"
--- end
--- ```
---@param question string
---@return boolean
---@error arg
function prompt.confirm(question)
  args.check("prompt.confirm", "question", question, "string")
  if host.options.yes then
    return true
  end
  if not host.options.interactive then
    return false
  end
  local answer = host.read_line(question .. " [y/N]: ")
  return answer ~= nil and answer:lower():match "^y" ~= nil
end

return prompt
