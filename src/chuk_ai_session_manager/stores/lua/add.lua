-- Append events: those that are stored already change nothing; the others are stored all at once.
-- Everything is checked before the first write, because a script is not rolled back.
-- KEYS[1] the conversation   KEYS[2] the sandbox's index, where it may be in the same step
-- ARGV    session id, lifetime in ms or '', revision that it must be at or '', then of each event:
--         id, body, number of counters, and each counter's name and what is added to it
local key, id, lives, only_at = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
local n = redis.call('HGET', key, 's:' .. id)
if not n then
  return {'not here', redis.call('HGET', key, 'in') or ''}
end
local state = redis.call('HMGET', key, n .. ':count', n .. ':revision', n .. ':counters', 'renewed')
local count, revision, counters = tonumber(state[1]), tonumber(state[2]), cjson.decode(state[3])

local new, i = {}, 4
while ARGV[i] do
  local at = redis.call('HGET', key, n .. '#' .. ARGV[i])
  if not at then
    new[#new + 1] = i
  else
    local stored = redis.call('HGET', key, n .. ':' .. at)
    if stored ~= ARGV[i + 1] then
      return {'conflict', ARGV[i], stored or ''}
    end
  end
  i = i + 3 + 2 * tonumber(ARGV[i + 2])
end
if #new == 0 then
  return {'added', count, revision, 0, 0}
end
if only_at ~= '' and tonumber(only_at) ~= revision then
  return {'moved'}
end

for at, i in ipairs(new) do
  for j = i + 3, i + 1 + 2 * tonumber(ARGV[i + 2]), 2 do
    local name, more = ARGV[j], tonumber(ARGV[j + 1])
    local sum = tonumber(counters[name] or 0)
    if name == 'newest' then sum = math.max(sum, more) else sum = sum + more end
    counters[name] = string.format('%.17g', sum)
  end
  local number = count + at - 1
  redis.call('HSET', key, n .. ':' .. number, ARGV[i + 1], n .. '#' .. ARGV[i], number)
end
redis.call('HSET', key, n .. ':count', count + #new, n .. ':revision', revision + 1,
  n .. ':counters', cjson.encode(counters))

local time = redis.call('TIME')
if KEYS[2] then
  redis.call('ZADD', KEYS[2], time[1] * 1000000 + time[2], id)
end
local due = 0
if lives then
  local left = redis.call('PTTL', key)
  if left >= 0 and left < lives then
    redis.call('PEXPIRE', key, lives)
  end
  if (time[1] * 1000 - tonumber(state[4] or 0)) * 20 > lives then
    due = 1
  end
end
return {'added', count, revision + 1, #new, due}
