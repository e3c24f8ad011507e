"""Bodies in Redis: each has a hash of its own, which also lists the conversations that refer to the body.

In a Cluster, a body may lie in another slot than its conversation, so both are written one after the other,
in an order that never leaves an event without its body: first the mark in the conversation (`n:b:hash`), then
the body with its reference (`u:conversation`), then the event. Deleting takes the same steps backwards. A
crash in between leaves a body too many; `sweep` deletes such bodies once they are an hour old.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from ..stored_data import BODIES_SCHEMA
from .keys import Keys
from .lifetimes import BESIDE, Lifetimes
from .link import Link
from .places import Places, naming
from .replies import pairs_of, text_of
from .scripts import Command, Script, ask_hash

_HOLD, _RELEASE, _MARK, _USES, _REFS = (Script(name) for name in ("hold", "release", "mark", "uses", "refs"))

_FETCHED_AT_ONCE = 8
_SCANNED_AT_ONCE = 1_000
# Of the bodies, and of the references to each: a bound to what a sweep costs.
_SWEPT_AT_ONCE, _LOOKED_AT = 16, 16
_GRACE = 3_600
"""How old (in seconds) a reference without a mark is before no writer can still be at work on it."""


class Bodies:
    """Keeps the bodies of one sandbox.

    Args:
        link: the connection to the server.
        keys: the names of the sandbox's keys.
        places: knows the key of each session.
        lifetimes: how long sessions live.
    """

    def __init__(self, link: Link, keys: Keys, places: Places, lifetimes: Lifetimes) -> None:
        self._link = link
        self._keys = keys
        self._places = places
        self._lifetimes = lifetimes
        lifetimes.keys_beside = self._keys_of_conversation

    async def fetch(self, hashes: Collection[str]) -> dict[str, bytes]:
        """The bodies with these hashes, as far as they exist."""
        found: dict[str, bytes] = {}
        names = sorted(hashes)
        for at in range(0, len(names), _FETCHED_AT_ONCE):
            part = names[at : at + _FETCHED_AT_ONCE]
            asked = [ask_hash(self._key(each), "HGET", "data") for each in part]
            for name, answer in zip(part, await self._link.call_all(asked), strict=True):
                if answer is not None:
                    found[name] = _decoded(text_of(answer))
        return found

    async def hold(
        self, session_id: str, bodies: Mapping[str, bytes], *, place: str | None = None
    ) -> str | None:
        """Store bodies for events of a session that are being written.

        This is done before the events are written. Afterwards, `settle` does it again.

        Args:
            session_id: the session.
            bodies: the bodies, by hash.
            place: the key of a session that does not exist yet; for an existing session, the key is looked
                up.

        Returns:
            The key; `None` if the session does not exist, and then nothing is stored.
        """
        if place is None:
            mark = partial(_mark_command, session_id, list(bodies))
            if await self._places.ask(session_id, mark, self._link.call) is None:
                return None
            place = self._places.known(session_id)
        held = await self._link.call_all([self._hold(each, place) for each in bodies])
        for (name, data), is_held in zip(bodies.items(), held, strict=True):
            if not int(is_held):
                await self._link.call(self._hold(name, place, _encoded(data)))
        if self._link.is_cluster:
            await self._link.call(("SADD", self._keys.bodies, *bodies))
        return place

    async def settle(
        self, session_id: str, bodies: Mapping[str, bytes], held_at: str | None, *, is_written: bool
    ) -> None:
        """Finish what `hold` began, after the events were written or refused.

        If the events were written, store their bodies again, in case another writer deleted the bodies in
        between. Then release the bodies to which the conversation does not refer: the events were refused,
        or the conversation was deleted meanwhile.

        Args:
            session_id: the session.
            bodies: the bodies, by hash.
            held_at: what `hold` returned.
            is_written: whether the events were written.
        """
        places = {held_at, await self.hold(session_id, bodies) if is_written else None}
        for place in places - {None}:
            await self.let_go(str(place), list(bodies))

    def _hold(self, name: str, place: str, *data: str) -> Command:
        own = self._lifetimes.milliseconds
        key = self._key(name)
        keys = [key] if self._link.is_cluster else [key, self._keys.bodies]
        return _HOLD(keys, place, "" if own is None else own * BESIDE, name, *data)

    async def of_conversation(self, place: str) -> list[str]:
        """The hashes of the bodies that a conversation's events refer to."""
        key = self._keys.of(place)
        schema = text_of(await naming(place, self._link.call(ask_hash(key, "HGET", "schema"))) or "")
        if schema != str(BODIES_SCHEMA):
            return []  # the conversation never had bodies
        kept: dict[str, None] = {}
        cursor = "0"
        while True:
            scan = ("HSCAN", key, cursor, "MATCH", "*:b:*", "COUNT", _SCANNED_AT_ONCE)
            answer = await self._link.call(scan)
            cursor = text_of(answer[0])
            for field, _ in pairs_of(answer[1]):
                number, _, name = text_of(field).partition(":b:")
                if number.isdecimal() and name:
                    kept[name] = None
            if cursor == "0":
                return list(kept)

    async def let_go(self, place: str, hashes: Sequence[str]) -> None:
        """Release bodies from a conversation in which no mark of them is left."""
        used = await self._link.call_all([_USES([self._keys.of(place)], name) for name in hashes])
        for name in [name for name, is_used in zip(hashes, used, strict=True) if not int(is_used)]:
            gone = await self._link.call(_RELEASE([self._key(name)], place))
            if int(gone):
                await self._link.call(("SREM", self._keys.bodies, name))

    async def _keys_of_conversation(self, place: str) -> list[str]:
        return [self._key(each) for each in await self.of_conversation(place)]

    async def sweep(self, older_than: int = _GRACE) -> None:
        """Delete some bodies that no event refers to: those that interrupted writers left.

        Args:
            older_than: in seconds; the events of younger references may still be being written.
        """
        listed = await self._link.call(("SRANDMEMBER", self._keys.bodies, _SWEPT_AT_ONCE))
        for name in map(text_of, listed or ()):
            count, refs = await self._link.call(_REFS([self._key(name)], _LOOKED_AT))
            if not int(count):
                await self._link.call(("SREM", self._keys.bodies, name))
            for place, age in zip(refs[::2], refs[1::2], strict=True):
                if int(age) >= older_than:
                    await self.let_go(text_of(place), [name])

    def _key(self, name: str) -> str:
        return self._keys.of(name, "body:")


def _mark_command(session_id: str, hashes: Sequence[str], key: str) -> Command:
    return _MARK([key], session_id, *hashes)


def _encoded(data: bytes) -> str:
    """Bytes as text, because an application's client may decode everything that it reads."""
    try:
        return f"t{data.decode()}"
    except UnicodeDecodeError:
        return f"b{b64encode(data).decode()}"


def _decoded(text: str) -> bytes:
    return b64decode(text[1:]) if text.startswith("b") else text[1:].encode()


def all_bodies(events: Iterable[Any]) -> dict[str, bytes]:
    """The bodies of encoded events."""
    return {name: data for event in events for name, data in event.bodies.items()}
