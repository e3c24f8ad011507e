-- Events of a conversation by their ids, in whichever of its segments they are.
-- KEYS[1] where the conversation lives, or points to where it does
-- ARGV    session id, then the events' ids
-- Gives 'events', then the bodies of those that are there
local key = KEYS[1]
if redis.call('HEXISTS', key, 's:' .. ARGV[1]) == 0 then
  local elsewhere = redis.call('HGET', key, 'in')
  if not elsewhere then
    redis.call('HDEL', key, 'in')  -- changes nothing: only a server that takes writes may say so
  end
  return {'not here', elsewhere or ''}
end
local made = tonumber(redis.call('HGET', key, 'segments')) or 1
local found = {'events'}
for each = 2, #ARGV do
  local first = 0
  while first < made do  -- a thousand segments at once: Lua unpacks some thousand names at most
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
