"""What an object holds of a stored session, and how the two become one again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..models.session_totals import SessionTotals
from .base import AnyEvent, AnySession
from .changes import Change, Mark
from .codec import encode_header, encoded, header_value
from .counting import totals_of
from .merging import merged
from .recency import microseconds_of, place_of
from .written import HEADER_FIELDS, EncodedEvent, StoredSession

# Events that are read in one go where it is content tokens that are asked for.
LARGEST_PAGE = 500


def mark_of(stored: StoredSession, first: int | None = None) -> Mark:
    """What an object holds that was made of what was read; `first` where it holds fewer of the oldest."""
    first = stored.start if first is None else first
    return Mark(stored.born, stored.fields, stored.revision, stored.rewrites, first, stored.count)


def changes_of(mine: dict[str, str], before: dict[str, str], theirs: dict[str, str]) -> dict[str, str]:
    """The header fields that an application changed since it read them, with what others changed in them."""
    return {
        name: merged(name, before[name], text, theirs[name])
        for name, text in mine.items()
        if text != before[name]
    }


def bring_up_to_date(
    session: AnySession, mark: Mark, stored: StoredSession, read: AnySession, mine: Sequence[AnyEvent]
) -> None:
    """Let a session's object have what was read anew; what the application changed in it stays."""
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
    if stored.rewrites != mark.rewrites:  # as others edited them
        objects = {event.id: objects[event.id] for event in read.events if objects.get(event.id) == event}
    session.events = [objects.get(event.id, event) for event in read.events]
    session.token_summary = read.token_summary
    session.go_on_from(SessionTotals(), None)
    session.record(*only_here)


def put_in_place(session: AnySession, mark: Mark, stored: Sequence[AnyEvent]) -> None:
    """Let an object have events that are stored after those that it has, before those only in memory."""
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
    """The log after saving an object, and what others appended that the object does not have.

    What the object had read is as the object has it now: edited, or gone. What others appended since
    stays after that; what is only in the object comes last.
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
    there: Sequence[AnyEvent], log: Sequence[AnyEvent], fields: dict[str, str], counters: dict[str, float]
) -> Change:
    """How a stored log becomes another one: what differs and all after it is written anew."""
    same = 0
    while same < min(len(there), len(log)) and there[same] == log[same]:
        same += 1
    if same == len(there) == len(log):
        return Change(fields, counters)
    gone = [event.id for event in there[same:]]
    return Change(fields, counters, keep=same, gone=gone, events=await encoded(log[same:]))


def place_of_new(log: Sequence[AnyEvent], there: Sequence[AnyEvent]) -> int | None:
    """Where lists have a session after the newest of its new events; `None` where none is new."""
    known = {event.id for event in there}
    _, newest = totals_of(event for event in log if event.id not in known)
    return None if newest is None else place_of(microseconds_of(newest))


def usage_only(event: EncodedEvent) -> EncodedEvent:
    """What an event adds besides totals: what it adds to the token summary."""
    usage = {name: value for name, value in event.counters.items() if ":" in name}
    return EncodedEvent(event.id, event.body, usage)


def take_header(session: AnySession, mark: Mark | None, revision: int, fields: dict[str, str]) -> Mark | None:
    """Let an object have header fields that were written over a revision; its unsaved changes stay.

    Returns:
        What it holds from now on; `None` where others brought it further meanwhile, or no store knows it.
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
    """How many events to read first: most often enough, and never many more than asked for."""
    if tokens is None:
        return limit
    # By the session's average; a quarter more, because reading again takes longer than reading some more.
    average = max(1.0, session.total_tokens / max(1, session.totals.events))
    likely = min(int(tokens / average * 1.25) + 8, LARGEST_PAGE)
    return likely if limit is None else min(limit, likely)
