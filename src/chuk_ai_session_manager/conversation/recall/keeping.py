"""The indexes of conversations, kept in this process and brought up to date before each use.

At the first recall of a conversation, its whole log is read into an index; later, only the events that any
process appended since. Indexes are never stored. An index is dropped if events were edited or removed. If all
indexes together take too much memory, the least recently used ones are dropped first.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from threading import Lock
from typing import NamedTuple, TypeAlias, TypeVar
from weakref import ref

from ...exceptions import SessionNotFound, StorageError
from ...models import EventSource, Session, SessionEvent
from ...models.choice import choice_in
from ...models.event_page import LogState
from ...models.guard import guard
from ...models.home import HomeStore
from ...models.session_event import REPLACES, origin_of
from ...models.turns import Turns
from ...providers.messages import call_id_of, calls_of
from ...stores.base import AnyEvent, AnySession
from ..path import Paths
from .index import Index
from .words import Words

T = TypeVar("T")

MOST_BYTES = 100_000_000
"""About how many bytes all indexes of the process may take together; a single index may take more."""
# How many events a page has, and how many pages, and events, are read at a time: many live objects make
# Python's garbage collector slow.
_PAGE, _PAGES_AT_ONCE, _EVENTS_AT_ONCE = 500, 40, 1_000
# Work on more events than this, or on a larger index than this, is done in a thread.
_FEW_EVENTS, _FEW_PASSAGES = 40, 3_000
# How often reading is tried again after another writer edited the log.
_TRIES = 5
# How many bytes the path takes for each event, in a conversation with second thoughts.
_PATH_BYTES = 900


class _ChoiceMetError(Exception):
    """The log has a choice between its events, so it must be read from its beginning."""


class _RewrittenError(Exception):
    """Another writer edited the log while it was read."""


class _Page(NamedTuple):
    """Events of a session's log that are read together."""

    state: LogState
    start: int
    end: int
    log_id: str
    conversation_id: str
    """The id of the whole conversation; for a page of a fork's original, the id of the fork."""


class Log(NamedTuple):
    """How far the log of a conversation has come."""

    states: Sequence[LogState]
    """The states of its segments, the first one first."""
    until: str | None = None
    """Of a fork's original, the last message that belongs to the fork too; others are not found."""

    @property
    def id(self) -> str:
        """The id of the first segment, by which conversations are told apart here."""
        return self.states[0].session_id


def has_originals(logs: Sequence[Log]) -> bool:
    """Whether the logs are those of a fork and of its originals, not those of several conversations."""
    return any(log.until is not None for log in logs)


ReadLogs: TypeAlias = Callable[[], Awaitable[Sequence[Log]]]
"""Reads how far the logs of all conversations have come."""


class KeptIndex:
    """The index of one or more conversations, and how far their logs are read.

    Args:
        words: makes terms of texts.
    """

    def __init__(self, words: Words) -> None:
        self._words = words
        self._turns = Turns()
        self._work = Lock()  # between threads: an event loop that was blocked may go on after its turn
        self._start_anew(with_paths=False)

    def _start_anew(self, *, with_paths: bool) -> None:
        self.index: Index = Index(self._words)
        self._read: dict[str, LogState] = {}
        self._paths: dict[str, Paths] | None = {} if with_paths else None
        """For each conversation, the events that hold, if any conversation has second thoughts."""
        self._replaced: set[str] = set()
        self._copies: dict[str, str] = {}
        """For each event that a fork copied, the id of the event that was copied first."""
        self._last: str | None = None

    @property
    def bytes(self) -> int:
        """About how many bytes of memory the index takes."""
        return self.index.bytes + (0 if self._paths is None else _PATH_BYTES * len(self.index))

    @asynccontextmanager
    async def current(
        self, read_logs: ReadLogs, home: HomeStore, live: AnySession | None = None
    ) -> AsyncIterator[Index]:
        """The index, up to date with the store; while it is used, nothing else changes it.

        Args:
            read_logs: reads how far the logs have come.
            home: the store of the conversations.
            live: the conversation's last segment, if the caller has it.

        Raises:
            SessionNotFound: the conversation expired or was deleted.
            StorageError: the store failed.
        """
        async with self._turns.turn():
            try:
                await self._catch_up(read_logs, home, live)
            except SessionNotFound:
                self._start_anew(with_paths=False)  # what was erased is not kept here either
                raise
            yield self.index

    async def _catch_up(self, read_logs: ReadLogs, home: HomeStore, live: AnySession | None) -> None:
        for _ in range(_TRIES):
            logs = await read_logs()
            if not self._is_continued_by([state for log in logs for state in log.states]):
                self._start_anew(with_paths=self._paths is not None)
            try:
                await self._read_new(logs, home, live)
            except _ChoiceMetError:
                self._start_anew(with_paths=True)
            except _RewrittenError:
                self._start_anew(with_paths=self._paths is not None)
            else:
                return
        raise StorageError("The sessions are edited too often to be read: try recall again later")

    def _is_continued_by(self, states: Sequence[LogState]) -> bool:
        """Whether the events that were read are still in the logs unchanged."""
        now = {state.session_id: state for state in states}
        return all(
            (there := now.get(session_id)) is not None
            and there.version == was.version
            and there.length >= was.length
            for session_id, was in self._read.items()
        )

    async def _read_new(self, logs: Sequence[Log], home: HomeStore, live: AnySession | None) -> None:
        if self._paths is None and has_originals(logs):
            raise _ChoiceMetError  # where a fork left its original is a choice too
        pages: list[_Page] = []
        whole = logs[-1].id if logs and has_originals(logs) else None
        for log in logs:
            for state in log.states:
                was = self._read.get(state.session_id)
                start = 0 if was is None else was.length
                pages += (
                    _Page(state, at, min(at + _PAGE, state.length), log.id, whole or log.id)
                    for at in range(start, state.length, _PAGE)
                )
        for batch in _batches(pages):
            read = await asyncio.gather(*(self._events(page, home, live) for page in batch))
            await off_the_loop(sum(map(len, read)) > _FEW_EVENTS, partial(self._take, batch, read))
            for page in batch:
                self._read[page.state.session_id] = page.state._replace(length=page.end)
        if pages:
            self._say_what_holds(logs)

    async def _events(self, page: _Page, home: HomeStore, live: AnySession | None) -> Sequence[AnyEvent]:
        state, start, end = page.state, page.start, page.end
        is_live = live is not None and state.session_id == live.id
        segment = live if is_live and live is not None else Session(id=state.session_id)  # the id is enough
        read = await home.newest_outlines(segment, before=end, limit=end - start)
        events: Sequence[AnyEvent] = [] if read is None or read.first != start else read.events
        if len(events) != end - start:
            raise _RewrittenError
        return events

    def _take(self, pages: Sequence[_Page], read: Sequence[Sequence[AnyEvent]]) -> None:
        # After a cancellation, the thread still finishes its work, but changes nothing that was made since.
        index, paths, replaced, copies = self.index, self._paths, self._replaced, self._copies
        with self._work:
            for page, events in zip(pages, read, strict=True):
                if page.conversation_id != self._last:
                    self._last = page.conversation_id
                    index.begin_conversation()
                path = None if paths is None else paths.setdefault(page.log_id, Paths())
                for event in events:
                    if path is not None:
                        path.take(_for_path(event))
                    elif choice_in(event) is not None:
                        raise _ChoiceMetError
                    if isinstance(part := event.metadata.get(REPLACES), str):
                        replaced.add(part)
                    if (first := origin_of(event).event_id) != event.id:
                        copies[event.id] = first
                    index.add(event, page.state.session_id)

    def _say_what_holds(self, logs: Sequence[Log]) -> None:
        """Leave out events that do not hold any more, parts that an answer replaced, and copies."""
        if self._paths is None and not self._replaced and not self._copies:
            return
        off = set(self._replaced)
        later: set[str] = set()  # what a fork says or copied
        for log in reversed(logs):
            path = (self._paths or {}).get(log.id)
            if path is None:
                continue
            if log.until is None:
                off |= path.off()
            else:
                off |= path.off_way_to(log.until)
                off.update(said for said in path.all_said() if self._copies.get(said, said) in later)
            if has_originals(logs):
                later.update(self._copies.get(said, said) for said in path.all_said())
        held = self.index.number_of.keys() - off
        off.update(copy for copy, first in self._copies.items() if first in held)
        self.index.set_out(off)


def _batches(pages: Iterable[_Page]) -> Iterator[list[_Page]]:
    """Groups of pages that are read together."""
    batch: list[_Page] = []
    events = 0
    for page in pages:
        batch.append(page)
        events += page.end - page.start
        if events >= _EVENTS_AT_ONCE or len(batch) >= _PAGES_AT_ONCE:
            yield batch
            batch, events = [], 0
    if batch:
        yield batch


def _for_path(event: AnyEvent) -> AnyEvent:
    """The parts of an event that the path needs; the text is not among them."""
    calls = [{"id": call.get("id")} for call in calls_of(event.message)]
    call_id = call_id_of(event)
    about = {REPLACES: event.metadata.get(REPLACES), "tool_call_id": call_id}
    return SessionEvent.model_construct(
        id=event.id,
        message=event.message if choice_in(event) is not None else {"role": "assistant", "tool_calls": calls},
        timestamp=event.timestamp,
        source=EventSource(event.source),
        type=event.type,
        metadata={name: value for name, value in about.items() if value is not None},
        parent_event_id=event.parent_event_id,
    )


async def off_the_loop(is_long: bool, work: Callable[[], T]) -> T:
    """Do work: in a thread if it takes long."""
    return await asyncio.to_thread(work) if is_long else work()


def is_large(index: Index) -> bool:
    """Whether a search in this index takes long."""
    return len(index.turns_of_passages) > _FEW_PASSAGES


class _Kept:
    """The indexes of this process, the least recently used one first."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[tuple[int, str, int], tuple[ref[HomeStore], KeptIndex]] = OrderedDict()

    def of(self, conversation_id: str, home: HomeStore, words: Words) -> KeptIndex:
        """The index of a conversation; a new one if there is none."""
        key = id(home), conversation_id, id(words)
        with guard:
            found = self._by_key.get(key)
            if found is None or found[0]() is not home:
                found = self._by_key[key] = ref(home), KeptIndex(words)
            self._by_key.move_to_end(key)
            return found[1]

    def bound(self) -> None:
        """Drop indexes that take too much memory, and indexes whose stores are gone."""
        with guard:
            for key in [key for key, (home, _) in self._by_key.items() if home() is None]:
                del self._by_key[key]
            total = sum(each.bytes for _, each in self._by_key.values())
            while total > MOST_BYTES and len(self._by_key) > 1:
                _, (_, oldest) = self._by_key.popitem(last=False)
                total -= oldest.bytes

    @property
    def bytes(self) -> int:
        """About how many bytes of memory all indexes take."""
        with guard:
            return sum(each.bytes for _, each in self._by_key.values())


kept: _Kept = _Kept()
"""The indexes of this process."""
