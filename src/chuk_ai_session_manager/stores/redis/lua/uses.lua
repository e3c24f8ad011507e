-- Returns whether events of a conversation refer to a body.
-- KEYS[1] the conversation's key   ARGV the body's hash
for n = 0, (tonumber(redis.call('HGET', KEYS[1], 'segments')) or 0) - 1 do
  if redis.call('HEXISTS', KEYS[1], n .. ':b:' .. ARGV[1]) == 1 then
    return 1
  end
end
redis.call('HDEL', KEYS[1], '')  -- changes nothing; fails on a read-only server, whose data may be old
return 0
