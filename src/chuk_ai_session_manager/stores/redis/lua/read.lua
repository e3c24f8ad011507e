-- A session: its header, and as many of its events from a number on as one reply should hold.
-- KEYS[1] where the conversation lives, or points to where it does
-- ARGV    session id, number of the first event wanted or '', events in a chunk, bytes in a reply
local key, id, start = KEYS[1], ARGV[1], tonumber(ARGV[2])
local n = redis.call('HGET', key, 's:' .. id)
if not n then
  return {'not here', redis.call('HGET', key, 'in') or ''}
end
local header = redis.call('HMGET', key, 'schema', n .. ':count', n .. ':revision', n .. ':rewrites',
  n .. ':counters', n .. ':metadata', n .. ':parent_id', n .. ':child_ids', n .. ':task_ids',
  n .. ':runs', n .. ':state', n .. ':born')
local chunks, count, next = {}, tonumber(header[2]), start
local bytes = 0
while next and count and next < count and bytes < tonumber(ARGV[4]) do
  local chunk = {}
  while next < count and #chunk < tonumber(ARGV[3]) and bytes < tonumber(ARGV[4]) do
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
return {'session', header, chunks, next or count}
