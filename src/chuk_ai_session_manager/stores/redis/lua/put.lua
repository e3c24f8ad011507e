-- Write a new session, or change a stored session that has a given revision.
-- KEYS[1] the conversation   KEYS[2] the sandbox's index (not in a Cluster, where it may lie in another slot)
-- ARGV    session id; lifetime in ms or ''; the revision that it must have ('' for a new session);
--         the id of the segment before it or ''; its own id as JSON; its place in lists: the time of its
--         newest message in microseconds, 0 for now, or '' for no change;
--         the conversation of its parent or ''; the birth mark by which it differs from others with its id;
--         the revision that the segment before it must have or ''; the number of header fields, and for each
--         its name and JSON; counters as JSON or ''; how many of the oldest events stay; the number of stored
--         events to delete, and their ids; the number of bodies to which its events refer no more, and their
--         hashes; the number of bodies to which they refer from now on, and their hashes; then for each new
--         event: id, body
local key, id, lives, expected, follows = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local n = redis.call('HGET', key, 's:' .. id)
local count, revision, rewrites = 0, 0, 0
local is_new = redis.call('EXISTS', key) == 0
local before

-- An answer without a write to the session. The command changes nothing, and fails on a read-only server,
-- which must not give this answer. (It is not called before other writes: after a first write, a script would
-- go on even if memory is full.)
local function unwritten(...)
  redis.call('HDEL', key, '')
  return {...}
end

if expected == '' then
  if n and redis.call('HGET', key, n .. ':born') == ARGV[8] then
    return unwritten('put')  -- this session was written before, and the reply was lost
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
