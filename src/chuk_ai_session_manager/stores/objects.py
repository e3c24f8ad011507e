"""Bringing `Session` objects and stored sessions into agreement."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from ..models.session_totals import SessionTotals
from .base import AnyEvent, AnySession
from .bodies import take_out
from .changes import Change, Mark
from .codec import encode_header, encoded, header_value
from .counting import counters_of, summary_in, totals_of
from .merging import merged
from .recency import microseconds_of, place_of
from .stored_data import HEADER_FIELDS, StoredSession

# How many events are read at once if the request is for content tokens.
LARGEST_PAGE = 500


def mark_of(stored: StoredSession, first: int | None = None) -> Mark:
    """The mark of an object made of a stored session; `first` if it holds fewer of the oldest events."""
    first = stored.start if first is None else first
    return Mark(stored.born, stored.fields, stored.revision, stored.rewrites, first, stored.count)


def changes_of(mine: dict[str, str], before: dict[str, str], theirs: dict[str, str]) -> dict[str, str]:
    """The header fields that the application changed since it read them, merged with others' changes."""
    return {
        name: merged(name, before[name], text, theirs[name])
        for name, text in mine.items()
        if text != before[name]
    }


def bring_up_to_date(
    session: AnySession, mark: Mark, stored: StoredSession, read: AnySession, mine: Sequence[AnyEvent]
) -> None:
    """Update a session's object with newly read data; the application's changes in it are kept."""
    if stored.fields != mark.fields:
        here = encode_header(session)
        for name in HEADER_FIELDS:
            if here[name] == mark.fields[name] != stored.fields[name]:
                setattr(session, name, getattr(read, name))
            elif stored.fields[name] != mark.fields[name]:
                now = merged(name, mark.fields[name], here[name], stored.fields[name])
                setattr(session, name, header_value(name, now))
    if stored.start:
        objects = {event.id: event for event in mine}
        put_in_place(
            session,
            mark,
            [objects.get(event.id, event) for event in read.events[mark.count - stored.start :]],
        )
        return
    objects = {event.id: event for event in (*session.events, *mine)}
    only_here = [*session.events[mark.count - mark.first :], *mine]
    if stored.rewrites != mark.rewrites:  # others edited events
        objects = {event.id: objects[event.id] for event in read.events if objects.get(event.id) == event}
    session.events = [objects.get(event.id, event) for event in read.events]
    session.token_summary = read.token_summary
    session.go_on_from(SessionTotals(), None)
    session.record(*only_here)


def put_in_place(session: AnySession, mark: Mark, stored: Sequence[AnyEvent]) -> None:
    """Insert stored events into an object, after its stored events and before those only in memory."""
    held = mark.count - mark.first
    only_here = session.events[held:]
    if not only_here:
        session.record(*stored)
        return
    here = {event.id: event for event in only_here}
    for event in stored:
        if event.id not in here and event.token_usage:
            session.token_summary.add(event.token_usage)
    now = [here.pop(event.id, event) for event in stored]
    session.events = [*session.events[:held], *now, *here.values()]


def merged_log(
    here: Sequence[AnyEvent], mark: Mark | None, there: Sequence[AnyEvent]
) -> tuple[list[AnyEvent], list[AnyEvent]]:
    """The log after saving an object, and the events of others that the object does not have.

    Events that the object had read are as the object has them now: edited, or removed. Events that others
    appended since come next; events that are only in the object come last.
    """
    if mark is None:
        return list({event.id: event for event in here}.values()), []
    not_held = list(there[: mark.first])
    read = {event.id for event in there[mark.first : mark.count]}
    held = {event.id for event in here}
    since = list(there[mark.count :])
    stored_since = {event.id for event in since}
    kept = [event for event in here if event.id in read]
    new = [event for event in here if event.id not in read and event.id not in stored_since]
    objects = {event.id: event for event in here}
    log = [*not_held, *kept, *(objects.get(event.id, event) for event in since), *new]
    log = list({event.id: event for event in log}.values())
    return log, [event for event in since if event.id not in held]


async def change_of_log(
    there: Sequence[AnyEvent],
    log: Sequence[AnyEvent],
    fields: dict[str, str],
    counters: dict[str, float],
    *,
    with_bodies: bool = False,
) -> Change:
    """The change from a stored log to another one: the first difference and all after it are written."""
    same = 0
    while same < min(len(there), len(log)) and there[same] == log[same]:
        same += 1
    if same == len(there) == len(log):
        return Change(fields, counters)
    gone = [event.id for event in there[same:]]
    let_go = await asyncio.to_thread(_let_go, there[same:], log) if with_bodies and gone else []
    return Change(
        fields,
        counters,
        keep=same,
        gone=gone,
        let_go=let_go,
        events=await encoded(log[same:], with_bodies=with_bodies),
    )


def _let_go(gone: Sequence[AnyEvent], log: Sequence[AnyEvent]) -> list[str]:
    """The bodies to which only deleted events refer, and no event of the log."""
    hashes = {name for event in gone for name in take_out(event).bodies}
    for event in log if hashes else ():
        hashes -= take_out(event).bodies.keys()
    return sorted(hashes)


async def rewritten_log(
    stored: StoredSession,
    there: Sequence[AnyEvent],
    log: Sequence[AnyEvent | None],
    *,
    with_bodies: bool = False,
) -> Change:
    """How a stored log is written over by what stands in each event's place now; `None`, where one goes."""
    kept = [event for event in log if event is not None]
    totals, newest = totals_of(kept)
    summary = summary_in(stored.counters)
    for event, now in zip(there, log, strict=True):
        if now is None and event.token_usage:
            summary.subtract(event.token_usage)
    counters = counters_of(totals, summary, newest)
    return await change_of_log(there, kept, {}, counters, with_bodies=with_bodies)


def place_of_new(log: Sequence[AnyEvent], there: Sequence[AnyEvent]) -> int | None:
    """The place in lists of a session with the newest of its new events; `None` if there are none."""
    known = {event.id for event in there}
    _, newest = totals_of(event for event in log if event.id not in known)
    return None if newest is None else place_of(microseconds_of(newest))


def take_header(session: AnySession, mark: Mark | None, revision: int, fields: dict[str, str]) -> Mark | None:
    """Give an object the header fields that were written after a revision; its unsaved changes stay.

    Returns:
        The object's new mark; `None` if the object has a newer state already, or does not belong to a store.
    """
    if mark is None:
        for name, text in fields.items():
            setattr(session, name, header_value(name, text))
        return None
    if mark.revision > revision:
        return None
    mine = encode_header(session)
    for name, text in fields.items():
        now = merged(name, mark.fields[name], mine[name], text)
        if now != mine[name]:
            setattr(session, name, header_value(name, now))
    now_at = revision + 1 if mark.revision == revision else mark.revision
    return replace(mark, fields=mark.fields | fields, revision=now_at)


def first_page_size(session: AnySession, limit: int | None, tokens: int | None) -> int | None:
    """How many events to read first: mostly enough, and never many more than asked for."""
    if tokens is None:
        return limit
    # From the session's average, plus a quarter: reading again takes longer than reading a few more.
    average = max(1.0, session.total_tokens / max(1, session.totals.events))
    likely = min(int(tokens / average * 1.25) + 8, LARGEST_PAGE)
    return likely if limit is None else min(limit, likely)
