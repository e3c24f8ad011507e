-- Take sessions out of the index, but those that were written to since somebody looked.
-- KEYS[1] the index   ARGV session ids, and after each when it was written to
for i = 1, #ARGV, 2 do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i])) == tonumber(ARGV[i + 1]) then
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return 1
