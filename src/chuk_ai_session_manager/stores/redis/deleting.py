"""Deleting sessions and conversations, and everything that points to them."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from ..lifecycle import Lifecycle
from .bodies import Bodies
from .keys import Keys
from .link import Link
from .places import Places
from .replies import pairs_of, text_of
from .scripts import Command, Script

_DROP = Script("drop")

# How many fields of a conversation are read in one round trip.
_SCANNED_AT_ONCE = 1_000


class Deleter:
    """Deletes sessions. The original's record of a session is deleted first: it must not bring it back."""

    def __init__(self, link: Link, keys: Keys, places: Places, lifecycle: Lifecycle, bodies: Bodies) -> None:
        self._link = link
        self._keys = keys
        self._places = places
        self._lifecycle = lifecycle
        self._bodies = bodies

    async def delete(self, session_id: str) -> None:
        """Delete a session; its parents and children stay."""
        await self._lifecycle.delete(session_id)
        there = await self._places.find(session_id)
        bodies = [] if there is None else await self._bodies.of_conversation(there)
        dropped = await self._places.ask(session_id, partial(_drop_command, session_id), self._link.call)
        place = self._places.known(session_id)
        self._places.forget(session_id)
        commands: list[Command] = [("ZREM", self._keys.index, session_id)]
        if place != session_id:
            commands.append(("UNLINK", self._keys.of(session_id)))
        await self._link.call_all(commands)
        if dropped is not None and text_of(dropped[1]):
            await self._clear(self._keys.of(place), text_of(dropped[1]))
        if there is not None:
            await self._bodies.let_go(there, bodies)

    async def _clear(self, key: str, number: str) -> None:
        """Delete the events of a session that was deleted from its conversation."""
        cursor, beginnings = "0", (f"{number}:", f"{number}#")
        while True:
            answer = await self._link.call(("HSCAN", key, cursor, "COUNT", _SCANNED_AT_ONCE))
            cursor = text_of(answer[0])
            fields = [text_of(field) for field, _ in pairs_of(answer[1])]
            names = [field for field in fields if field.startswith(beginnings)]
            if names:
                await self._link.call(("HDEL", key, *names))
            if cursor == "0":
                return

    async def delete_conversation(self, place: str) -> int:
        """Delete all segments of the conversation at a place; return their number."""
        ids = await self._places.segments(place)
        there = await self._places.are_there(ids, place)
        bodies = await self._bodies.of_conversation(place)
        for each in ids:
            await self._lifecycle.delete(each)
            self._places.forget(each)
        await self._link.call(("UNLINK", self._keys.of(place)))
        commands: list[Command] = [("UNLINK", self._keys.of(each)) for each in ids if each != place]
        for one, following in pairwise(ids):  # other children of a segment stay
            commands.append(("SREM", self._keys.of(one, "children:"), following))
        await self._link.call_all([*commands, ("ZREM", self._keys.index, *ids)])
        await self._bodies.let_go(place, bodies)
        return len(there)


def _drop_command(session_id: str, key: str) -> Command:
    return _DROP([key], session_id)
