--- Error values: raise them, test them, give them context.
--
-- Everything rpitr raises is a table `{ kind, code, message, detail, hint, where, trace, cause,
-- retryable, step }`. `kind` is one of: arg state timeout cancelled interrupted io environment
-- postgres sql wal archive verify assert script internal. For SQL, `code` is the SQLSTATE.

local _, internal = ...

local err = {}

--- Whether `e` is an rpitr error, of the given kind and code if they are given.
-- @param e any  what `pcall` returned
-- @param kind string?  such as "sql"
-- @param code string?  such as "57P01"
-- @usage local ok, e = pcall(db.query, db, "SELECT 1/0"); assert(err.is(e, "sql", "22012"))
function err.is(e, kind, code)
  return internal.is_error(e) and (kind == nil or e.kind == kind) and (code == nil or e.code == code)
end

--- Raises an error with these fields.
-- @param fields table|string  at least `message`; `kind` defaults to "script"
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
-- @param e any  the error that was caught
-- @param message string  what was being done: "while restoring the base backup"
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
function err.try(fn, ...)
  local ok, result = xpcall(fn, internal.as_error, ...)
  if ok then
    return result
  end
  return nil, result
end

--- Raises an error of kind "assert" unless `value` is truthy. Returns `value`.
function err.check(value, message, detail)
  if not value then
    internal.raise({ kind = "assert", message = message or "check failed", detail = detail }, 2)
  end
  return value
end

return err
