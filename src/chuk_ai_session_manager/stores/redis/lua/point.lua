-- Let a session's own key point to the key of its conversation.
-- KEYS[1] the session's own key   ARGV session id, id of the conversation's first session, lifetime in ms or ''
if redis.call('HGET', KEYS[1], 's:' .. ARGV[1]) then
  redis.call('HDEL', KEYS[1], '')  -- changes nothing; fails on a read-only server, whose data may be old
  return 'taken'
end
redis.call('HSET', KEYS[1], 'in', ARGV[2])
if ARGV[3] ~= '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 'points'
