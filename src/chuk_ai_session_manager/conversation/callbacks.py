"""Calling an application's functions."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import Any


async def call(function: Callable[[Any], Any], argument: Any) -> Any:
    """Call a function that is async, returns an awaitable, or blocks (then in a thread)."""
    if inspect.iscoroutinefunction(function):
        return await function(argument)
    result = await _in_thread(function, argument)
    return await result if inspect.isawaitable(result) else result


async def _in_thread(function: Callable[[Any], Any], argument: Any) -> Any:
    """Call a function in a thread of its own, for which nobody waits after its caller gave up.

    asyncio's own threads are few, and the end of the program waits for them: some calls that hang would
    block all others.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()
    context = copy_context()

    def settle(result: Any, problem: BaseException | None) -> None:
        if outcome.done():  # it was cancelled
            return
        if problem is None:
            outcome.set_result(result)
        elif isinstance(problem, StopIteration):  # a future cannot hold this exception
            outcome.set_exception(RuntimeError("the function raised StopIteration"))
        else:
            outcome.set_exception(problem)

    def run() -> None:
        result, problem = None, None
        try:
            result = context.run(function, argument)
        except BaseException as raised:  # noqa: BLE001  (it is raised where the function was called)
            problem = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, problem)

    Thread(target=run, name="application's function", daemon=True).start()
    return await outcome


class Done:
    """The result of a method that is done already, but may be awaited."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()
