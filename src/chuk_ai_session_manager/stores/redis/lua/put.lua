-- Write a new session, or change a stored one that is at a given revision.
-- KEYS[1] the conversation   KEYS[2] the sandbox's index, where it may be in the same step
-- ARGV    session id, lifetime in ms or '', the revision it must be at ('' for a new session),
--         the id of the segment that it follows or '', its own id as JSON, its place in lists:
--         when its newest message was said in microseconds, 0 for just now, or '' to stay,
--         the conversation of its parent or '', what tells the session from others that had its id,
--         the revision that the segment it follows must be at or '', number of header fields, and each one's name and JSON,
--         counters as JSON or '', how many of the oldest events stay, number of ids of stored events
--         that go, those ids, number of bodies that its events refer to no more, their hashes, number of
--         bodies that they refer to from now on, their hashes, then of each event that comes: id, body
local key, id, lives, expected, follows = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local n = redis.call('HGET', key, 's:' .. id)
local count, revision, rewrites = 0, 0, 0
local is_new = redis.call('EXISTS', key) == 0
local before

-- An answer without a write to the session: only a server that takes writes may give it, and this, which
-- changes nothing, the others refuse. (Not before the writes: after a first one, they would go on in full memory.)
local function unwritten(...)
  redis.call('HDEL', key, '')
  return {...}
end

if expected == '' then
  if n and redis.call('HGET', key, n .. ':born') == ARGV[8] then
    return unwritten('put')  -- it is this one: the reply was lost
  end
  if n or redis.call('HGET', key, 'in') then
    return unwritten('taken')
  end
  if follows ~= '' then
    before = redis.call('HGET', key, 's:' .. follows)
    if not before then
      return unwritten('not here', '')
    end
    if not (redis.call('HGET', key, before .. ':child_ids') and
        tonumber(redis.call('HGET', key, before .. ':revision'))) then
      return unwritten('damaged')
    end
    if ARGV[9] ~= '' and redis.call('HGET', key, before .. ':revision') ~= ARGV[9] then
      return {'moved'}
    end
  end
  n = redis.call('HINCRBY', key, 'segments', 1) - 1
  redis.call('HSET', key, 's:' .. id, n, n .. ':born', ARGV[8], 'last', id)
  redis.call('HINCRBY', key, 'alive', 1)
  redis.call('HSETNX', key, 'schema', 1)
  if ARGV[7] ~= '' then
    redis.call('HSETNX', key, 'parent', ARGV[7])
  end
else
  if not n then
    return unwritten('not here', redis.call('HGET', key, 'in') or '')
  end
  local state = redis.call('HMGET', key, n .. ':count', n .. ':revision', n .. ':rewrites', n .. ':born')
  count, revision, rewrites = tonumber(state[1]), tonumber(state[2]), tonumber(state[3])
  if revision ~= tonumber(expected) or state[4] ~= ARGV[8] then
    return unwritten('moved')
  end
end

local i = 11
for _ = 1, tonumber(ARGV[10]) do
  redis.call('HSET', key, n .. ':' .. ARGV[i], ARGV[i + 1])
  i = i + 2
end
if ARGV[i] ~= '' then
  redis.call('HSET', key, n .. ':counters', ARGV[i])
end
local keep = tonumber(ARGV[i + 1]) or count
for number = keep, count - 1 do
  redis.call('HDEL', key, n .. ':' .. number)
end
local gone = tonumber(ARGV[i + 2])
i = i + 3
for _ = 1, gone do
  redis.call('HDEL', key, n .. '#' .. ARGV[i])
  i = i + 1
end
local unmarked = tonumber(ARGV[i])
for at = i + 1, i + unmarked do
  redis.call('HDEL', key, n .. ':b:' .. ARGV[at])
end
i = i + 1 + unmarked
local marked = tonumber(ARGV[i])
if marked > 0 then
  redis.call('HSET', key, 'schema', 2)  -- earlier releases know no bodies
end
for at = i + 1, i + marked do
  redis.call('HSET', key, n .. ':b:' .. ARGV[at], 1)
end
i = i + 1 + marked
local number = keep
while ARGV[i] do
  redis.call('HSET', key, n .. ':' .. number, ARGV[i + 1], n .. '#' .. ARGV[i], number)
  number = number + 1
  i = i + 2
end
if keep < count then
  rewrites = rewrites + 1
end
redis.call('HSET', key, n .. ':count', number, n .. ':revision', revision + 1, n .. ':rewrites', rewrites)

if before then
  local children = redis.call('HGET', key, before .. ':child_ids')
  if not string.find(children, ARGV[5], 1, true) then
    children = children == '[]' and '[' .. ARGV[5] .. ']' or string.sub(children, 1, -2) .. ',' .. ARGV[5] .. ']'
    redis.call('HSET', key, before .. ':child_ids', children)
    redis.call('HINCRBY', key, before .. ':revision', 1)
  end
end

local time = redis.call('TIME')
if KEYS[2] and ARGV[6] ~= '' then
  local top = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
  local place = math.max(time[1] * 1000000 + time[2], (tonumber(top[2]) or 0) + 1)
  if ARGV[6] ~= '0' then
    place = math.min(place, tonumber(ARGV[6]))
  end
  if count == 0 then
    redis.call('ZADD', KEYS[2], place, id)
  else
    redis.call('ZADD', KEYS[2], 'GT', place, id)
  end
end
if is_new then
  redis.call('HSET', key, 'renewed', time[1] * 1000)
end
if lives then
  local left = redis.call('PTTL', key)
  if is_new or (left >= 0 and left < lives) then
    redis.call('PEXPIRE', key, lives)
  end
end
return {'put'}
