-- Some of the conversations that refer to a body, and for how many seconds they have.
-- KEYS[1] the body   ARGV how many to look at
-- Gives how many there are, and those that were looked at.
local now, found = redis.call('TIME')[1], {}
for _, field in ipairs(redis.call('HRANDFIELD', KEYS[1], ARGV[1])) do
  if string.sub(field, 1, 2) == 'u:' then
    found[#found + 1] = string.sub(field, 3)
    found[#found + 1] = now - tonumber(redis.call('HGET', KEYS[1], field))
  end
end
redis.call('HDEL', KEYS[1], '')  -- changes nothing; fails on a read-only server, whose data may be old
return {math.max(0, redis.call('HLEN', KEYS[1]) - 1), found}
