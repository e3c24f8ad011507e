-- Find events of a conversation by their ids, in all its segments.
-- KEYS[1] the conversation's key, or a key that points to it
-- ARGV    session id, then the events' ids
-- Returns 'events', then the bodies of the events that exist
local key = KEYS[1]
if redis.call('HEXISTS', key, 's:' .. ARGV[1]) == 0 then
  local elsewhere = redis.call('HGET', key, 'in')
  if not elsewhere then
    redis.call('HDEL', key, 'in')  -- changes nothing; fails on a read-only server, whose data may be old
  end
  return {'not here', elsewhere or ''}
end
local made = tonumber(redis.call('HGET', key, 'segments')) or 1
local found = {'events'}
for each = 2, #ARGV do
  local first = 0
  while first < made do  -- a thousand segments at a time, because Lua can unpack only some thousand names
    local fields = {}
    for n = first, math.min(first + 1000, made) - 1 do
      fields[#fields + 1] = n .. '#' .. ARGV[each]
    end
    for i, at in ipairs(redis.call('HMGET', key, unpack(fields))) do
      if at then
        found[#found + 1] = redis.call('HGET', key, first + i - 1 .. ':' .. at)
      end
    end
    first = first + 1000
  end
end
if #found == 1 then
  redis.call('HDEL', key, 'in')
end
return found
