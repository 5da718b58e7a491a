-- Assigns each request to an arm. The words of the matched route (its metadata) say everything; there is no data in this code.
-- backend/delivery/routers/assignment.py is the same in Python.

local bit = require("bit")
local bxor, lshift, rshift, tobit = bit.bxor, bit.lshift, bit.rshift, bit.tobit

local MAX_UNIT_BYTES = 256
local BUCKETS = 10000

-- FNV-1a with 32 bits, folded once; h * 16777619 as shifts, because the product would not fit into a double exactly.
local function bucket(text)
  local h = tobit(2166136261)
  for position = 1, #text do
    h = bxor(h, text:byte(position))
    h = tobit(h + lshift(h, 1) + lshift(h, 4) + lshift(h, 7) + lshift(h, 8) + lshift(h, 24))
  end
  h = bxor(h, rshift(h, 16))
  if h < 0 then h = h + 4294967296 end
  return h % BUCKETS
end

local function owner(arms, number)
  for _, arm in ipairs(arms) do
    for _, range in ipairs(arm.ranges) do
      if range[1] <= number and number < range[2] then return arm.arm end
    end
  end
end

function envoy_on_request(handle)
  local words = handle:metadata()
  local unit_header = words:get("unit_header")
  if not unit_header then return end -- not the first choice of an endpoint
  local headers = handle:headers()
  local unit, assigned = headers:get(unit_header), nil
  if unit and #unit > 0 and #unit <= MAX_UNIT_BYTES then
    local number = bucket(words:get("salt") .. ":" .. unit)
    headers:replace("x-cs-bucket", string.format("%d", number))
    assigned = owner(words:get("arms"), number)
  end
  -- The route is chosen again after this, now by the arm.
  headers:replace("x-cs-assigned-arm", assigned or words:get("champion"))
end
