-- Store an account, if it is still what somebody made the new one of.
-- KEYS[1] the account   ARGV what it was, or ''; what it is now; how long it is kept in ms, or ''
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
if ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
