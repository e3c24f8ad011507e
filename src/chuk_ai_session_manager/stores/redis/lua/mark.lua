-- Mark in a conversation the bodies to which a session's new events refer, before the events are written.
-- KEYS[1] the conversation's key, or a key that points to it   ARGV session id, hashes
local key = KEYS[1]
local n = redis.call('HGET', key, 's:' .. ARGV[1])
if not n then
  local elsewhere = redis.call('HGET', key, 'in')
  if not elsewhere then
    redis.call('HDEL', key, 'in')  -- changes nothing; fails on a read-only server, whose data may be old
  end
  return {'not here', elsewhere or ''}
end
redis.call('HSET', key, 'schema', 2)  -- earlier releases know no bodies
for i = 2, #ARGV do
  redis.call('HSET', key, n .. ':b:' .. ARGV[i], 1)
end
return {'marked'}
