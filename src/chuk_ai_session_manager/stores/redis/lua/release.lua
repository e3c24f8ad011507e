-- Let a conversation not refer to a body any more; without any that does, the body goes.
-- KEYS[1] the body   ARGV the conversation
-- Gives 1 if the body is gone.
redis.call('HDEL', KEYS[1], 'u:' .. ARGV[1])
if redis.call('HLEN', KEYS[1]) <= 1 then
  redis.call('UNLINK', KEYS[1])
  return 1
end
return 0
