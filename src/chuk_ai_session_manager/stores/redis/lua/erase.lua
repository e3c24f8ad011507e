-- Erase a conversation: from now on it does not exist, even if a writer goes on.
-- KEYS[1] the conversation
-- ARGV    '', or a time (microseconds since 1970): with a newer message, the conversation is kept;
--         '', or the birth mark by which it differs from an earlier conversation with its id
-- Returns 'erased' and how many segments it ever had, 'kept', or 'not here'
local key = KEYS[1]
local kind = redis.call('TYPE', key).ok
if kind ~= 'hash' and kind ~= 'none' then
  redis.call('UNLINK', key)  -- the key was no conversation
  return {'erased', 1}
end
local made = redis.call('HGET', key, 'segments')
if not made or (ARGV[2] ~= '' and redis.call('HGET', key, '0:born') ~= ARGV[2]) then
  redis.call('HDEL', key, '')  -- changes nothing; fails on a read-only server, whose data may be old
  return {'not here', 0}
end
if ARGV[1] ~= '' then
  local last = redis.call('HGET', key, 'last')
  local n = last and redis.call('HGET', key, 's:' .. last)
  local readable, counters = pcall(cjson.decode, n and redis.call('HGET', key, n .. ':counters') or '')
  if readable and type(counters) == 'table' and (tonumber(counters.newest) or 0) >= tonumber(ARGV[1]) then
    redis.call('HDEL', key, '')  -- as above
    return {'kept', 0}
  end
end
redis.call('UNLINK', key)
return {'erased', tonumber(made)}
