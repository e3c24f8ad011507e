-- Let a key live at least this long from now; a key that never expires stays so.
-- KEYS[1] the key   ARGV lifetime in ms; 1 to record that all keys beside it were renewed
-- Returns the milliseconds left, and the conversation whose child it is, or ''; nothing if there is no key.
local left = redis.call('PTTL', KEYS[1])
if left == -2 then
  redis.call('UNLINK', KEYS[1])  -- changes nothing; fails on a read-only server, whose data may be old
  return false
end
local lives = tonumber(ARGV[1])
if left >= 0 and left < lives then
  redis.call('PEXPIRE', KEYS[1], lives)
  left = lives
end
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  return {left, ''}
end
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], 'renewed', redis.call('TIME')[1] * 1000)
end
return {left, redis.call('HGET', KEYS[1], 'parent') or ''}
