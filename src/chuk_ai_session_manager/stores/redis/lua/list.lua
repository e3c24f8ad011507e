-- Add a session to a set of sessions, and let the set live at least this long from now.
-- KEYS[1] the set   ARGV session id, lifetime in ms or ''
redis.call('SADD', KEYS[1], ARGV[1])
if ARGV[2] ~= '' and redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
