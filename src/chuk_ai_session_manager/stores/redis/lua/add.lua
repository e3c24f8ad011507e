-- Append events. Events that are stored already change nothing; all others are stored together.
-- Everything is checked before the first write, because a script is not rolled back. Each call of Redis, and
-- each JSON text, takes longer than the rest of the script. Therefore a caller that made the session's last
-- write says what the counters were and what they are after this one. It does so only until the expiry has to
-- be checked again.
-- KEYS[1] the conversation   KEYS[2] the sandbox's index (not in a Cluster, where it may lie in another slot)
-- ARGV    session id; its number in the conversation, if the caller knows it, or 0; the birth mark that the
--         session must have or ''; the revision that it must have, or the field of
--         the next segment, which must not be there, or ''; lifetime in ms or ''; the time of its
--         newest message in microseconds, or 0 for now; the counters as the caller knows them, as JSON, or '';
--         the counters after this append, if they are still those; then for each event: id, body, and the
--         amounts that it adds to counters, as JSON
-- Returns 'added', the number of events before, the revision after, the number of new events, the session's
-- number, and whether the keys beside the conversation must be renewed: in one line, because many replies are
-- parsed per second; or, if the caller did not know the counters, as a list that ends with them.
local key, id, n, born, only_at = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local function state_of()
  return redis.call('HMGET', key, 's:' .. id, n .. ':count', n .. ':revision', n .. ':counters', 'renewed',
    n .. ':born', 'schema', n .. '#' .. ARGV[9])
end

local state = state_of()
if state[1] ~= n then
  n = state[1]
  if not n then
    local elsewhere = redis.call('HGET', key, 'in')
    if not elsewhere then
      redis.call('HDEL', key, 'in')  -- changes nothing; fails on a read-only server, whose data may be old
    end
    return {'not here', elsewhere or ''}
  end
  state = state_of()
end
if born ~= '' and born ~= state[6] then
  redis.call('HDEL', key, 'in')
  return {'not here', ''}
end
if (tonumber(state[7]) or 0) > 2 then
  return {'newer', state[7]}
end
local count, revision = tonumber(state[2]), tonumber(state[3])
local is_known, readable, counters = state[4] == ARGV[7], true, nil
if not is_known then
  readable, counters = pcall(cjson.decode, state[4])
end
if not (count and revision and readable and (is_known or type(counters) == 'table')) then
  return {'damaged'}
end

local new = {}
for i = 9, #ARGV, 3 do
  local at = state[8]
  if i > 9 then
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
  return redis.status_reply('added ' .. count .. ' ' .. revision .. ' 0 ' .. n .. ' 0')
end
local must_be_last = string.sub(only_at, 1, 2) == 's:'
if must_be_last and redis.call('HEXISTS', key, only_at) == 1 then
  return {'moved'}
end
if not must_be_last and only_at ~= '' and only_at ~= state[3] then
  return {'moved'}
end
if is_known and #new * 3 < #ARGV - 8 then
  return {'unknown'}  -- the caller's counters include events that are stored already
end

local totals = ARGV[8]
if counters then
  for _, i in ipairs(new) do
    for name, more in pairs(cjson.decode(ARGV[i + 2])) do
      local sum = tonumber(counters[name] or 0)
      if not sum then
        return {'damaged'}
      end
      counters[name] = name == 'newest' and math.max(sum, more) or sum + more
    end
  end
  for name, value in pairs(counters) do
    -- cjson rounds numbers to 14 digits, so longer numbers are passed as text.
    value = tonumber(value)
    if not value then
      return {'damaged'}
    end
    counters[name] = (value % 1 == 0 and value < 1e14) and value or string.format('%.17g', value)
  end
  totals = cjson.encode(counters)
end
for at = 1, #new - 1 do
  redis.call('HSET', key, n .. ':' .. count + at - 1, ARGV[new[at] + 1], n .. '#' .. ARGV[new[at]], count + at - 1)
end
-- As texts: Redis writes a number with 17 digits, which takes several times as long.
local i, last = new[#new], string.format('%d', count + #new - 1)
local revised = string.format('%d', revision + 1)
redis.call('HSET', key, n .. ':' .. last, ARGV[i + 1], n .. '#' .. ARGV[i], last,
  n .. ':count', string.format('%d', count + #new), n .. ':revision', revised, n .. ':counters', totals)

local time = redis.call('TIME')
if KEYS[2] then
  if ARGV[6] == '0' then  -- newer than all others, even if the clock was set back
    local top = redis.call('ZRANGE', KEYS[2], '-1', '-1', 'WITHSCORES')
    local place = math.max(time[1] * 1000000 + time[2], (tonumber(top[2]) or 0) + 1)
    redis.call('ZADD', KEYS[2], string.format('%d', place), id)
  elseif count == 0 then
    redis.call('ZADD', KEYS[2], ARGV[6], id)
  else
    redis.call('ZADD', KEYS[2], 'GT', ARGV[6], id)
  end
end
if not counters then
  return redis.status_reply('added ' .. state[2] .. ' ' .. revised .. ' ' .. #new .. ' ' .. n .. ' 0')
end
local lives, due = tonumber(ARGV[5]), 0
if lives then
  -- Renewed only after a part of the lifetime, so that few appends need one write more.
  local left = redis.call('PTTL', key)
  if left >= 0 and left < lives - lives / 2000 then
    redis.call('PEXPIRE', key, lives)
  end
  if (time[1] * 1000 - tonumber(state[5] or 0)) * 20 > lives then
    due = 1
  end
end
return {'added', count, revision + 1, #new, n, due, totals}
