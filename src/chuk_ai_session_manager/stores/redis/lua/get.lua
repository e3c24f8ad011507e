-- Read the text under a key. Only a server that takes writes may answer that there is none.
-- KEYS[1] the key
local found = redis.call('GET', KEYS[1])
if not found then
  redis.call('UNLINK', KEYS[1])  -- changes nothing
end
return found
