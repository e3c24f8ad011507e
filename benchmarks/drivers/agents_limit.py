"""The OpenAI Agents SDK's `SessionSettings(limit=)`: how many of the newest items each call is given.

Reads a line of JSON, `{"items": [...], "calls": [...], "limits": [...]}`: all items, after how many of them
there is a call, and the limits. Writes a list of counts, one a call, for each limit.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from agents import SQLiteSession
from agents.memory import SessionSettings


async def given(items: list[Any], calls: list[int], limit: int) -> list[int]:
    """How many items each call gets of a session with a limit."""
    session = SQLiteSession(f"limit-{limit}", session_settings=SessionSettings(limit=limit))
    counts, added = [], 0
    for call in calls:
        await session.add_items(items[added:call])
        added = call
        counts.append(len(await session.get_items()))
    return counts


async def main() -> None:
    """Answer the one question."""
    asked = json.loads(sys.stdin.readline())
    print(json.dumps([await given(asked["items"], asked["calls"], limit) for limit in asked["limits"]]))


asyncio.run(main())
