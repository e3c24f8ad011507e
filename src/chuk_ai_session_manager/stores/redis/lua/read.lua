-- A session: its header, and as many of the events that are asked for as one reply should hold.
-- KEYS[1] where the conversation lives, or points to where it does
-- ARGV    session id, number of the first event wanted (below 0: how many, up to the end) or '', number
--         after the last one's or '', events in a chunk, bytes in a reply
-- Gives   'session', the header, chunks of events, the number after the last event in them, the number of
--         the first event wanted, the number after the last one wanted, and what is the conversation's
local key, id, start = KEYS[1], ARGV[1], tonumber(ARGV[2])
local n = redis.call('HGET', key, 's:' .. id)
if not n then
  local elsewhere = redis.call('HGET', key, 'in')
  if not elsewhere then
    redis.call('HDEL', key, 'in')  -- changes nothing: only a server that takes writes may say so
  end
  return {'not here', elsewhere or ''}
end
local header = redis.call('HMGET', key, 'schema', n .. ':count', n .. ':revision', n .. ':rewrites',
  n .. ':counters', n .. ':metadata', n .. ':parent_id', n .. ':child_ids', n .. ':task_ids',
  n .. ':runs', n .. ':state', n .. ':born')
local shared = {}  -- of a segment that is not the last one: the state and metadata of that
local live = redis.call('HGET', key, 'last')
local live_n = live and live ~= id and redis.call('HGET', key, 's:' .. live)
if live_n then
  shared = redis.call('HMGET', key, live_n .. ':state', live_n .. ':metadata')
end
local count = tonumber(header[2]) or 0  -- the caller says that a header without it is damaged
local last = math.max(0, math.min(tonumber(ARGV[3]) or count, count))
start = start or last
if start < 0 then
  start = math.max(0, last + start)
end
start = math.min(start, last)
local chunks, next, bytes = {}, start, 0
while next < last and bytes < tonumber(ARGV[5]) do
  local chunk = {}
  while next < last and #chunk < tonumber(ARGV[4]) and bytes < tonumber(ARGV[5]) do
    local body = redis.call('HGET', key, n .. ':' .. next)
    if not body then
      return {'damaged', next}
    end
    chunk[#chunk + 1] = body
    bytes = bytes + #body
    next = next + 1
  end
  chunks[#chunks + 1] = table.concat(chunk, ',')
end
return {'session', header, chunks, next, start, last, shared}
