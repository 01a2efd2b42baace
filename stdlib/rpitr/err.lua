--- Error values: raise them, test them, give them context.
---@class rpitr.err
local err = {}

local _, internal = ...

--- What an error is about; `docs/errors.md` says what each means for the exit code.
---@alias rpitr.err.Kind "arg"|"state"|"timeout"|"cancelled"|"interrupted"|"io"|"environment"|"postgres"|"sql"|"wal"|"archive"|"verify"|"assert"|"script"|"internal"

--- Everything rpitr raises.
---@class rpitr.Error
---@field kind rpitr.err.Kind
---@field code? string  which one of its kind; of SQL, the SQLSTATE
---@field message string
---@field detail? string  what a program or server said, several lines
---@field hint? string  what to do about it
---@field where? { file: string, line: integer, name?: string }  the script's line
---@field trace? { file: string, line: integer, name?: string }[]  how it got there, innermost first
---@field cause? rpitr.Error
---@field retryable? boolean  trying again may help
---@field step? string  the drill's step it happened in
---@field value? any  what was raised, if it was no error
---@field [string] any  whatever else `err.raise` was given

--- Whether `e` is an rpitr error, of the given kind and code if they are given.
---
--- ```lua
--- local ok, e = pcall(db.query, db, "SELECT 1/0")
--- assert(not ok and err.is(e, "sql", "22012"))
--- ```
---@param e any  what `pcall` returned
---@param kind? rpitr.err.Kind
---@param code? string  such as "57P01"
---@return boolean
function err.is(e, kind, code)
  return internal.is_error(e) and (kind == nil or e.kind == kind) and (code == nil or e.code == code)
end

---@class rpitr.err.Fields
---@field message? string  (default "error")
---@field kind? rpitr.err.Kind  (default "script")
---@field code? string
---@field detail? string
---@field hint? string
---@field cause? rpitr.Error
---@field retryable? boolean
---@field step? string
---@field [string] any  whatever else the error should carry

--- Raises an error with these fields.
---
--- ```lua
--- local ok, e = pcall(err.raise, { message = "the shop is closed", code = "closed", hint = "come back later" })
--- assert(not ok and err.is(e, "script", "closed"))
--- ```
---@param fields rpitr.err.Fields|string  a text is the message
---@return nil  it does not return
function err.raise(fields)
  if type(fields) == "string" then
    fields = { message = fields }
  end
  local copy = {}
  for key, value in pairs(fields) do
    copy[key] = value
  end
  copy.kind = copy.kind or "script"
  copy.message = tostring(copy.message or "error")
  internal.raise(copy, 2)
end

--- Raises `e` again under a new message; contexts stack, the original stays the cause.
---
--- ```lua
--- local ok, e = pcall(function()
---   local ok, e = pcall(db.query, db, "SELECT 1/0")
---   if not ok then
---     err.wrap(e, "while counting")
---   end
--- end)
--- assert(not ok and e.message == "while counting" and e.cause.code == "22012")
--- ```
---@param e any  the error that was caught
---@param message string  what was being done: "while restoring the base backup"
---@return nil  it does not return
function err.wrap(e, message)
  local cause = internal.as_error(e, 2)
  internal.raise({
    kind = cause.kind,
    code = cause.code,
    message = message,
    hint = cause.hint,
    retryable = cause.retryable,
    cause = cause,
  }, 2)
end

--- Runs `fn(...)`; returns its first result, or nil and the error.
---
--- ```lua
--- local rows, e = err.try(db.query, db, "SELECT 1/0")
--- assert(rows == nil and e.code == "22012")
--- ```
---@param fn fun(...): any
---@param ... any  what `fn` is called with
---@return any result
---@return rpitr.Error? e
function err.try(fn, ...)
  local ok, result = xpcall(fn, internal.as_error, ...)
  if ok then
    return result
  end
  return nil, result
end

--- Raises unless `value` is truthy. Returns `value`.
---
--- ```lua
--- local n = err.check(db:value "SELECT 1", "the server does not answer")
--- assert(n == 1)
--- ```
---@param value any
---@param message? string  (default "check failed")
---@param detail? string
---@return any value
---@error assert
function err.check(value, message, detail)
  if not value then
    internal.raise({ kind = "assert", message = message or "check failed", detail = detail }, 2)
  end
  return value
end

return err
