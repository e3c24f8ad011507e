-- Add a session to the index.
-- KEYS[1] the index
-- ARGV    session id; time of its newest message in microseconds, or 0 for now; 1 if it may move back
local time = redis.call('TIME')
local top = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
local place = math.max(time[1] * 1000000 + time[2], (tonumber(top[2]) or 0) + 1)
if ARGV[2] ~= '0' then
  place = math.min(place, tonumber(ARGV[2]))
end
if ARGV[3] == '1' then
  redis.call('ZADD', KEYS[1], place, ARGV[1])
else
  redis.call('ZADD', KEYS[1], 'GT', place, ARGV[1])
end
return 1
