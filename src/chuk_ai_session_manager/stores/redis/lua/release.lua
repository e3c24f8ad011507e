-- Remove a conversation's reference to a body, and delete the body with its last reference.
-- KEYS[1] the body   ARGV the conversation
-- Returns 1 if the body was deleted.
redis.call('HDEL', KEYS[1], 'u:' .. ARGV[1])
if redis.call('HLEN', KEYS[1]) <= 1 then
  redis.call('UNLINK', KEYS[1])
  return 1
end
return 0
