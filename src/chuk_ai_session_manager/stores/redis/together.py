"""Commands that wait at the same time are sent together, over one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...exceptions import StorageError
from .errors import as_cause, explained
from .scripts import Command

# How much later than the oldest command's deadline another one has to be, so that it is sent once more.
_LATER = 0.02


Send: TypeAlias = Callable[[Sequence[Command], float, Callable[[int, Any], None]], Coroutine[Any, Any, None]]
"""Sends commands until a deadline, and passes on each command's number with its answer or error."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A command that waits, and its deadline in the event loop's time."""

    command: Command
    answer: asyncio.Future[Any]
    deadline: float


class Together:
    """Sends commands of one event loop. If nothing is being sent, a caller sends what waits.

    Args:
        send: sends some commands.
        may_pass: tells of an error whether sending the same again may have another outcome.
        most: the most commands that are sent at once.
    """

    def __init__(self, send: Send, may_pass: Callable[[Any], bool], most: int) -> None:
        self._send = send
        self._may_pass = may_pass
        self._most = most
        self._waiting: list[_Waiting] = []
        self._is_sending = False
        self._sender: asyncio.Task[None] | None = None
        self._crowd = 0
        """How many commands were sent together the last time."""

    @property
    def pending(self) -> list[asyncio.Future[Any]]:
        """The answers that are not there yet, and the task that sends."""
        answers = [waiting.answer for waiting in self._waiting]
        return answers if self._sender is None else [*answers, self._sender]

    async def call(self, command: Command, answer: asyncio.Future[Any], deadline: float) -> Any:
        """Return the answer to a command.

        Args:
            command: the command.
            answer: gets the answer. A caller that is cancelled is released at once, or, if this is an
                `Outcome`, when the answer is there.
            deadline: in the event loop's time.
        """
        self._waiting.append(_Waiting(command, answer, deadline))
        if not self._is_sending:
            self._is_sending = True
            try:
                if self._crowd > 1:
                    await asyncio.sleep(0)  # other tasks may add commands, as they did the last time
                await self._send_batch()
            except GeneratorExit:  # garbage-collected, in whatever thread: nothing can be awaited here
                with suppress(RuntimeError):  # the loop is closed
                    answer.get_loop().call_soon_threadsafe(self._hand_on)
                raise
            except BaseException:  # cancelled
                answer.cancel()
                self._hand_on()
                with suppress(StorageError, asyncio.CancelledError):  # it may be cancelled several times
                    await answer
                raise
            self._hand_on()
        return await answer

    def _hand_on(self) -> None:
        """Let a task send what waits: new commands, or all of them if the sending task was cancelled."""
        self._is_sending = bool(self._waiting)
        if self._waiting:
            self._sender = asyncio.create_task(self._send_waiting())

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                await self._send_batch()
        finally:  # also if the event loop ends
            self._is_sending, self._sender = False, None
            abandoned, self._waiting = self._waiting, []
            for waiting in abandoned:
                asyncio.Future.cancel(waiting.answer)  # an `Outcome` too: nobody is left who could decide it

    async def _send_batch(self) -> None:
        """Send what waits. Each command gets its answer when it arrives, before the others are answered."""
        batch = [each for each in self._waiting if not each.answer.done()][: self._most]
        if not batch:
            self._waiting.clear()
            return
        deadline = batch[0].deadline

        def told(at: int, answer: Any) -> None:
            waiting = batch[at]
            if waiting.answer.done():
                return  # its caller was cancelled
            if not isinstance(answer, BaseException):
                waiting.answer.set_result(answer)
            elif not (self._may_pass(answer) and waiting.deadline > deadline + _LATER):
                error = explained(answer)
                error.__cause__ = as_cause(answer)
                waiting.answer.set_exception(error)
            # Otherwise, it is sent with the next ones: only the oldest command's deadline is over.

        try:
            await self._send([waiting.command for waiting in batch], deadline, told)
        finally:
            self._waiting = [each for each in self._waiting if not each.answer.done()]
            self._crowd = len(batch)
