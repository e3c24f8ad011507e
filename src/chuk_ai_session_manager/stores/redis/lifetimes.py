"""The lifetimes of conversations, and of their parents, pointers, lists and records."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from ..codec import origins_in, user_id_in
from ..lifecycle import Lifecycle
from .chores import Chores
from .keys import Keys
from .link import Link
from .places import Places, peek_command
from .replies import name_of, text_of
from .scripts import Script

_LIVE = Script("live")

# The keys beside a conversation (pointers to it, its parents, lists) are renewed each 20th of a lifetime, and
# so have to live a little longer than the conversation; this is ample.
BESIDE = 2


class Lifetimes:
    """Renews conversations, and the keys beside them.

    Args:
        link: the connection to the server.
        keys: the sandbox's keys.
        places: where sessions live.
        lifecycle: the records of chuk-sessions.
        chores: runs work that writers need not wait for.
        milliseconds: how long a conversation lives after the last write to it; `None` for ever.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        places: Places,
        lifecycle: Lifecycle,
        chores: Chores,
        milliseconds: int | None,
    ) -> None:
        self.milliseconds = milliseconds
        self._link = link
        self._keys = keys
        self._places = places
        self._lifecycle = lifecycle
        self._chores = chores
        self._renewing: set[str] = set()
        self.keys_beside: Callable[[str], Awaitable[list[str]]] | None = None
        """Returns further keys that live as long as the conversation at a place."""

    async def left(self, place: str) -> int | None:
        """The milliseconds until a conversation expires, below 0 for never; `None` if it does not exist."""
        lives = await self._live(place, 0)
        return None if not lives else lives[0]

    async def extend(self, place: str, more: int) -> bool:
        """Let a conversation live so many milliseconds longer; `False` if it does not exist."""
        left = await self.left(place)
        if left is None:
            return False
        if left >= 0:
            await self._keep_all(place, left + more)
        return True

    def renew_soon(self, session_id: str) -> None:
        """Renew the keys beside a session's conversation, in the background."""
        if session_id not in self._renewing:
            self._renewing.add(session_id)
            self._chores.do(self._renew(session_id), f"the keys beside session {session_id} were not renewed")

    async def _renew(self, session_id: str) -> None:
        assert self.milliseconds is not None  # noqa: S101  (without a lifetime, nothing is renewed)
        try:
            place = await self._places.find(session_id)
            if place is not None:
                # A tenth longer than the conversation lives: the next renewal is up to a 20th of it away.
                await self._keep_all(place, self.milliseconds + self.milliseconds // 10, but_itself=True)
                await self._live(place, 0, renewed=True)
        finally:
            self._renewing.discard(session_id)

    async def _live(self, place: str, lives: int, *, renewed: bool = False) -> tuple[int, str] | None:
        """Renew a conversation; return its milliseconds and its parent's conversation, or `None`."""
        answer = await self._link.call(_LIVE([self._keys.of(place)], lives, int(renewed)))
        return (int(answer[0]), text_of(answer[1])) if answer else None

    async def _keep_all(self, place: str, lives: int, *, but_itself: bool = False) -> None:
        """Let a conversation, those that it is a child of, and the keys beside them live so long (ms)."""
        seen: set[str] = set()
        while place and place not in seen:
            seen.add(place)
            kept = await self._live(place, 0 if but_itself and len(seen) == 1 else lives)
            if not kept:
                return
            await self._keep_beside(place, lives)
            place = kept[1]

    async def _keep_beside(self, place: str, lives: int) -> None:
        ids = await self._places.segments(place)
        keys = [self._keys.of(each) for each in ids[1:]]
        keys += [self._keys.of(each, "children:") for each in ids]
        first = await self._places.ask(place, partial(peek_command, place))
        metadata = "" if first is None else name_of(first[1])
        if user_id := user_id_in(metadata):
            keys.append(self._keys.of(user_id, "user:"))
        keys += [self._keys.of(each, "forks:") for each in origins_in(metadata)]
        keys += [] if self.keys_beside is None else await self.keys_beside(place)
        await self._link.call_all([_LIVE([key], lives * BESIDE, 0) for key in keys])
        for each in ids:
            await self._lifecycle.keep(each, lives / 1000)
        if await self._live(place, 0) is None:  # erased meanwhile: its records must not come back
            for each in ids:
                await self._lifecycle.delete(each)
