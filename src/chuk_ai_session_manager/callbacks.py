"""Calling what an application hands over."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


async def call(function: Callable[[Any], Any], argument: Any) -> Any:
    """Call a function that is async, hands back something to await, or blocks (then off the event loop)."""
    if inspect.iscoroutinefunction(function):
        return await function(argument)
    result = await asyncio.to_thread(function, argument)
    return await result if inspect.isawaitable(result) else result
