-- Enter sessions in the index as written to just now.
-- KEYS[1] the index   ARGV session ids
local time = redis.call('TIME')
for _, id in ipairs(ARGV) do
  redis.call('ZADD', KEYS[1], time[1] * 1000000 + time[2], id)
end
return #ARGV
