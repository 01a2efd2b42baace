--- Questions to the person at the terminal. Where nobody can answer, the default is the answer;
-- nothing ever waits for input that cannot come.

local host, internal = ...
local args = require "rpitr.core.args"

local prompt = {}

--- Asks for a line of text. Without a terminal the default is returned; without a default that is
-- an error of kind "state".
-- @usage local name = prompt.line("Your name", { default = "nobody" })
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
