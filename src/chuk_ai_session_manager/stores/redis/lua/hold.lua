-- Store a conversation's reference to a body; a body is kept as long as it has one.
-- KEYS[1] the body   KEYS[2] the list of the sandbox's bodies (not in a Cluster: it may lie in another slot)
-- ARGV    the conversation, lifetime in ms or '', the body's hash, and the body if it may be new
-- Returns 1; or 0 if the body does not exist and was not passed, and then writes nothing.
local key, lives = KEYS[1], tonumber(ARGV[2])
local left = redis.call('PTTL', key)
if redis.call('HEXISTS', key, 'data') == 0 then
  if not ARGV[4] then
    redis.call('HDEL', key, '')  -- changes nothing; fails on a read-only server, whose data may be old
    return 0
  end
  redis.call('HSET', key, 'data', ARGV[4])
end
redis.call('HSET', key, 'u:' .. ARGV[1], redis.call('TIME')[1])
if not lives then
  redis.call('PERSIST', key)
elseif left == -2 or (left >= 0 and left < lives) then
  redis.call('PEXPIRE', key, lives)
end
if KEYS[2] then
  redis.call('SADD', KEYS[2], ARGV[3])
end
return 1
