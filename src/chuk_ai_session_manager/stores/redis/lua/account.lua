-- Store the new form of an account, unless another writer has changed the account meanwhile.
-- KEYS[1] the account   ARGV its old form, or ''; its new form; its lifetime in ms, or ''
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
if ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
