"""Cancels commands of a bare Redis client: how many of the next ones got another one's reply.

Run as a program, with a server's port, it prints that number: so it can run with other releases.
"""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import suppress

import redis.asyncio


async def crossed_replies(port: int, times: int, longest: float) -> int:
    """Cancel so many commands, each within `longest` seconds; the replies that came to others then."""
    client = redis.asyncio.Redis(host="127.0.0.1", port=port)
    for number in range(10):
        await client.set(f"key{number}", f"value{number}")
    crossed = 0
    for number in range(times):
        reading = asyncio.ensure_future(client.get(f"key{number % 10}"))
        await asyncio.sleep(random.uniform(0, longest))  # noqa: S311  (moments, not secrets)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        other = (number + 1) % 10
        try:
            crossed += await client.get(f"key{other}") != f"value{other}".encode()
        except redis.RedisError:  # it noticed, and made a new connection for the next one
            crossed += 1
    await client.connection_pool.disconnect()
    return crossed


if __name__ == "__main__":
    print(asyncio.run(crossed_replies(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))  # noqa: T201
