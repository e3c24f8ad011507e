-- Let a conversation refer to a body, which is kept for as long as one does.
-- KEYS[1] the body   KEYS[2] where the sandbox lists its bodies, where that may be in the same step
-- ARGV    the conversation, lifetime in ms or '', the body's hash, and the body where it may be new
-- Gives 1, or 0 where the body is not there and was not given: nothing was written then.
local key, lives = KEYS[1], tonumber(ARGV[2])
local left = redis.call('PTTL', key)
if redis.call('HEXISTS', key, 'data') == 0 then
  if not ARGV[4] then
    redis.call('HDEL', key, '')  -- changes nothing: only a server that takes writes may say so
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
