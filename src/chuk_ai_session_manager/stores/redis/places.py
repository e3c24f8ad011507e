"""The places of sessions: all segments of a conversation are in the hash of its first session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from ...exceptions import StorageError
from ...models.event_page import LogState
from ...models.session import next_segment_id
from ..stored_data import damaged_header
from .keys import Keys
from .link import Link
from .replies import text_of
from .scripts import Command, Script, ask_hash, in_parts

_PEEK = Script("peek")

# How many places of segments are remembered: a limit to the memory.
_PLACES_KEPT = 10_000


class Places:
    """Asks for sessions at the place of their conversation, and remembers that place.

    Args:
        link: the connection to the server.
        keys: the sandbox's keys.
        take_over: stores a session that only the original wrote, if there is one with this id.
    """

    def __init__(self, link: Link, keys: Keys, take_over: Callable[[str], Awaitable[bool]]) -> None:
        self._link = link
        self._keys = keys
        self._take_over = take_over
        self._known: dict[str, str] = {}

    async def ask(
        self,
        session_id: str,
        command: Callable[[str], Command],
        send: Callable[[Command], Awaitable[Any]] | None = None,
    ) -> list[Any] | None:
        """Return the answer from the place of a session's conversation; `None` if the session does not exist.

        A session that only the original wrote is taken over first.

        Args:
            session_id: the session.
            command: makes the command for the key of a conversation.
            send: sends the command; by default with others that read.
        """
        send = send or self._link.read_together
        answer = await self._ask_stored(session_id, command, send)
        if answer is None and await self._take_over(session_id):
            answer = await self._ask_stored(session_id, command, send)
        return answer

    async def _ask_stored(
        self,
        session_id: str,
        command: Callable[[str], Command],
        send: Callable[[Command], Awaitable[Any]],
    ) -> list[Any] | None:
        place = self.known(session_id)
        for _ in range(3):
            try:
                answer = await send(command(self._keys.of(place)))
            except StorageError as problem:
                raise _naming(session_id, problem) from problem.__cause__
            if not isinstance(answer, list):
                return text_of(answer).split()
            if text_of(answer[0]) != "not here":
                return answer
            elsewhere = text_of(answer[1])
            if elsewhere:
                place = elsewhere
                self.remember(session_id, place)
            elif place == session_id:
                return None
            else:
                self.forget(session_id)
                place = session_id
        return None

    async def find(self, session_id: str) -> str | None:
        """Return the id of a conversation's first session; `None` if `session_id` does not exist."""
        found = await self.ask(session_id, partial(peek_command, session_id))
        return None if found is None else self.known(session_id)

    async def is_stored(self, session_id: str) -> bool:
        """Whether a session is stored, apart from the original's record."""
        peek = partial(peek_command, session_id)
        return await self._ask_stored(session_id, peek, self._link.read_together) is not None

    def known(self, session_id: str) -> str:
        """The place where a session was last found; at first, its own key."""
        return self._known.get(session_id, session_id)

    def remember(self, session_id: str, place: str) -> None:
        """Look for a session at this place from now on."""
        if len(self._known) >= _PLACES_KEPT:
            self._known.clear()
        self._known[session_id] = place

    def forget(self, session_id: str) -> None:
        """Look for a session under its own key from now on."""
        self._known.pop(session_id, None)

    async def segments(self, place: str) -> list[str]:
        """Return the ids of all sessions that were ever created in a conversation, deleted or not."""
        made = int(
            await naming(place, self._link.call(ask_hash(self._keys.of(place), "HGET", "segments"))) or 0
        )
        ids = [place]
        while len(ids) < made:
            ids.append(next_segment_id(ids[-1]))
        return ids

    async def are_there(self, ids: Sequence[str], place: str) -> list[str]:
        """Return those of a conversation's sessions that were not deleted."""
        return list(await self._numbers(ids, place))

    async def _numbers(self, ids: Sequence[str], place: str) -> dict[str, str]:
        """Return the number of each of these sessions in its conversation, if it was not deleted."""
        key, parts = self._keys.of(place), in_parts(ids)
        asked = [ask_hash(key, "HMGET", *(f"s:{each}" for each in part)) for part in parts]
        return {
            each: text_of(number)
            for part, numbers in zip(parts, await self._link.call_all(asked), strict=True)
            for each, number in zip(part, numbers, strict=True)
            if number is not None
        }

    async def log_states(self, place: str) -> list[LogState]:
        """How far the logs of a conversation's sessions have come.

        Raises:
            UnreadableData: one of them is damaged.
        """
        numbers = await self._numbers(await self.segments(place), place)
        key = self._keys.of(place)
        fields = [f"{number}:{name}" for number in numbers.values() for name in ("born", "rewrites", "count")]
        answers = await self._link.call_all([ask_hash(key, "HMGET", *part) for part in in_parts(fields)])
        values = [value for answer in answers for value in answer]
        found = []
        for each, born, rewrites, count in zip(numbers, values[::3], values[1::3], values[2::3], strict=True):
            if None in {born, rewrites, count}:
                raise damaged_header(each)
            found.append(LogState(each, f"{text_of(born)} {text_of(rewrites)}", int(count)))
        return found


def peek_command(session_id: str, key: str) -> Command:
    """Asks whether a session exists, and for its user."""
    return _PEEK([key], session_id)


async def naming(session_id: str, answer: Awaitable[Any]) -> Any:
    """Await an answer; an error names the session."""
    try:
        return await answer
    except StorageError as problem:
        raise _naming(session_id, problem) from problem.__cause__


def _naming(session_id: str, problem: StorageError) -> StorageError:
    """The error, with the session's name."""
    return type(problem)(f"Session {session_id} cannot be reached. {problem}")
