-- Tell whether a session exists, and to which user it belongs.
-- KEYS[1] the conversation's key, or a key that points to it   ARGV session id
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then
  return {'here', '', '', ''}  -- reading it reports the damage; the list goes on with the others
end
local n = redis.call('HGET', KEYS[1], 's:' .. ARGV[1])
if not n then
  local elsewhere = redis.call('HGET', KEYS[1], 'in')
  if not elsewhere then
    redis.call('HDEL', KEYS[1], 'in')  -- changes nothing; fails on a read-only server, whose data may be old
  end
  return {'not here', elsewhere or ''}
end
-- The user stands in the session itself or, if a user claimed it later, in the last segment.
local live = redis.call('HGET', KEYS[1], 'last')
local owner = live and live ~= ARGV[1] and redis.call('HGET', KEYS[1], 's:' .. live)
return {
  'here',
  redis.call('HGET', KEYS[1], n .. ':metadata'),
  redis.call('HGET', KEYS[1], n .. ':parent_id'),
  owner and redis.call('HGET', KEYS[1], owner .. ':metadata') or '',
}
