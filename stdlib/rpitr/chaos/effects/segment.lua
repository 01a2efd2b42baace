--- Faults of archived segments at rest. The segment itself is held aside, so that healing is a rename.

local _, internal = ...

local LIST = [[cd "$1" && ls]]

-- `$1` segment, `$2` where it is held, `$3` how, `$4` a byte count. Healing waits while `$2.run` names a live process.
local DAMAGE = [[
set -e
path=$1 held=$2 how=$3 at=$4
mkdir -p "$(dirname "$held")"
echo $$ >"$held.run"
trap 'rm -f "$held.run"' EXIT
size=$(wc -c <"$path" | tr -d ' ')
case $how in
missing) mv "$path" "$held"; exit 0 ;;
truncated) head -c "$at" "$path" >"$held.bad" ;;
zeroed) { head -c "$at" "$path"; head -c $((size - at)) /dev/zero; } >"$held.bad" ;;
bitflip)
  cp "$path" "$held.bad"
  byte=$(od -A n -t u1 -j "$at" -N 1 "$path" | tr -d ' ')
  printf "\\$(printf %o $((byte ^ 1)))" | dd of="$held.bad" bs=1 seek="$at" conv=notrunc 2>/dev/null ;;
esac
ln "$path" "$held"
mv -f "$held.bad" "$path"]]

-- The segment a fault names, or the one at its place among all.
local function choose(node, fault)
  local list = node:exec({ "sh", "-c", LIST, "sh", node.archive }).stdout
  local names = {}
  for name in list:gmatch "[^\n]+" do
    if #name == 24 and name:match "^%x+$" then
      names[#names + 1] = name
    end
  end
  if #names == 0 then
    internal.raise({ kind = "state", code = "no_segment", message = "there is no segment in the archive yet" }, 4)
  end
  return names[1 + math.floor(fault.pick * (#names - 1) + 0.5)]
end

local damage = {
  resolve = function(_, fault, node)
    fault.segment = fault.segment or choose(node, fault)
  end,
  plan = function(_, fault, node, undo)
    undo.path = node.archive .. "/" .. fault.segment
    undo.held = node.archive .. ".held/" .. fault.segment
    return { { ["do"] = "put_back", node = node.name, path = undo.path, held = undo.held } }
  end,
  strike = function(_, fault, node, undo)
    local size = tonumber(node:exec({ "sh", "-c", 'wc -c <"$1"', "sh", undo.path }).stdout)
    local at = math.floor(size * (fault.keep or fault.at or 0))
    -- The very first page tells what kind of file it is; a fault is meant for what comes after.
    at = math.max(math.min(at, size - 1), math.min(8192, size - 1))
    node:exec { "sh", "-c", DAMAGE, "sh", undo.path, undo.held, fault.kind:match "_(%a+)$", at }
  end,
}

return {
  segment_missing = damage,
  segment_truncated = damage,
  segment_bitflip = damage,
  segment_zeroed = damage,
}
