-- Returns the conversations that refer to a body, and the age of each reference in seconds.
-- KEYS[1] the body
local now, found = redis.call('TIME')[1], {}
local fields = redis.call('HKEYS', KEYS[1])
for _, field in ipairs(fields) do
  if string.sub(field, 1, 2) == 'u:' then
    found[#found + 1] = string.sub(field, 3)
    found[#found + 1] = now - tonumber(redis.call('HGET', KEYS[1], field))
  end
end
redis.call('HDEL', KEYS[1], '')  -- changes nothing: only a server that takes writes may say so
return {#fields, found}
