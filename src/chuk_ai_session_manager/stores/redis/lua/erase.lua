-- Erase a conversation: from now on it does not exist, whoever still writes to it.
-- KEYS[1] where it lives
-- ARGV    '', or the time (microseconds since 1970) at which a newer message makes it stay;
--         '', or what tells it from another conversation that had its id before
-- Gives   'erased' and how many segments were ever made in it, 'kept', or 'not here'
local key = KEYS[1]
local kind = redis.call('TYPE', key).ok
if kind ~= 'hash' and kind ~= 'none' then
  redis.call('UNLINK', key)  -- it was no conversation any more
  return {'erased', 1}
end
local made = redis.call('HGET', key, 'segments')
if not made or (ARGV[2] ~= '' and redis.call('HGET', key, '0:born') ~= ARGV[2]) then
  redis.call('HDEL', key, '')  -- changes nothing: only a server that takes writes may say so
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
