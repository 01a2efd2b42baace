---@meta

--- How long: seconds as a number, or text with a unit: `"250ms"`, `"5s"`, `"2m"`, `"1h"`, `"7d"`.
---@alias rpitr.Duration number|string

--- How much: bytes as an integer, or text with PostgreSQL's units, which are powers of 1024: `"512kB"`, `"16MB"`, `"1GB"`.
---@alias rpitr.Size integer|string

--- What `defer` gives: its function runs when the block is left.
---@class rpitr.Deferred

--- The words behind the script's name on the command line; `arg[0]` is the script. A drill gets its arguments as flags instead.
---@type string[]
arg = {}

--- Runs `f(err)` when the surrounding block is left, however it is left; `err` is what it is left with, if with an error.
--- `f` may wait; the first Ctrl-C and timeouts around it do not reach it. Deferred functions run in the opposite order of
--- their declaration, all of them; one that fails is reported and makes the exit code 14.
---
--- ```lua
--- do
---   local _ <close> = defer(function() print "left" end)
---   print "inside"
--- end
--- ```
---@param f fun(err?: rpitr.Error)
---@param options? rpitr.globals.DeferOptions
---@return rpitr.Deferred deferred  to be held in a `<close>` variable
---@error arg
function defer(f, options) end

---@class rpitr.globals.DeferOptions
---@field timeout? rpitr.Duration  (default "60s") how long it may take

--- Polls `fn` until it returns something truthy; the same as `timer.eventually`.
---
--- ```lua
--- local tries = 0
--- eventually(function()
---   tries = tries + 1
---   return tries == 3
--- end, { timeout = "5s", describe = "the third try" })
--- ```
---@param fn fun(): ...
---@param options? rpitr.timer.EventuallyOptions
---@return any ...  what `fn` returned
---@error timeout  the last error of `fn` is its cause
---@error arg
function eventually(fn, options) end

--- Prints a line on standard output, in order with what rpitr says itself. At the prompt of a session it appears above
--- the line that is being typed.
---@param ... any
function print(...) end

--- Loads a module once: `rpitr.<name>`, or a file beside the one that asks, beside the script, or in the script's `lib`
--- folder. Unlike Lua's own, a module may wait while it loads.
---
--- ```lua
--- local pitr = require "rpitr.pitr"
--- assert(pitr.restore)
--- ```
---@param name string
---@return any module  what the module's file returned
---@error arg  code "no_module"
---@error script  code "circular" or "syntax"
function require(name) end

--- Ends the run: the script unwinds, cleanup runs, then the process exits.
---@param code? integer|boolean  (default 0) true is 0, false is 1
function os.exit(code) end

--- Runs a command in a shell, with the terminal of this process. Other tasks run meanwhile.
---@param command? string  without one: whether there is a shell
---@return boolean? ok
---@return "exit"|"signal"? how  it ended
---@return integer? code  exit status or signal
function os.execute(command) end

--- Runs a command in a shell and reads what it writes, or writes what it reads. Other tasks run meanwhile.
---@param command string
---@param mode? "r"|"w"  (default "r")
---@return rpitr.Output
function io.popen(command, mode) end
