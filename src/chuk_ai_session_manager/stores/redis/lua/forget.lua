-- Remove sessions from the index, except those that were written to after the caller looked.
-- KEYS[1] the index   ARGV session ids, each followed by the time of its last write
for i = 1, #ARGV, 2 do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i])) == tonumber(ARGV[i + 1]) then
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return 1
