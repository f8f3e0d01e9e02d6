-- What wrk asks for, and what it tells at the end.
--
--     wrk … -s requests.lua URL -- FILE SEED
--
-- FILE has a path a line, of which one is chosen at random for each request. WORDS in it stands for a text that was not
-- asked for before: one of some ten billion.

local WORDS = {
  "red", "green", "blue", "old", "small", "wooden", "broken", "round", "wet", "bright", "bicycle", "boat", "house",
  "horse", "tree", "river", "street", "window", "letter", "stamp", "king", "flower", "bridge", "tower", "mountain",
  "child", "bird", "lamp", "table", "garden", "harbour", "train", "market", "shadow", "cloud", "stone", "hat", "rope",
}
local paths = {}

local function words()
  local chosen = {}
  for at = 1, 6 do chosen[at] = WORDS[math.random(#WORDS)] end
  return table.concat(chosen, "+")
end

function init(args)
  for line in io.lines(args[1]) do paths[#paths + 1] = line end
  math.randomseed(tonumber(args[2]))
end

function request()
  return wrk.format("GET", (paths[math.random(#paths)]:gsub("WORDS", words)))
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('\n{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}\n', summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, failed))
end
