-- Note in a conversation which bodies a session's events refer to, before these are written.
-- KEYS[1] where the conversation lives, or points to where it does   ARGV session id, hashes
local key = KEYS[1]
local n = redis.call('HGET', key, 's:' .. ARGV[1])
if not n then
  local elsewhere = redis.call('HGET', key, 'in')
  if not elsewhere then
    redis.call('HDEL', key, 'in')  -- changes nothing: only a server that takes writes may say so
  end
  return {'not here', elsewhere or ''}
end
redis.call('HSET', key, 'schema', 2)  -- earlier releases know no bodies
for i = 2, #ARGV do
  redis.call('HSET', key, n .. ':b:' .. ARGV[i], 1)
end
return {'marked'}
