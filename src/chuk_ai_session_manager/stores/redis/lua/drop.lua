-- Delete a session: from now on it does not exist. With its last session, the conversation is deleted.
-- Returns the number of a session whose events are still to be deleted, or ''.
-- KEYS[1] the conversation's key, or a key that points to it   ARGV session id
local key, id = KEYS[1], ARGV[1]
local n = redis.call('HGET', key, 's:' .. id)
if not n then
  local elsewhere = redis.call('HGET', key, 'in')
  if not elsewhere then
    redis.call('HDEL', key, 'in')  -- changes nothing; fails on a read-only server, whose data may be old
  end
  return {'not here', elsewhere or ''}
end
if redis.call('HINCRBY', key, 'alive', -1) <= 0 then
  redis.call('UNLINK', key)
  return {'dropped', ''}
end
local fields = {'s:' .. id}
for _, name in ipairs({'count', 'revision', 'rewrites', 'counters', 'metadata', 'parent_id', 'child_ids',
    'task_ids', 'runs', 'state', 'born'}) do
  fields[#fields + 1] = n .. ':' .. name
end
redis.call('HDEL', key, unpack(fields))
return {'dropped', n}
