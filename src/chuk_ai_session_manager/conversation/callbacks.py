"""Calling what an application hands over."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import Any


async def call(function: Callable[[Any], Any], argument: Any) -> Any:
    """Call a function that is async, hands back something to await, or blocks (then off the event loop)."""
    if inspect.iscoroutinefunction(function):
        return await function(argument)
    result = await _in_thread(function, argument)
    return await result if inspect.isawaitable(result) else result


async def _in_thread(function: Callable[[Any], Any], argument: Any) -> Any:
    """Call a function in a thread of its own, which nobody waits for once its caller gave up.

    asyncio's own threads are few, and the program's end waits for them: some calls that hang would
    hold up all others.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()
    context = copy_context()

    def settle(result: Any, problem: BaseException | None) -> None:
        if outcome.done():  # cancelled
            return
        if problem is None:
            outcome.set_result(result)
        elif isinstance(problem, StopIteration):  # which no future can hold
            outcome.set_exception(RuntimeError("the function raised StopIteration"))
        else:
            outcome.set_exception(problem)

    def run() -> None:
        result, problem = None, None
        try:
            result = context.run(function, argument)
        except BaseException as raised:  # noqa: BLE001  (it is raised where the function was called)
            problem = raised
        with suppress(RuntimeError):  # the loop is closed: nobody is there any more
            loop.call_soon_threadsafe(settle, result, problem)

    Thread(target=run, name="application's function", daemon=True).start()
    return await outcome


class Done:
    """What a method hands back that did all its work at once, but may be awaited."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()
