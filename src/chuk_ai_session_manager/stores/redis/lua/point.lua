-- Let a session's own key point to where its conversation lives.
-- KEYS[1] the session's own key   ARGV session id, id of the conversation's first session, lifetime in ms or ''
if redis.call('HGET', KEYS[1], 's:' .. ARGV[1]) then
  redis.call('HDEL', KEYS[1], '')  -- changes nothing: only a server that takes writes may say so
  return 'taken'
end
redis.call('HSET', KEYS[1], 'in', ARGV[2])
if ARGV[3] ~= '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 'points'
