-- The text under a key; that there is none is said only by a server that takes writes.
-- KEYS[1] the key
local found = redis.call('GET', KEYS[1])
if not found then
  redis.call('UNLINK', KEYS[1])  -- changes nothing
end
return found
