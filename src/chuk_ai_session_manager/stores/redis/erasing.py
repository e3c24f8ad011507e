"""Conversations erased, with all that lies beside them, across an interruption.

What is to be erased is written down first (`casm:{sandbox}:erasing`), then the conversation goes in one step,
then what leads to it, and last the note itself. A call that finds notes of another one finishes that.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from ...models.session import next_segment_id
from ..codec import origins_in, user_id_in
from ..lifecycle import Lifecycle, metadata_of
from ..receipts import Erased
from ..stored_data import load
from .bodies import Bodies
from .keys import Keys
from .link import Link
from .places import Places
from .replies import pairs_of, text_of
from .scripts import Command, Script, ask_hash, ask_set, in_parts

_ERASE = Script("erase")
_AT_ONCE = 1_000
_NOTED = ("count", "metadata", "parent_id", "born")


@dataclass(slots=True)
class _Note:
    """What has to be known of a conversation to erase what leads to it, once it is gone itself."""

    segments: int
    """How many were ever made."""
    born: str = ""
    """What tells it from another one that has its id later, as far as that is known."""
    users: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    """The conversations that it was forked from."""
    bodies: list[str] = field(default_factory=list)
    """The hashes of the bodies to which its events refer."""
    with_copies: bool = True
    """Whether copies in other conversations go too."""


class Eraser:
    """Erases conversations of one sandbox.

    Args:
        link: the way to the server.
        keys: the sandbox's.
        places: where sessions live.
        lifecycle: the records of chuk-sessions.
        bodies: the images, audio and files that events refer to.
        erase_copies: takes a conversation's events out of those that were forked from it.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        places: Places,
        lifecycle: Lifecycle,
        bodies: Bodies,
        erase_copies: Callable[[str], Awaitable[int]],
    ) -> None:
        self._link = link
        self._keys = keys
        self._places = places
        self._lifecycle = lifecycle
        self._bodies = bodies
        self._erase_copies = erase_copies

    async def erase(self, session_id: str, written_since: int | None) -> Erased | None:
        """Erase a session's conversation.

        Returns:
            What was erased; `None` if the conversation does not exist, or was written to since then.
        """
        place = await self._places.find(session_id)
        if place is None:
            return None
        note, events = await self._noted(place, with_copies=written_since is None)
        await self._write_down(place, note)
        since = "" if written_since is None else written_since
        answer = await self._link.call(_ERASE([self._keys.of(place)], since, ""))
        if text_of(answer[0]) == "kept":
            await self._link.call(("HDEL", self._keys.erasing, place))
            return None
        if int(answer[1]) > note.segments:  # somebody opened one more meanwhile
            note.segments = int(answer[1])
            await self._write_down(place, note)
        copies = await self._finish(place, note)
        # Many prunes may run at the same time; the one that deleted the conversation counts it. An erasure
        # counts it in any case, because the server may have deleted it without the answer getting here.
        is_others = written_since is not None and text_of(answer[0]) == "not here"
        return None if is_others else Erased(_ids(place, note), events, copies)

    async def take_up(self) -> None:
        """Finish what other calls began, and were interrupted in."""
        cursor = "0"
        while True:
            answer = await self._link.call(("HSCAN", self._keys.erasing, cursor, "COUNT", _AT_ONCE))
            cursor = text_of(answer[0])
            for place, text in pairs_of(answer[1]):
                await self._take_up(text_of(place), _Note(**load(text_of(text))))
            if cursor == "0":
                return

    async def _take_up(self, place: str, note: _Note) -> None:
        # A prune that did not come to it leaves what was written to since.
        if note.with_copies and note.born:
            answer = await self._link.call(_ERASE([self._keys.of(place)], "", note.born))
            note.segments = max(note.segments, int(answer[1]))
        await self._finish(place, note)

    async def _noted(self, place: str, *, with_copies: bool) -> tuple[_Note, int]:
        """What is to be known of a conversation, and how many events it has."""
        key, ids = self._keys.of(place), await self._places.segments(place)
        names = [f"{n}:{name}" for n in range(len(ids)) for name in _NOTED]
        parts = await self._link.call_all([ask_hash(key, "HMGET", *part) for part in in_parts(names)])
        told = [None if value is None else text_of(value) for part in parts for value in part]
        note, events = _Note(len(ids), with_copies=with_copies), 0
        for count, metadata in zip(told[:: len(_NOTED)], told[1 :: len(_NOTED)], strict=True):
            events += int(count) if count and count.isdecimal() else 0
            user_id = user_id_in(metadata or "")
            if user_id is not None and user_id not in note.users:
                note.users.append(user_id)
        note.bodies = await self._bodies.of_conversation(place)
        note.origins, note.born = origins_in(told[1]), told[3] or ""
        note.parents = [each for each in [_read(told[2])] if isinstance(each, str)]
        return note, events

    async def _write_down(self, place: str, note: _Note) -> None:
        await self._link.call(("HSET", self._keys.erasing, place, json.dumps(asdict(note))))

    async def _finish(self, place: str, note: _Note) -> int:
        """Erase what leads to a conversation that is gone; how many copies of its events there were."""
        copies = await self._erase_copies(place) if note.with_copies else 0
        ids = _ids(place, note)
        for at in range(0, len(ids), _AT_ONCE):
            gone = [each for each in ids[at : at + _AT_ONCE] if not await self._places.is_stored(each)]
            await self._link.call_all([each for one in gone for each in self._beside(one, place, note)])
            for each in gone:  # an id may have been used again since
                await self._lifecycle.delete(each)
                self._places.forget(each)
        await self._bodies.let_go(place, note.bodies)
        await self._link.call(("HDEL", self._keys.erasing, place))
        return copies

    def _beside(self, session_id: str, place: str, note: _Note) -> list[Command]:
        """What deletes all that leads to a session."""
        keys = self._keys
        commands: list[Command] = [
            ("HDEL", keys.of(session_id), "in"),
            ("UNLINK", keys.of(session_id, "children:")),
            ("ZREM", keys.index, session_id),
            *(("SREM", keys.of(user_id, "user:"), session_id) for user_id in note.users),
        ]
        if session_id == place:
            commands += [("SREM", keys.of(each, "children:"), place) for each in note.parents]
            commands += [("SREM", keys.of(each, "forks:"), place) for each in note.origins]
            commands += [("UNLINK", keys.of(place, "forks:"))] if note.with_copies else []
        return commands

    async def forks_of(self, place: str) -> list[str]:
        """The ids of conversations that were forked from one."""
        members = await self._link.call(ask_set(self._keys.of(place, "forks:"), "SMEMBERS"))
        return sorted(text_of(each) for each in members)

    async def forget(self, user_id: str, accounts: list[str]) -> int:
        """Delete a user's list and accounts; how many of the latter there were."""
        await self._link.call(("UNLINK", self._keys.of(user_id, "user:")))
        commands: list[Command] = [("DEL", self._keys.of(name, "account:")) for name in accounts]
        return sum(map(int, await self._link.call_all(commands)))

    async def records_of(self, user_id: str) -> list[str]:
        """The ids of sessions whose records name a user: those of the original, and of sessions that expired.

        Raises:
            StorageError: the server could not say, or this user may not ask.
        """
        return [each async for each in self._records_of(user_id)]

    async def _records_of(self, user_id: str) -> AsyncIterator[str]:
        cursor = "0"
        while True:
            answer = await self._link.call(("SCAN", cursor, "MATCH", "session:*", "COUNT", _AT_ONCE))
            cursor = text_of(answer[0])
            for key in map(text_of, answer[1]):
                session_id = key.removeprefix("session:")
                if await self._is_record_of(session_id, user_id):
                    yield session_id
            if cursor == "0":
                return

    async def _is_record_of(self, session_id: str, user_id: str) -> bool:
        record = await self._lifecycle.record(session_id)
        metadata = metadata_of(record)
        original = _read(metadata.get("ai_session_data"))
        if not isinstance(original, dict) and "session_type" not in metadata:
            return False  # another tool's
        own = original.get("metadata") if isinstance(original, dict) else None
        return user_id in {record.get("user_id"), user_id_in(json.dumps(own))}


def _ids(place: str, note: _Note) -> list[str]:
    ids = [place]
    while len(ids) < note.segments:
        ids.append(next_segment_id(ids[-1]))
    return ids


def _read(text: Any) -> Any:
    try:
        return load(text) if isinstance(text, str) else None
    except ValueError:
        return None
