-- Append events. Events that are stored already change nothing; all others are stored together.
-- Everything is checked before the first write, because a script is not rolled back. The script calls Redis as
-- seldom as possible, because each call takes as long as the rest of a short script.
-- KEYS[1] the conversation   KEYS[2] the sandbox's index (not in a Cluster, where it may lie in another slot)
-- ARGV    session id; lifetime in ms or ''; the birth mark that the session must have or ''; the revision that
--         it must have or ''; the time of its newest message in microseconds, or 0 for now;
--         then for each event: id, body, and the amounts that it adds to counters, as JSON
-- Returns 'added', the number of events before, the revision after, the number of new events, and whether the
-- keys beside the conversation must be renewed, in one line, because many replies are parsed per second.
local key, id, lives, born, only_at = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]

local function state_of(n)
  return redis.call('HMGET', key, 's:' .. id, n .. ':count', n .. ':revision', n .. ':counters', 'renewed',
    n .. ':born', 'schema', n .. '#' .. ARGV[6])
end

local n = '0'  -- in most cases, the session is the conversation's first segment
local state = state_of(n)
if state[1] ~= n then
  n = state[1]
  if not n then
    local elsewhere = redis.call('HGET', key, 'in')
    if not elsewhere then
      redis.call('HDEL', key, 'in')  -- changes nothing; fails on a read-only server, whose data may be old
    end
    return {'not here', elsewhere or ''}
  end
  state = state_of(n)
end
if born ~= '' and born ~= state[6] then
  redis.call('HDEL', key, 'in')
  return {'not here', ''}
end
if (tonumber(state[7]) or 0) > 2 then
  return {'newer', state[7]}
end
local count, revision = tonumber(state[2]), tonumber(state[3])
local readable, counters = pcall(cjson.decode, state[4])
if not (count and revision and readable and type(counters) == 'table') then
  return {'damaged'}
end

local new = {}
for i = 6, #ARGV, 3 do
  local at = state[8]
  if i > 6 then
    at = redis.call('HGET', key, n .. '#' .. ARGV[i])
  end
  if not at then
    new[#new + 1] = i
  else
    local stored = redis.call('HGET', key, n .. ':' .. at)
    if stored ~= ARGV[i + 1] then
      return {'conflict', ARGV[i], stored or ''}
    end
  end
end
if #new == 0 then
  redis.call('HDEL', key, 'in')  -- fails on a demoted master, whose data may be lost: it must not confirm an append
  return redis.status_reply('added ' .. count .. ' ' .. revision .. ' 0 0')
end
if only_at ~= '' and only_at ~= state[3] then
  return {'moved'}
end

for at, i in ipairs(new) do
  for name, more in pairs(cjson.decode(ARGV[i + 2])) do
    local sum = tonumber(counters[name] or 0)
    if name == 'newest' then sum = math.max(sum, more) else sum = sum + more end
    -- cjson rounds numbers to 14 digits, so longer numbers are passed as text.
    counters[name] = (sum % 1 == 0 and sum < 1e14) and sum or string.format('%.17g', sum)
  end
  if at < #new then
    redis.call('HSET', key, n .. ':' .. count + at - 1, ARGV[i + 1], n .. '#' .. ARGV[i], count + at - 1)
  end
end
local i, last = new[#new], count + #new - 1
redis.call('HSET', key, n .. ':' .. last, ARGV[i + 1], n .. '#' .. ARGV[i], last,
  n .. ':count', last + 1, n .. ':revision', revision + 1, n .. ':counters', cjson.encode(counters))

local time = redis.call('TIME')
if KEYS[2] then
  if ARGV[5] == '0' then  -- newer than all others, even if the clock was set back
    local top = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
    redis.call('ZADD', KEYS[2], math.max(time[1] * 1000000 + time[2], (tonumber(top[2]) or 0) + 1), id)
  elseif count == 0 then
    redis.call('ZADD', KEYS[2], ARGV[5], id)
  else
    redis.call('ZADD', KEYS[2], 'GT', ARGV[5], id)
  end
end
local due = 0
if lives then
  -- Renewed only after a thousandth of the lifetime, so that most appends need one write less.
  local left = redis.call('PTTL', key)
  if left >= 0 and left < lives - lives / 1000 then
    redis.call('PEXPIRE', key, lives)
  end
  if (time[1] * 1000 - tonumber(state[5] or 0)) * 20 > lives then
    due = 1
  end
end
return redis.status_reply('added ' .. count .. ' ' .. revision + 1 .. ' ' .. #new .. ' ' .. due)
