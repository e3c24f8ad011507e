"""Sessions in Redis: one server, a Cluster, or what Sentinel watches over.

A conversation is one hash, so that it lives, expires and moves as a whole. In it, for the segment
numbered `n`: `s:<session id>` gives `n`; `n:metadata` and so on are its header, `n:counters` what it adds
up to, `n:<number>` its events, `n#<event id>` their numbers. A segment's own key, where it is not the
first, holds only `in`: the id of the conversation's first session.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote

from ...exceptions import StorageError, UnreadableData, session_not_found
from ...exceptions.validation import check_at_least
from ...models import Session
from ...models.session import enter_with_parent, next_segment_id
from ..base import DEFAULT_SANDBOX_ID, DEFAULT_TTL_HOURS, AnySession, is_segment_after
from ..codec import (
    CHUNK,
    HEADER_FIELDS,
    SCHEMA,
    EncodedEvent,
    StoredSession,
    check_same,
    damaged_header,
    dump,
    dump_counters,
    is_child_of,
    load_counters,
    user_id_in,
)
from ..durability import DurabilityReport, redis_report
from ..durable import Appended, Change, DurableStore, is_session_id, newer_schema
from ..lifecycle import Lifecycle
from .clients import Client
from .link import Command, Link, Script

logger = logging.getLogger(__name__)

_READ, _ADD, _PUT = Script("read"), Script("add"), Script("put")
_DROP, _FORGET, _LIST, _LIVE = Script("drop"), Script("forget"), Script("list"), Script("live")
_PEEK, _POINT, _TOUCH = Script("peek"), Script("point"), Script("touch")

_MS_AN_HOUR = 3_600_000
# One reply when reading: small enough that the server is soon free for others.
_BYTES_AT_ONCE = 1_000_000
_LISTED_AT_ONCE = 1_000
# What lies beside a conversation (pointers to it, its parents, who else lists it) is renewed each 20th of a
# lifetime, and so has to live a little longer than the conversation; this is ample.
_BESIDE = 2
# Places of segments that are remembered: a bound to the memory it takes.
_PLACES_KEPT = 10_000
_DURABILITY_SETTINGS = ("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy")
# Of a longer conversation, the places of its segments are not remembered all at once.
_READ_NEXT = 1_000
# Event ids in an error: enough to find the others by.
_IDS_NAMED = 5
# Every so many new sessions, as many entries of the index are looked at whether they still are.
_SWEEP_EVERY = 64


class RedisStore(DurableStore):
    """Keeps sessions in Redis 6.2 or later: one server, a Cluster, or the master that Sentinel names.

    An append is one round trip, however long the session is; appends that wait together leave together.
    There is one pooled client a store (and event loop), so make one store and share it.

    Args:
        address: a URL, as `open_store` takes it; or a `redis.asyncio` client, which is never closed here.
        sandbox_id: the tenant; sessions of another one do not exist here.
        ttl_hours: hours that a conversation lives after the last write to it; `None` for ever.
        timeout: seconds that a round trip may take, tries after a lost connection included. Most calls
            are one; reading a long session takes one for each megabyte.

    Raises:
        InvalidInput: an empty sandbox, or a number that cannot be right.
        StorageError: the URL is none.
    """

    def __init__(
        self,
        address: str | Client,
        *,
        sandbox_id: str = DEFAULT_SANDBOX_ID,
        ttl_hours: float | None = DEFAULT_TTL_HOURS,
        timeout: float = 5.0,
    ) -> None:
        super().__init__(sandbox_id, ttl_hours)
        check_at_least(timeout, 0, "timeout", "open a store")
        self._link = Link(address, timeout)
        self._lives = None if ttl_hours is None else max(1, int(ttl_hours * _MS_AN_HOUR))
        self._places: dict[str, str] = {}
        self._created = 0
        self._renewing: set[str] = set()
        self._importing: set[str] = set()
        self._beside: set[asyncio.Task[None]] = set()
        self.record_provider = _Records(self._link)
        self.lifecycle = Lifecycle(self.record_provider, sandbox_id, ttl_hours)

    def __repr__(self) -> str:
        return f"RedisStore(sandbox_id={self.sandbox_id!r})"

    async def close(self) -> None:
        """Finish what waits, and close the connections of this event loop but the application's own."""
        loop = asyncio.get_running_loop()
        pending = [task for task in self._beside if task.get_loop() is loop]
        if pending:
            await asyncio.wait(pending)
        await self._link.close()

    def get_stats(self) -> dict[str, Any]:
        """How the store is reached and how its sessions live; no addresses or passwords."""
        return {
            "provider": "redis",
            "cluster": self._link.is_cluster,
            "sandbox_id": self.sandbox_id,
            "ttl_hours": self.ttl_hours,
        }

    # -- keys -----------------------------------------------------------------------------------

    def _key(self, session_id: str, kind: str = "") -> str:
        """The key of a session, or of what lists a user's or a parent's sessions, as `kind` says.

        Quoted, so that no id can end the part that decides on the Cluster's slot, or be another's.
        """
        return f"casm:{{{_quoted(self.sandbox_id)}:{kind}{_quoted(session_id)}}}"

    @property
    def _index(self) -> str:
        return f"casm:{{{_quoted(self.sandbox_id)}}}:index"

    def _keys(self, key: str) -> list[str]:
        """A conversation's key, and the index where both may be in one step: not in a Cluster."""
        return [key] if self._link.is_cluster else [key, self._index]

    async def _at_place(
        self,
        session_id: str,
        command: Callable[[str], Command],
        send: Callable[[Command], Awaitable[Any]] | None = None,
    ) -> list[Any] | None:
        """The answer from where the session's conversation lives; `None` where there is no such session."""
        send = send or self._link.call
        place = self._places.get(session_id, session_id)
        for _ in range(3):
            answer = await self._named(session_id, send(command(self._key(place))))
            if not isinstance(answer, list):
                return _text(answer).split()
            if _text(answer[0]) != "not here":
                return answer
            elsewhere = _text(answer[1])
            if elsewhere:
                place = elsewhere
                self._remember(session_id, place)
            elif place == session_id:
                return None
            else:
                self._places.pop(session_id, None)
                place = session_id
        return None

    @staticmethod
    async def _named(session_id: str, answer: Awaitable[Any]) -> Any:
        """An answer, whose error names the session."""
        try:
            return await answer
        except StorageError as problem:
            named = f"Session {session_id} is not to be reached. {problem}"
            raise type(problem)(named) from problem.__cause__

    def _remember(self, session_id: str, place: str) -> None:
        if len(self._places) >= _PLACES_KEPT:
            self._places.clear()
        self._places[session_id] = place

    # -- what a durable store does --------------------------------------------------------------

    async def _read(self, session_id: str, start: int | None) -> StoredSession | None:
        stored = await self._read_here(session_id, start)
        if stored is None and await self._import_original(session_id):
            stored = await self._read_here(session_id, start)
        return stored

    async def _read_here(self, session_id: str, start: int | None) -> StoredSession | None:
        bodies: list[str] = []
        at, version = start, None
        while True:
            answer = await self._at_place(
                session_id, partial(_read_command, session_id, "" if at is None else at)
            )
            if answer is None:
                return None
            if _text(answer[0]) == "damaged":
                raise UnreadableData(
                    f"Session {session_id} is damaged: its event {int(answer[1])} is missing"
                )
            stored = _stored(session_id, answer[1])
            if version not in {None, (stored.born, stored.rewrites)}:  # rewritten between two replies
                bodies, at, version = [], start, None
                continue
            version = (stored.born, stored.rewrites)
            try:
                bodies += [_text(chunk) for chunk in answer[2]]
            except UnicodeDecodeError:
                damage = f"Session {session_id} is damaged: an event of it is no text"
                raise UnreadableData(damage) from None  # the cause quotes it
            at = int(answer[3])
            if start is None or at >= stored.count:
                stored.start = stored.count if start is None else min(start, stored.count)
                stored.bodies = bodies
                return stored

    async def _add(
        self, session_id: str, events: Sequence[EncodedEvent], born: str, only_at: int | None
    ) -> Appended | None:
        answer = await self._sent(session_id, events, born, only_at)
        if answer is None:
            if await self._import_original(session_id):
                return await self._add(session_id, events, born, only_at)
            raise session_not_found(session_id)
        kind = _text(answer[0])
        if kind == "moved":
            return None
        if kind == "conflict":
            others = self._but(session_id, events, _text(answer[1]), answer[2])
            return await self._add(session_id, others, born, only_at)
        if kind != "added":
            is_newer = kind == "newer"
            raise (
                newer_schema(f"Session {session_id}", int(answer[1]))
                if is_newer
                else damaged_header(session_id)
            )
        if int(answer[4]) and session_id not in self._renewing:
            self._renewing.add(session_id)
            self._do_beside(self._renew(session_id), f"what lies beside session {session_id} was not renewed")
        return Appended(int(answer[1]), int(answer[2]), int(answer[3]))

    async def _sent(
        self, session_id: str, events: Sequence[EncodedEvent], born: str, only_at: int | None
    ) -> list[Any] | None:
        """The answer to an append; its error names the events, for a retry."""
        arguments: list[Any] = [session_id, self._lives or "", born, "" if only_at is None else only_at]
        for event in events:
            arguments += (event.id, event.body, dump_counters(event.counters))

        def command(key: str) -> Command:
            return _ADD(self._keys(key), *arguments)

        try:
            answer = await self._at_place(session_id, command, self._link.call_together)
            if self._link.is_cluster and answer is not None and _text(answer[0]) == "added":
                await self._link.call_together(_TOUCH([self._index], session_id))
        except StorageError as problem:
            ids = ", ".join(event.id for event in events[:_IDS_NAMED])
            raise type(problem)(f"{problem} (event {ids})") from problem.__cause__
        return answer

    @staticmethod
    def _but(
        session_id: str, events: Sequence[EncodedEvent], known: str, body: str | bytes
    ) -> list[EncodedEvent]:
        """The events but one that is stored with other bytes: a conflict, unless they say the same."""
        (event,) = (event for event in events if event.id == known)
        check_same(session_id, event, body)
        return [each._replace(body=_text(body)) if each is event else each for each in events]

    async def _create(self, session: AnySession, change: Change) -> bool:
        if session.id not in self._importing and await self._import_original(session.id):
            return False
        # What lies beside it first: a crash in between leaves a record of nothing, which expires.
        await self.lifecycle.enter(session.id, session.user_id)
        await self._list_beside(session.id, session.user_id, session.parent_id)
        parent = await self._place_of(session.parent_id) if session.parent_id else None
        created = await self._put_new(session, change, parent)
        if created:
            self._created += 1
            if self._created % _SWEEP_EVERY == 0:
                self._do_beside(self._sweep(), "the index was not swept")
            if parent is not None and not is_segment_after(session, session.parent_id):
                await enter_with_parent(session, self)
        return created

    async def _put_new(self, session: AnySession, change: Change, parent: str | None) -> bool:
        if parent is not None and is_segment_after(session, session.parent_id):
            here = self._key(session.id)
            kept = await self._live(parent, 0)
            # As long as the conversation lives, which another store may have made to live longer.
            lives = "" if not kept or kept[0] < 0 else max(kept[0], self._lives or 0) * _BESIDE
            if _text(await self._link.call(_POINT([here], session.id, parent, lives))) == "taken":
                return False
            command = self._put(self._key(parent), session.id, change, follows=session.parent_id or "")
            answer = await self._named(session.id, self._link.call(command))
            if _text(answer[0]) == "damaged":
                raise damaged_header(session.parent_id or "")
            if _text(answer[0]) != "not here":
                self._remember(session.id, parent)
                return _text(answer[0]) == "put"
            await self._link.call(("UNLINK", here))  # the parent is gone meanwhile
            parent = None
        command = self._put(self._key(session.id), session.id, change, parent=parent or "")
        answer = await self._named(session.id, self._link.call(command))
        if _text(answer[0]) == "taken" and await self._place_of(session.id) is None:
            # By a pointer to a conversation that expired.
            await self._link.call(("HDEL", self._key(session.id), "in"))
            answer = await self._link.call(command)
        return _text(answer[0]) == "put"

    async def _change(self, session_id: str, change: Change, born: str, only_at: int) -> bool:
        def command(key: str) -> Command:
            return self._put(key, session_id, replace(change, born=born), expected=only_at)

        answer = await self._at_place(session_id, command)
        if answer is None or _text(answer[0]) != "put":
            return False
        user_id = user_id_in(change.fields.get("metadata", "null"))
        await self._list_beside(session_id, user_id, json.loads(change.fields.get("parent_id", "null")))
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
        counts_as_written = change.counters is not None
        arguments: list[Any] = [session_id, self._lives or "", expected, follows, dump(session_id)]
        arguments += [int(counts_as_written), parent, change.born, len(change.fields)]
        for name, text in change.fields.items():
            arguments += (name, text)
        counters = change.counters
        arguments.append("" if counters is None else dump_counters(counters))
        arguments += ["" if change.keep is None else change.keep, len(change.gone), *change.gone]
        for event in change.events:
            arguments += (event.id, event.body)
        return _PUT(self._keys(key), *arguments)

    async def _place_of(self, session_id: str) -> str | None:
        """The id of the first session of a session's conversation; `None` where there is no such session."""
        found = await self._at_place(session_id, partial(_peek_command, session_id))
        if found is None:
            return session_id if await self._import_original(session_id) else None
        return self._places.get(session_id, session_id)

    async def durability_report(self) -> DurabilityReport:
        """What the server's settings promise; in a Cluster, those of one node, which all should have."""
        told = await self._link.call(("INFO", "replication"))
        replicas = told.get("connected_slaves", 0) if isinstance(told, dict) else 0
        settings: dict[str, str | None] = dict.fromkeys(_DURABILITY_SETTINGS)
        for name in settings:
            with suppress(StorageError):  # which many who run Redis for others do not tell
                answer = await self._link.call(("CONFIG GET", name))
                pairs = answer if isinstance(answer, dict) else dict(_pairs(answer))
                settings[name] = next((_text(value) for value in pairs.values()), None)
        return redis_report(settings | {"replicas": str(replicas)})

    async def server_version(self) -> str | None:
        """The server's version; in a Cluster, that of one node."""
        told = await self._link.call(("INFO", "server"))
        return told.get("redis_version") if isinstance(told, dict) else None

    async def segment_ids(self, session_id: str) -> list[str]:
        """The ids of all segments of a session's conversation, the first one first."""
        place = await self._place_of(session_id) if is_session_id(session_id) else None
        if place is None:
            return []
        ids = await self._are_there(await self._segments(place), place)
        if len(ids) <= _READ_NEXT:
            for each in ids:  # so that reading them next needs not ask where they are
                self._remember(each, place)
        return ids

    async def last_segment_id(self, session_id: str) -> str | None:
        """The id of the last of these segments, or `None` where there is no such session."""
        place = await self._place_of(session_id) if is_session_id(session_id) else None
        if place is None:
            return None
        last = _text(await self._link.call(("HGET", self._key(place), "last")) or "")
        if last and await self._are_there([last], place):
            self._remember(last, place)
            return last
        return await super().last_segment_id(session_id)  # it was deleted

    async def time_to_live(self, session_id: str) -> float | None:
        """Seconds that a session has left if nobody writes to it."""
        place = await self._place_of(session_id) if is_session_id(session_id) else None
        lives = place and await self._live(place, 0)
        if not lives:
            return None
        return math.inf if lives[0] < 0 else lives[0] / 1000

    async def _extend(self, session_id: str, additional_hours: float) -> bool:
        place = await self._place_of(session_id)
        lives = place and await self._live(place, 0)
        if not (place and lives):
            return False
        if lives[0] >= 0:
            await self._keep_all(place, lives[0] + int(additional_hours * _MS_AN_HOUR))
        return True

    async def _live(self, place: str, lives: int, *, renewed: bool = False) -> Any:
        """Let a conversation live on; its milliseconds left and its parent's conversation, if it is there."""
        answer = await self._link.call(_LIVE([self._key(place)], lives, int(renewed)))
        return answer and (int(answer[0]), _text(answer[1]))

    # -- what lies beside a conversation --------------------------------------------------------

    async def _list_beside(self, session_id: str, user_id: str | None, parent_id: str | None) -> None:
        """Enter a session with those who list it: its user, its parent, and in a Cluster the index."""
        lives = "" if self._lives is None else self._lives * _BESIDE
        lists = [self._key(user_id, "user:")] if user_id else []
        lists += [self._key(parent_id, "children:")] if parent_id else []
        commands = [_LIST([key], session_id, lives) for key in lists]
        if self._link.is_cluster:
            commands.append(_TOUCH([self._index], session_id))
        await self._link.call_all(commands)

    def _do_beside(self, work: Coroutine[Any, Any, None], failure: str) -> None:
        """Do what need not be waited for, while writers go on; it is done again when it is next due."""

        async def do() -> None:
            try:
                await work
            except StorageError as problem:
                logger.warning("Redis: %s (%s)", failure, problem)

        task = asyncio.create_task(do())
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _renew(self, session_id: str) -> None:
        assert self._lives is not None  # noqa: S101  (nothing is due where all lives for ever)
        try:
            place = await self._place_of(session_id)
            if place is not None:
                # By a tenth more than the conversation lives: the next time is up to a 20th of it away.
                await self._keep_all(place, self._lives + self._lives // 10, but_itself=True)
                await self._live(place, 0, renewed=True)
        finally:
            self._renewing.discard(session_id)

    async def _keep_all(self, place: str, lives: int, *, but_itself: bool = False) -> None:
        """Let a conversation, those that it is a child of, and what lies beside them live so long (ms)."""
        seen: set[str] = set()
        while place and place not in seen:
            seen.add(place)
            kept = await self._live(place, 0 if but_itself and len(seen) == 1 else lives)
            if not kept:
                return
            await self._keep_beside(place, lives)
            place = kept[1]

    async def _keep_beside(self, place: str, lives: int) -> None:
        ids = await self._segments(place)
        keys = [self._key(each) for each in ids[1:]] + [self._key(each, "children:") for each in ids]
        first = await self._at_place(place, partial(_peek_command, place))
        user_id = None if first is None else user_id_in(_name(first[1]))
        if user_id:
            keys.append(self._key(user_id, "user:"))
        await self._link.call_all([_LIVE([key], lives * _BESIDE, 0) for key in keys])
        for each in ids:
            await self.lifecycle.keep(each, lives / 1000)

    async def _segments(self, place: str) -> list[str]:
        """The ids of all sessions that a conversation may have, by how many were ever made in it."""
        made = int(await self._named(place, self._link.call(("HGET", self._key(place), "segments"))) or 0)
        ids = [place]
        while len(ids) < made:
            ids.append(next_segment_id(ids[-1]))
        return ids

    async def _are_there(self, ids: Sequence[str], place: str) -> list[str]:
        """Those of a conversation's sessions that were not deleted."""
        numbers = await self._link.call(("HMGET", self._key(place), *(f"s:{each}" for each in ids)))
        return [each for each, number in zip(ids, numbers, strict=True) if number is not None]

    # -- deleting -------------------------------------------------------------------------------

    async def delete(self, session_id: str) -> None:
        """Delete a session; its parents and children stay."""
        if not is_session_id(session_id):
            return
        # The record first: what the original wrote there must not bring the session back.
        await self.lifecycle.delete(session_id)
        dropped = await self._at_place(session_id, partial(_drop_command, session_id))
        place = self._places.pop(session_id, session_id)
        commands: list[Command] = [("ZREM", self._index, session_id)]
        if place != session_id:
            commands.append(("UNLINK", self._key(session_id)))
        await self._link.call_all(commands)
        if dropped is not None and _text(dropped[1]):
            await self._clear(self._key(place), _text(dropped[1]))

    async def _clear(self, key: str, number: str) -> None:
        """Clear away the events of a session that was deleted out of its conversation."""
        cursor, beginnings = "0", (f"{number}:", f"{number}#")
        while True:
            answer = await self._link.call(("HSCAN", key, cursor, "COUNT", _LISTED_AT_ONCE))
            cursor = _text(answer[0])
            fields = answer[1] if isinstance(answer[1], dict) else answer[1][::2]
            names = [name for field in fields if (name := _text(field)).startswith(beginnings)]
            if names:
                await self._link.call(("HDEL", key, *names))
            if cursor == "0":
                return

    async def delete_conversation(self, session_id: str) -> int:
        """Delete all segments of a session's conversation; how many there were."""
        place = await self._place_of(session_id) if is_session_id(session_id) else None
        if place is None:
            return 0
        ids = await self._segments(place)
        there = await self._are_there(ids, place)
        for each in ids:
            await self.lifecycle.delete(each)
            self._places.pop(each, None)
        await self._link.call(("UNLINK", self._key(place)))
        commands: list[Command] = [("UNLINK", self._key(each)) for each in ids if each != place]
        await self._link.call_all([*commands, ("ZREM", self._index, *ids)])
        return len(there)

    # -- listing --------------------------------------------------------------------------------

    async def _list(
        self,
        prefix: str,
        parent_id: str | None,
        user_id: str | None,
        limit: int | None,
        before: tuple[int, str] | None,
    ) -> list[tuple[int, str]]:
        lists = [] if user_id is None else [self._key(user_id, "user:")]
        lists += [] if parent_id is None else [self._key(parent_id, "children:")]
        found: list[tuple[int, str]] = []
        # Whether sessions still are is asked of those that a page can show, not of all.
        at_once = _LISTED_AT_ONCE if limit is None or prefix else min(_LISTED_AT_ONCE, limit + 1)
        async for entries in self._entries(lists, before, at_once):
            rows = [row for row in entries if row[1].startswith(prefix)]
            found += await self._still_there(rows, parent_id, user_id)
            if limit is not None and len(found) > limit:
                break
        return found

    async def _entries(
        self, lists: Sequence[str], before: tuple[int, str] | None, at_once: int
    ) -> AsyncIterator[list[tuple[int, str]]]:
        """Entries of the index after a place in it, newest first, so many at a time."""
        if lists:
            sets = [{_name(each) for each in await self._link.call(("SMEMBERS", key))} for key in lists]
            ids = list(set.intersection(*sets))
            scores = await self._link.call(("ZMSCORE", self._index, *ids)) if ids else []
            rows = [
                (int(float(score)), each)
                for score, each in zip(scores, ids, strict=True)
                if score is not None
            ]
            rows.sort(reverse=True)
            rows = [row for row in rows if before is None or row < before]
            for start in range(0, len(rows), at_once):
                yield rows[start : start + at_once]
            return
        newest: str = "+inf" if before is None else str(before[0])
        skip = 0
        while True:
            answer = await self._link.call(
                (
                    "ZRANGE",
                    self._index,
                    newest,
                    "-inf",
                    "BYSCORE",
                    "REV",
                    "LIMIT",
                    skip,
                    at_once,
                    "WITHSCORES",
                )
            )
            rows = [(int(float(score)), _name(each)) for each, score in _pairs(answer)]
            yield [row for row in rows if before is None or row < before]
            if len(rows) < at_once:
                return
            # Go on from the last score; all that share it were not necessarily seen.
            last = rows[-1][0]
            skip = sum(row[0] == last for row in rows) + (skip if str(last) == newest else 0)
            newest, before = str(last), rows[-1]

    async def _still_there(
        self, rows: list[tuple[int, str]], parent_id: str | None, user_id: str | None
    ) -> list[tuple[int, str]]:
        """Those rows whose sessions are there, and whose they are; entries of others are taken out."""
        answers = await self._peek_all([session_id for _, session_id in rows])
        gone = [row for row in rows if row[1] not in answers]
        if gone:
            entries = [value for written, session_id in gone for value in (session_id, written)]
            await self._link.call(_FORGET([self._index], *entries))
        return [
            row
            for row in rows
            if row[1] in answers
            and (parent_id is None or is_child_of(parent_id, _name(answers[row[1]][2])))
            and (user_id is None or user_id_in(_name(answers[row[1]][1])) == user_id)
        ]

    async def _peek_all(self, ids: Sequence[str]) -> dict[str, Any]:
        """Metadata and parents of those sessions that are there, in two round trips at most."""
        found: dict[str, Any] = {}
        places = {each: each for each in ids}
        for _ in range(2):
            asked = list(places)
            answers = await self._link.call_all([_PEEK([self._key(places[each])], each) for each in asked])
            elsewhere = {}
            for each, answer in zip(asked, answers, strict=True):
                if _text(answer[0]) == "here":
                    found[each] = answer
                elif answer[1]:
                    elsewhere[each] = _text(answer[1])
            places = elsewhere
        return found

    async def _sweep(self) -> None:
        """Take some entries of sessions that expired out of the index, so that it does not grow for ever."""
        answer = await self._link.call(("ZRANDMEMBER", self._index, _SWEEP_EVERY * 2, "WITHSCORES"))
        rows = [(int(float(score)), _name(each)) for each, score in _pairs(answer)]
        await self._still_there(rows, None, None)

    # -- what the original wrote ----------------------------------------------------------------

    async def _import_original(self, session_id: str) -> bool:
        """Take over a session that the original wrote into its lifecycle record."""
        data = await self.lifecycle.original(session_id)
        if data is None:
            return False
        try:
            session: AnySession = Session.model_validate_json(data)
        except ValueError as problem:
            raise damaged_header(session_id) from problem
        if session.id != session_id:
            return False
        self._importing.add(session_id)
        try:
            await self._store_new(session)  # or another process just did
        finally:
            self._importing.discard(session_id)
        await self.lifecycle.drop_original(session_id)
        return True


class _Records:
    """chuk-sessions' records under its own keys, over our connections."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def get(self, key: str) -> str | bytes | None:
        """The record under a key."""
        found: str | bytes | None = await self._link.call(("GET", key))
        return found

    async def set(self, key: str, value: str) -> Any:
        """Keep a record for an hour, as chuk-sessions does."""
        return await self.setex(key, 3600, value)

    async def setex(self, key: str, ttl: int, value: str) -> Any:
        """Keep a record for so many seconds."""
        return await self._link.call(("SET", key, value, "EX", ttl))

    async def delete(self, key: str) -> bool:
        """Delete a record; whether it was there."""
        return bool(await self._link.call(("DEL", key)))

    async def close(self) -> None:
        """The connections are the store's."""


# -- what goes to the server and comes from it --------------------------------------------------


@lru_cache(maxsize=10_000)
def _quoted(text: str) -> str:
    return quote(text, safe="")


def _text(value: Any) -> str:
    """A reply as text, also from a client that decodes replies itself."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _name(value: Any) -> str:
    """A member of a list of sessions as text; what is none is no session's id."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _read_command(session_id: str, start: int | str, key: str) -> Command:
    return _READ([key], session_id, start, CHUNK, _BYTES_AT_ONCE)


def _peek_command(session_id: str, key: str) -> Command:
    return _PEEK([key], session_id)


def _drop_command(session_id: str, key: str) -> Command:
    return _DROP([key], session_id)


def _stored(session_id: str, header: Sequence[Any]) -> StoredSession:
    """A session's header as the read script gives it."""
    try:
        born = _text(header[11])
        schema, count, revision, rewrites = (int(_text(value)) for value in header[:4])
        fields = {
            name: _text(value)
            for name, value in zip(HEADER_FIELDS, header[5:11], strict=True)
            if value is not None
        }
    except ValueError:
        raise damaged_header(session_id) from None  # the cause may quote it
    if schema > SCHEMA:
        raise newer_schema(f"Session {session_id}", schema)
    if len(fields) < len(HEADER_FIELDS):
        raise damaged_header(session_id)
    counters = load_counters(session_id, header[4])
    return StoredSession(session_id, born, fields, counters, revision, rewrites, count)


def _pairs(answer: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Members and scores, which come one after the other, or in pairs with RESP3."""
    if answer and isinstance(answer[0], list | tuple):
        return [(member, score) for member, score in answer]
    return list(zip(answer[::2], answer[1::2], strict=True))
