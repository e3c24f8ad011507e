-- Whether a session is there, and whose it is.
-- KEYS[1] where the conversation lives, or points to where it does   ARGV session id
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then
  return {'here', '', '', ''}  -- whoever reads it is told what is wrong; the others are still listed
end
local n = redis.call('HGET', KEYS[1], 's:' .. ARGV[1])
if not n then
  local elsewhere = redis.call('HGET', KEYS[1], 'in')
  if not elsewhere then
    redis.call('HDEL', KEYS[1], 'in')  -- changes nothing: only a server that takes writes may say so
  end
  return {'not here', elsewhere or ''}
end
-- Whose it is, it says itself or, where it was claimed later, the last segment.
local live = redis.call('HGET', KEYS[1], 'last')
local owner = live and live ~= ARGV[1] and redis.call('HGET', KEYS[1], 's:' .. live)
return {
  'here',
  redis.call('HGET', KEYS[1], n .. ':metadata'),
  redis.call('HGET', KEYS[1], n .. ':parent_id'),
  owner and redis.call('HGET', KEYS[1], owner .. ':metadata') or '',
}
