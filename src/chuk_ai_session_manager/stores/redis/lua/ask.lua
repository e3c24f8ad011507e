-- What a hash, set or sorted set holds, from a server that takes writes. A replica that lost its master, or
-- a master that was demoted, answers with less than there is: it refuses the first command, which takes out
-- a member whose name is empty. No key has such a member, so that nothing changes, also where memory is full.
-- KEYS[1] the key   ARGV HDEL, SREM or ZREM, the command that asks, its arguments after the key
redis.call(ARGV[1], KEYS[1], '')
return redis.call(ARGV[2], KEYS[1], unpack(ARGV, 3))
