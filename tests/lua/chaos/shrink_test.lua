-- Shrinking finds the few items it takes, whatever they are and wherever they stand.

local shrink = require "rpitr.chaos.shrink"

local function numbers(n)
  local list = {}
  for i = 1, n do
    list[i] = i
  end
  return list
end

local function has(list, wanted)
  for _, item in ipairs(list) do
    if item == wanted then
      return true
    end
  end
  return false
end

test.it("one item of many", function()
  for guilty = 1, 40 do
    local tried = 0
    local rest = shrink.minimal(numbers(40), function(part)
      tried = tried + 1
      return has(part, guilty)
    end)
    test.equal(rest, { guilty })
    test.ok(tried <= 60, tried .. " runs")
  end
end)

test.it("items that only fail together, in their order", function()
  local rest = shrink.minimal(numbers(30), function(part)
    return has(part, 3) and has(part, 17) and has(part, 29)
  end)
  test.equal(rest, { 3, 17, 29 })
end)

test.it("nothing at all, when it fails without any", function()
  test.equal(
    shrink.minimal(numbers(8), function()
      return true
    end),
    {}
  )
end)

test.it("everything, when it takes everything", function()
  test.equal(
    shrink.minimal(numbers(7), function(part)
      return #part == 7
    end),
    numbers(7)
  )
end)
