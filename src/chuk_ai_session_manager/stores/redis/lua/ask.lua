-- Read a hash, set or sorted set, only from a server that takes writes. A replica that lost its master, or a
-- demoted master, may know less than the master; it refuses the first command, which removes a member with an
-- empty name. No key has such a member, so nothing changes, and the command works even if memory is full.
-- KEYS[1] the key   ARGV HDEL, SREM or ZREM; the command that reads; its arguments after the key
redis.call(ARGV[1], KEYS[1], '')
return redis.call(ARGV[2], KEYS[1], unpack(ARGV, 3))
