-- Let a key live for so long from now, at least; one that never expires stays so.
-- KEYS[1] the key   ARGV lifetime in ms, 1 to note that all beside it was renewed
-- Gives the milliseconds left, and the conversation that it is a child of, or ''; nothing without the key.
local left = redis.call('PTTL', KEYS[1])
if left == -2 then
  redis.call('UNLINK', KEYS[1])  -- changes nothing: only a server that takes writes may say so
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
