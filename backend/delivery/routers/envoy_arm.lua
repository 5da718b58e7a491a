-- Runs for each attempt at one arm: pins its version, tells a dead arm from a bad request, and stamps who answered.
-- What stands between two @ is put in as a quoted string.

local INFER, READY = @INFER@, @READY@
local ARM, VERSION = @ARM@, @VERSION@
local SERVER = @SERVER@
local STAMPS = { "x-cs-arm", "x-cs-assigned-arm", "x-cs-version", "x-cs-generation", "x-cs-bucket" }
local MALFORMED = '{"error":"failed to parse the request JSON'

-- The server refused, or does not know what was asked: if the version is not ready, that is not the caller's doing.
local function is_dead(handle)
  local answer = handle:httpCall(SERVER, { [":method"] = "GET", [":path"] = READY, [":authority"] = "ready" }, "", 1000)
  return answer[":status"] ~= "200"
end

-- Triton answers a body that is no JSON with 500, which is not the arm's doing.
local function is_malformed(handle)
  local length = tonumber(handle:headers():get("content-length"))
  if not length or length < #MALFORMED or length > 4096 then return false end
  return handle:body():getBytes(0, #MALFORMED) == MALFORMED
end

local function status_of(handle)
  local status = handle:headers():get(":status")
  if status == "400" or status == "404" then return is_dead(handle) and "503" or status end
  if status == "500" then return is_malformed(handle) and "400" or status end
  return status
end

function envoy_on_request(handle)
  handle:headers():replace(":path", INFER)
end

function envoy_on_response(handle)
  local status = status_of(handle) -- it may wait, and what was taken from the handle before that is void
  local headers = handle:headers()
  headers:replace(":status", status)
  for _, name in ipairs(STAMPS) do headers:remove(name) end -- only a router stamps
  headers:replace("x-cs-arm", ARM)
  headers:replace("x-cs-version", VERSION)
end
