"""What a trial wrote, and the checks of what is left of it."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, TokenUsage
from chuk_ai_session_manager.models import EventSource, EventType
from chuk_ai_session_manager.stores import EventStore

# -- the journal --------------------------------------------------------------------------------


class Written(NamedTuple):
    """What a journal holds: the names of events, by session, in the order in which they were noted."""

    tried: dict[str, dict[str, None]]
    acknowledged: dict[str, dict[str, None]]
    worst_delay: float


_noting = Lock()
os.register_at_fork(before=_noting.acquire, after_in_parent=_noting.release, after_in_child=_noting.release)


class Journal:
    """What was tried and what was acknowledged, in files: one for each process, a line for each event.

    It may be handed to other processes. A line is there once it was noted, whatever becomes of its process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = 0

    @contextmanager
    def writing(self, session_id: str, *names: str) -> Iterator[None]:
        """Note that events with these names are tried, and, if the block ends well, acknowledged."""
        self._note("tried", session_id, names, 0.0)
        begun, how = time.monotonic(), "failed"
        try:
            yield
            how = "acknowledged"
        finally:
            self._note(how, session_id, names, time.monotonic() - begun)

    def _note(self, what: str, session_id: str, names: Sequence[str], seconds: float) -> None:
        line = json.dumps([what, session_id, names, seconds]).encode() + b"\n"
        with _noting:  # of several threads, one opens the file
            if self._process != os.getpid():
                path = self._folder / f"{os.getpid()}-{uuid4().hex}.journal"
                self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                self._process = os.getpid()
            os.write(self._file, line)

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder, "_process": 0}

    def read(self) -> Written:
        """All that is noted by now, by whomever."""
        written = Written(defaultdict(dict), defaultdict(dict), 0.0)
        worst = 0.0
        for line in self._lines():
            what, session_id, names, seconds = json.loads(line)
            worst = max(worst, seconds)
            if what == "tried":
                written.tried[session_id].update(dict.fromkeys(names))
            elif what == "acknowledged":
                written.acknowledged[session_id].update(dict.fromkeys(names))
        return written._replace(worst_delay=worst)

    def acknowledgements(self, process: int | None) -> int:
        """How many lines of a process say so."""
        lines = self._lines(f"{process}-")
        return sum(line.startswith(b'["ack') for line in lines)

    def _lines(self, begin: str = "") -> Iterator[bytes]:
        for path in sorted(self._folder.glob(f"{begin}*.journal")):
            yield from path.read_bytes().rpartition(b"\n")[0].splitlines()  # the last one may be cut


def named(name: str, *, size: int = 0) -> SessionEvent[Any]:
    """An event that counts for something and says its name first, and then as many words as `size`."""
    usage = TokenUsage(prompt_tokens=3, completion_tokens=2, model="gpt-4o")
    return SessionEvent(message=f"{name}{' word' * size}", source=EventSource.USER, token_usage=usage)


def name_of(event: SessionEvent[Any]) -> str:
    return str(event.message).partition(" ")[0]


def names_in(segments: Iterable[Session[Any]]) -> list[str]:
    """The names of all messages."""
    return [
        name_of(event) for segment in segments for event in segment.events if event.type == EventType.MESSAGE
    ]


# -- the check ----------------------------------------------------------------------------------


async def conversation(store: EventStore, session_id: str) -> list[Session[Any]]:
    """All segments of a conversation; none where it is gone."""
    segments = [await store.get(each) for each in await store.segment_ids(session_id)]
    assert None not in segments, "a segment is missing"
    return [segment for segment in segments if segment is not None]


class Sums(NamedTuple):
    """What a session says that its events come to."""

    events: int
    messages: int
    tokens: int
    cost: float
    newest: datetime


def sums_of(session: Session[Any]) -> Sums:
    totals = session.totals
    return Sums(
        totals.events, totals.messages, session.total_tokens, session.total_cost, session.last_update_time
    )


async def intact(store: EventStore, session_id: str) -> list[SessionEvent[Any]]:
    """A session's events, none of them doubled, and what is counted of them is what they come to.

    Where a store has an object of the session in use, that counts its events itself: what is stored of sums
    is seen in a store that has not read them yet.
    """
    head = await store.head(session_id)
    assert head is not None
    stored = sums_of(head)  # before its events are read
    session = await store.get(session_id)
    assert session is not None
    events = session.events
    assert len({event.id for event in events}) == len(events)
    messages = [event for event in events if event.type == EventType.MESSAGE]
    usages = [event.token_usage for event in events if event.token_usage]
    for sums in (stored, sums_of(session)):
        assert sums.events == len(events)
        assert sums.messages == len(messages)
        assert sums.tokens == sum(usage.total_tokens for usage in usages)
        assert sums.cost == pytest.approx(sum(usage.estimated_cost_usd or 0.0 for usage in usages))
        if events:
            assert sums.newest == max(event.timestamp for event in events)
    if not (session.parent_id or session.child_ids):
        stats = await SessionManager(session_id, store=store, create=False).get_stats()
        assert (stats["total_events"], stats["total_tokens"]) == (len(events), session.total_tokens)
        assert stats["estimated_cost"] == pytest.approx(session.total_cost)
    return events


def check_order(session_id: str, segments: Sequence[Session[Any]], written: Written) -> None:
    """Only what was tried in this session is there, and what each writer was told of is in its order."""
    names = names_in(segments)
    assert set(names) <= written.tried[session_id].keys(), f"events of others in {session_id}"
    acknowledged = written.acknowledged[session_id]
    there = by_writer(name for name in names if name in acknowledged)
    called = by_writer(name for name in written.tried[session_id] if name in acknowledged.keys() & set(names))
    assert there == called


def by_writer(names: Iterable[str]) -> dict[str, list[str]]:
    """Names in their order, of each writer for itself: they are "writer/number"."""
    of_each: dict[str, list[str]] = {}
    for name in names:
        of_each.setdefault(name.rpartition("/")[0], []).append(name)
    return of_each


def check_chain(segments: Sequence[Session[Any]]) -> None:
    """Each segment but the last has one child, the next one."""
    for segment, following in pairwise(segments):
        assert (segment.child_ids, following.parent_id) == ([following.id], segment.id)
