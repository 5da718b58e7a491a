-- Hears what an arm answered, where its endpoint has a shadow: the shadow's own answers, and the live ones beside them.
-- What stands between two @ is put in as a quoted string.
-- Nobody waits for this: the body is read as it passes by, and what is told of it is sent without waiting for an answer. Where
-- nobody listens, where too much is under way, or where this Envoy knows no such cluster, the answer is not told, and that is
-- all.

local ENDPOINT, SHADOW, ARM, VERSION, UNIT = @ENDPOINT@, @SHADOW@, @ARM@, @VERSION@, @UNIT@
local LISTENER = @LISTENER@
local KEPT = "countersign.answer"
local MOST_BYTES = 65536
local LONGEST = 256
local TIMEOUT_MS = 1000

local function bounded(text)
  return text and #text <= LONGEST and text or ""
end

local function now(handle)
  return handle:timestampString(EnvoyTimestampResolution.MICROSECOND) -- which is not there yet while the script is loaded
end

function envoy_on_request(handle)
  if not EnvoyTimestampResolution then return end -- an Envoy that is too old to tell the time
  local headers, kept = handle:headers(), handle:streamInfo():dynamicMetadata()
  kept:set(KEPT, "begun", now(handle))
  kept:set(KEPT, "id", bounded(headers:get("x-request-id")))
  kept:set(KEPT, "unit", bounded(headers:get(UNIT)))
  kept:set(KEPT, "probe", bounded(headers:get("x-cs-probe")))
  kept:set(KEPT, "generation", bounded(headers:get("x-cs-generation")))
end

-- The body, or "" where it is too large; and its whole size. Pieces pass on as they come: nothing is held back.
local function body_of(handle)
  local pieces, size = {}, 0
  for piece in handle:bodyChunks() do
    local length = piece:length()
    size = size + length
    if size > MOST_BYTES then
      pieces = {}
    elseif length > 0 then
      pieces[#pieces + 1] = piece:getBytes(0, length)
    end
  end
  return table.concat(pieces), size
end

function envoy_on_response(handle)
  local headers, kept = handle:headers(), handle:streamInfo():dynamicMetadata():get(KEPT)
  local status = headers:get(":status")
  if not kept or kept["id"] == "" then return end
  if ARM ~= SHADOW and status ~= "200" then return end -- the router's log tells of it
  local told = {
    [":method"] = "POST",
    [":path"] = "/answers",
    [":authority"] = LISTENER,
    ["x-cs-endpoint"] = ENDPOINT,
    ["x-cs-shadow"] = SHADOW,
    ["x-cs-arm"] = ARM,
    ["x-cs-version"] = VERSION,
    ["x-cs-unit-header"] = UNIT,
    ["x-cs-unit"] = kept["unit"],
    ["x-cs-id"] = kept["id"],
    ["x-cs-probe"] = kept["probe"],
    ["x-cs-generation"] = kept["generation"],
    ["x-cs-begun"] = kept["begun"],
    ["x-cs-status"] = status,
    ["x-cs-encoding"] = bounded(headers:get("content-encoding")),
    ["x-cs-json-bytes"] = bounded(headers:get("inference-header-content-length")),
  }
  local body, size = body_of(handle) -- it waits, and what was taken from the handle before that is void
  told["x-cs-bytes"] = tostring(size)
  told["x-cs-ended"] = now(handle)
  pcall(handle.httpCall, handle, LISTENER, told, body, TIMEOUT_MS, true)
end
