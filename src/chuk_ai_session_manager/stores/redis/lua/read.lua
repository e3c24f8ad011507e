-- Read a session: its header, and as many of the requested events as one reply should have.
-- KEYS[1] the conversation's key, or a key that points to it
-- ARGV    session id; number of the first event (below 0: how many events before the end) or ''; number after
--         the last event or ''; events in a chunk; bytes in a reply
-- Returns 'session', the header, chunks of events, the number after the last returned event, the numbers of
--         the first requested event and after the last one, and the fields that the conversation shares
local key, id, start = KEYS[1], ARGV[1], tonumber(ARGV[2])
local n = redis.call('HGET', key, 's:' .. id)
if not n then
  local elsewhere = redis.call('HGET', key, 'in')
  if not elsewhere then
    redis.call('HDEL', key, 'in')  -- changes nothing; fails on a read-only server, whose data may be old
  end
  return {'not here', elsewhere or ''}
end
local header = redis.call('HMGET', key, 'schema', n .. ':count', n .. ':revision', n .. ':rewrites',
  n .. ':counters', n .. ':metadata', n .. ':parent_id', n .. ':child_ids', n .. ':task_ids',
  n .. ':runs', n .. ':state', n .. ':born')
local shared = {}  -- for a segment before the last one: the last segment's state and metadata
local live = redis.call('HGET', key, 'last')
local live_n = live and live ~= id and redis.call('HGET', key, 's:' .. live)
if live_n then
  shared = redis.call('HMGET', key, live_n .. ':state', live_n .. ':metadata')
end
local count = tonumber(header[2]) or 0  -- the caller reports a header without it as damaged
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
