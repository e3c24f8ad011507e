"""Writing new sessions, and changes of stored ones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ...exceptions import session_not_found
from ..base import AnySession
from ..changes import Change, MovedError
from ..codec import user_id_in
from ..counting import dump_counters
from ..stored_data import damaged_header, dump
from ..walking import is_segment_after
from .bodies import Bodies, all_bodies
from .keys import Keys
from .lifetimes import BESIDE, Lifetimes
from .link import Link
from .listing import Listing
from .places import Places, naming
from .replies import text_of
from .scripts import Command, Script

_PUT, _POINT = Script("put"), Script("point")


class Writer:
    """Writes headers and whole logs, each session in one atomic step."""

    def __init__(
        self,
        link: Link,
        keys: Keys,
        places: Places,
        listing: Listing,
        lifetimes: Lifetimes,
        bodies: Bodies,
    ) -> None:
        self._link = link
        self._keys = keys
        self._places = places
        self._listing = listing
        self._lifetimes = lifetimes
        self._bodies = bodies

    async def create(self, session: AnySession, change: Change, parent: str | None) -> bool:
        """Write a new session; `False` if its id is taken.

        Args:
            session: the session.
            change: its header, counters and events.
            parent: the place of its parent, if the parent exists.
        """
        if parent is not None and is_segment_after(session, session.parent_id):
            written = await self._write_segment(session, change, parent)
            if written is not None:
                return written
            if change.follows_at is not None:
                raise session_not_found(session.parent_id or "")
            parent = None  # the parent is gone
        bodies = all_bodies(change.events)
        if bodies:
            await self._bodies.hold(session.id, bodies, place=session.id)
        command = self._put(self._keys.of(session.id), session.id, change, parent=parent or "")
        # With many events, the command is long, and others should not wait for it.
        send = self._link.call if change.events else self._link.call_short
        answer = await naming(session.id, send(command))
        if text_of(answer[0]) == "taken" and not await self._places.is_stored(session.id):
            # The id is taken by a pointer to a conversation that expired.
            await self._link.call(("HDEL", self._keys.of(session.id), "in"))
            answer = await self._link.call(command)
        is_put = text_of(answer[0]) == "put"
        if bodies:
            await self._bodies.settle(session.id, bodies, session.id, is_written=is_put)
        return is_put

    async def _write_segment(self, session: AnySession, change: Change, parent: str) -> bool | None:
        """Write into its parent's conversation: `None` if that is gone, `False` if the id is taken."""
        here = self._keys.of(session.id)
        left = await self._lifetimes.left(parent)
        # Until the conversation expires, whose lifetime another store may have extended.
        own = self._lifetimes.milliseconds or 0
        lives: int | str = "" if left is None or left < 0 else max(left, own) * BESIDE
        if text_of(await self._link.call(_POINT([here], session.id, parent, lives))) == "taken":
            return False
        bodies = all_bodies(change.events)
        if bodies:
            await self._bodies.hold(session.id, bodies, place=parent)
        command = self._put(self._keys.of(parent), session.id, change, follows=session.parent_id or "")
        answer = await naming(session.id, self._link.call(command))
        if bodies and text_of(answer[0]) != "put":
            await self._bodies.let_go(parent, list(bodies))
        if text_of(answer[0]) == "moved":
            raise MovedError
        if text_of(answer[0]) == "damaged":
            raise damaged_header(session.parent_id or "")
        if text_of(answer[0]) == "not here":
            await self._link.call(("UNLINK", here))
            return None
        self._places.remember(session.id, parent)
        is_put = text_of(answer[0]) == "put"
        if bodies and is_put:
            await self._bodies.settle(session.id, bodies, parent, is_written=True)
        return is_put

    async def change(self, session_id: str, change: Change, born: str, only_at: int) -> bool:
        """Change a stored session in one atomic step; `False` if it is at another revision, or gone."""

        def command(key: str) -> Command:
            return self._put(key, session_id, replace(change, born=born), expected=only_at)

        bodies = all_bodies(change.events)
        held_at = await self._bodies.hold(session_id, bodies) if bodies else None
        answer = await self._places.ask(session_id, command, self._link.call)
        if bodies:
            is_written = answer is not None and text_of(answer[0]) == "put"
            await self._bodies.settle(session_id, bodies, held_at, is_written=is_written)
        if answer is None or text_of(answer[0]) != "put":
            return False
        if change.let_go:
            await self._bodies.let_go(self._places.known(session_id), change.let_go)
        user_id = user_id_in(change.fields.get("metadata", "null"))
        parent_id = json.loads(change.fields.get("parent_id", "null"))
        await self._listing.enter(session_id, user_id, parent_id, change.place)
        if user_id is not None:  # the user is the same for all segments of a conversation
            others = await self._places.segments(self._places.known(session_id))
            await self._listing.enter_with_user([each for each in others if each != session_id], user_id)
        return True

    def _put(
        self,
        key: str,
        session_id: str,
        change: Change,
        *,
        expected: int | str = "",
        follows: str = "",
        parent: str = "",
    ) -> Command:
        lives = self._lifetimes.milliseconds or ""
        arguments: list[Any] = [session_id, lives, expected, follows, dump(session_id)]
        arguments += ["" if change.place is None else change.place, parent, change.born]
        arguments += ["" if change.follows_at is None else change.follows_at, len(change.fields)]
        for name, text in change.fields.items():
            arguments += (name, text)
        counters = change.counters
        arguments.append("" if counters is None else dump_counters(counters))
        arguments += ["" if change.keep is None else change.keep, len(change.gone), *change.gone]
        bodies = all_bodies(change.events)
        arguments += [len(change.let_go), *change.let_go, len(bodies), *bodies]
        for event in change.events:
            arguments += (event.id, event.body)
        return _PUT(self._keys.with_index(key), *arguments)
