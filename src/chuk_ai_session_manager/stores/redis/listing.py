"""Listing sessions: the sandbox's index, and the lists of users and parents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from ..codec import is_child_of, user_id_in
from .chores import Chores
from .keys import Keys
from .link import Link
from .places import peek_command
from .replies import name_of, scored, text_of
from .scripts import Command, Script, ask_set, ask_sorted_set, in_parts

_FORGET, _LIST, _TOUCH = Script("forget"), Script("list"), Script("touch")

_LISTED_AT_ONCE = 1_000
# After so many new sessions, as many entries of the index are checked for expired sessions.
_SWEEP_EVERY = 64


class Listing:
    """Enters sessions in lists, and reads pages of them.

    Args:
        link: the connection to the server.
        keys: the sandbox's keys.
        chores: runs work that callers need not wait for.
        lifetime: how long lists live after the last entry, in milliseconds; `None` for ever.
    """

    def __init__(self, link: Link, keys: Keys, chores: Chores, lifetime: int | None) -> None:
        self._link = link
        self._keys = keys
        self._chores = chores
        self._created = 0
        self._lifetime = lifetime

    async def enter(
        self, session_id: str, user_id: str | None, parent_id: str | None, place: int | None
    ) -> None:
        """Enter a session in the lists of its user and its parent, and in a Cluster in the index.

        `place` is its place in the index (see `recency`); `None` to keep its place.
        """
        lives = "" if self._lifetime is None else self._lifetime
        lists = [self._keys.of(user_id, "user:")] if user_id else []
        lists += [self._keys.of(parent_id, "children:")] if parent_id else []
        commands = [_LIST([key], session_id, lives) for key in lists]
        if self._link.is_cluster and place is not None:
            commands.append(touch_command(self._keys, session_id, place, goes_back=False))
        if len(commands) == 1:  # together with those of other new sessions
            await self._link.call_short(commands[0])
        else:
            await self._link.call_all(commands)

    async def enter_fork(self, session_id: str, origins: Sequence[str]) -> None:
        """Enter a conversation with those that it was forked from."""
        lives = "" if self._lifetime is None else self._lifetime
        await self._link.call_all(
            [_LIST([self._keys.of(each, "forks:")], session_id, lives) for each in origins]
        )

    async def leave(self, session_id: str, user_id: str | None, parent_id: str | None) -> None:
        """Take a session out of the lists again that it was entered in, but did not come to be."""
        commands: list[Command] = [("ZREM", self._keys.index, session_id)]
        commands += [("SREM", self._keys.of(user_id, "user:"), session_id)] if user_id else []
        commands += [("SREM", self._keys.of(parent_id, "children:"), session_id)] if parent_id else []
        await self._link.call_all(commands)

    async def enter_with_user(self, session_ids: Sequence[str], user_id: str) -> None:
        """Enter sessions in the list of their user, who claimed them after they were created."""
        lives = "" if self._lifetime is None else self._lifetime
        key = self._keys.of(user_id, "user:")
        await self._link.call_all([_LIST([key], each, lives) for each in session_ids])

    async def page(
        self,
        prefix: str,
        parent_id: str | None,
        user_id: str | None,
        limit: int | None,
        before: tuple[int, str] | None,
    ) -> list[tuple[int, str]]:
        """Return places and ids of sessions, newest first: more than `limit` if there are more."""
        lists = [] if user_id is None else [self._keys.of(user_id, "user:")]
        lists += [] if parent_id is None else [self._keys.of(parent_id, "children:")]
        found: list[tuple[int, str]] = []
        # Only sessions that the page can show are checked for existence.
        at_once = _LISTED_AT_ONCE if limit is None or prefix else min(_LISTED_AT_ONCE, limit + 1)
        async for entries in self._entries(lists, before, at_once):
            rows = [row for row in entries if row[1].startswith(prefix)]
            found += await self._still_there(rows, parent_id, user_id)
            if limit is not None and len(found) > limit:
                break
        return found

    def sweep_in_turn(self) -> bool:
        """After a session was created, look for entries of expired sessions, at intervals.

        Returns:
            Whether it was time for that.
        """
        self._created += 1
        is_time = self._created % _SWEEP_EVERY == 0
        if is_time:
            self._chores.do_in_turn(self._sweep, "the index was not swept")
        return is_time

    async def _sweep(self) -> None:
        """Remove some entries of expired sessions from the index, so that it does not grow for ever."""
        answer = await self._link.call(("ZRANDMEMBER", self._keys.index, _SWEEP_EVERY * 2, "WITHSCORES"))
        await self._still_there(scored(answer), None, None)

    async def _entries(
        self, lists: Sequence[str], before: tuple[int, str] | None, at_once: int
    ) -> AsyncIterator[list[tuple[int, str]]]:
        """Yield entries of the index after a place in it, newest first, so many at a time."""
        if lists:
            rows = await self._rows_of(lists)
            rows = [row for row in rows if before is None or row < before]
            for start in range(0, len(rows), at_once):
                yield rows[start : start + at_once]
            return
        newest: str = "+inf" if before is None else str(before[0])
        skip = 0
        while True:
            asked = (newest, "-inf", "BYSCORE", "REV", "LIMIT", skip, at_once, "WITHSCORES")
            rows = scored(await self._link.call(ask_sorted_set(self._keys.index, "ZRANGE", *asked)))
            yield [row for row in rows if before is None or row < before]
            if len(rows) < at_once:
                return
            # Continue with the last score, because not all entries with that score may have been read.
            last = rows[-1][0]
            skip = sum(row[0] == last for row in rows) + (skip if str(last) == newest else 0)
            newest, before = str(last), rows[-1]

    async def _rows_of(self, lists: Sequence[str]) -> list[tuple[int, str]]:
        """The entries of the index that are in all of these lists, newest first."""
        members = await self._link.call_all([ask_set(key, "SMEMBERS") for key in lists])
        ids = list(set.intersection(*({name_of(each) for each in one} for one in members)))
        parts = in_parts(ids)
        asked = [ask_sorted_set(self._keys.index, "ZMSCORE", *part) for part in parts]
        rows = [
            (int(float(score)), each)
            for part, scores in zip(parts, await self._link.call_all(asked), strict=True)
            for each, score in zip(part, scores, strict=True)
            if score is not None
        ]
        return sorted(rows, reverse=True)

    async def _still_there(
        self, rows: list[tuple[int, str]], parent_id: str | None, user_id: str | None
    ) -> list[tuple[int, str]]:
        """Those rows whose sessions exist, and their users; entries of other sessions are removed."""
        answers = await self._peek_all([session_id for _, session_id in rows])
        gone = [row for row in rows if row[1] not in answers]
        if gone:
            entries = [value for written, session_id in gone for value in (session_id, written)]
            await self._link.call(_FORGET([self._keys.index], *entries))
        return [
            row
            for row in rows
            if row[1] in answers
            and (parent_id is None or is_child_of(parent_id, name_of(answers[row[1]][2])))
            and (user_id is None or user_id in _owners(answers[row[1]]))
        ]

    async def _peek_all(self, ids: Sequence[str]) -> dict[str, Any]:
        """Metadata and parents of those sessions that exist, in at most two round trips."""
        found: dict[str, Any] = {}
        places = {each: each for each in ids}
        for _ in range(2):
            asked = list(places)
            commands = [peek_command(each, self._keys.of(places[each])) for each in asked]
            answers = await self._link.call_all(commands)
            elsewhere = {}
            for each, answer in zip(asked, answers, strict=True):
                if text_of(answer[0]) == "here":
                    found[each] = answer
                elif answer[1]:
                    elsewhere[each] = text_of(answer[1])
            places = elsewhere
        return found


def touch_command(keys: Keys, session_id: str, place: int, *, goes_back: bool) -> Command:
    """Enters a session at a place in the index; `goes_back` allows a place before its old one."""
    return _TOUCH([keys.index], session_id, place, int(goes_back))


def _owners(answer: Sequence[Any]) -> set[str | None]:
    """The users of a session, by its own header and by that of its conversation's last segment."""
    return {user_id_in(name_of(each)) for each in (answer[1], answer[3])}
