"""Usage reports: the bills of model calls over all sessions of a store, by user, day, model and so on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..accounts.money import NOTHING, Usd
from ..exceptions import InvalidInput
from ..models import CallUsage
from ..models.correction import correction_in
from ..session_storage import event_store
from ..stores import EventStore, SessionStore
from ..stores.base import AnyEvent, AnySession
from ..stores.whole_sessions import WholeSessionStore

BY = ("user", "day", "month", "model", "provider", "session", "tier")
"""The possible groups. Days and months are in UTC."""

# How many session ids, and how many events of a session, are read at once.
_IDS, _EVENTS = 500, 1_000
_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(slots=True)
class UsageRow:
    """The sums of one group of calls."""

    key: dict[str, str]
    """The group: its user, day and so on, by the requested names; "" if there is none."""
    calls: int = 0
    estimated_calls: int = 0
    """Calls whose provider did not report their usage."""
    unpriced_calls: int = 0
    """Calls without a known price, which are not in the cost."""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    details: dict[str, int] = field(default_factory=dict)
    """Parts with prices of their own, by the names of `CallUsage.details`."""
    cache_saved_usd: float = NOTHING
    """What the calls would have cost more without prompt caches, in USD."""
    cost_usd: float = NOTHING
    """USD; exact to less than a millionth of a dollar, however many calls there are."""

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON: the group first, then the sums.

        `cost_usd` is `None` if no call has a known price.
        """
        is_unknown = bool(self.calls) and self.unpriced_calls == self.calls and not self.cost_usd
        cost = None if is_unknown else float(self.cost_usd)
        figures = {
            name: getattr(self, name) for name in ("calls", "estimated_calls", "unpriced_calls", *_COUNTS)
        }
        cache = {"cached_share": self.cached_share, "cache_saved_usd": float(self.cache_saved_usd)}
        return {**self.key, **figures, **self.details, **cache, "cost_usd": cost}

    @property
    def cached_share(self) -> float:
        """The share of the input tokens that came from providers' caches."""
        return round(self.cache_read_tokens / self.input_tokens, 4) if self.input_tokens else 0.0

    def add(self, usage: CallUsage, times: int = 1, *, is_part: bool = False) -> None:
        """Add a call, or subtract it.

        Args:
            usage: the call's bill.
            times: 1 or -1.
            is_part: whether it is a part of a call that is counted elsewhere.
        """
        if not is_part:
            self.calls += times
            self.estimated_calls += times * usage.estimated
            self.unpriced_calls += times * (usage.cost_usd is None)
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + times * getattr(usage, name))
        for name, count in usage.details.items():
            self.details[name] = self.details.get(name, 0) + times * count
        if usage.cache_saved_usd:
            self.cache_saved_usd = Usd(self.cache_saved_usd) + times * usage.cache_saved_usd
        if usage.cost_usd:
            self.cost_usd = Usd(self.cost_usd) + times * usage.cost_usd


async def usage_report(
    store: SessionStore,
    by: Sequence[str] | str = ("user", "day", "model", "provider", "session"),
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    user_id: str | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> list[UsageRow]:
    """Add up the bills of model calls over all sessions of a store.

    The sessions are read page by page, so the memory that this needs depends on the number
    of groups, not on the length of the sessions. (Eight bytes for each session's id are kept too, so that
    a session that is written to meanwhile counts once.)

    Args:
        store: the store; it must be able to list its sessions.
        by: the groups, or one of them: "user", "day", "month", "model", "provider", "session", "tier".
            Days and months are in UTC. Calls that a provider made by itself for an answer count for their
            own model.
        since: only calls at this time or later; a time without a zone is in UTC.
        until: only calls before this time.
        user_id: only this user's sessions.
        on_progress: called from time to time with the number of sessions that were read.

    Returns:
        The groups, in order.

    Raises:
        InvalidInput: a group is unknown.
        StorageError: the store failed; `UnreadableData`, a subclass of it, names a damaged session.
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    for name in names:
        if name not in BY:
            raise InvalidInput(
                "usage_report", f"usage cannot be grouped by {name!r}; it can by {', '.join(BY)}"
            )
    since, until = _with_zone(since), _with_zone(until)
    rows: dict[tuple[str, ...], UsageRow] = {}
    home, read = event_store(store), 0
    async for session in _sessions_of(home, store, user_id):
        newest = session.newest_event_time
        if since is None or (newest is not None and newest >= since):
            async for event in _billed_events(session, home):
                for group, usage, times, is_part in _bills_of(session, event, names, since, until):
                    row = rows.get(group)
                    if row is None:
                        row = rows[group] = UsageRow(dict(zip(names, group, strict=True)))
                    row.add(usage, times, is_part=is_part)
        read += 1
        if on_progress is not None:
            on_progress(read)
    return [rows[group] for group in sorted(rows)]


def _with_zone(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


async def _sessions_of(
    home: EventStore | WholeSessionStore, store: SessionStore, user_id: str | None
) -> AsyncIterator[AnySession]:
    """All sessions, each once, without their events."""
    seen: set[int] = set()
    is_first_pass, found_new = True, True
    while found_new:
        found_new = False
        async for page in _pages_of(home, store, user_id):
            fresh = [each for each in page if hash(each) not in seen]
            for each in fresh:
                seen.add(hash(each))
                session = await home.head(each)
                if session is not None and user_id in {
                    None,
                    session.user_id,
                }:  # otherwise, it was deleted meanwhile
                    yield session
            found_new = found_new or bool(fresh)
            if not (fresh or is_first_pass):
                break
        # Sessions that were written to meanwhile moved to the front of the list, before this page.
        is_first_pass = False


async def _pages_of(
    home: EventStore | WholeSessionStore, store: SessionStore, user_id: str | None
) -> AsyncIterator[Sequence[str]]:
    """The ids of all sessions, a page at a time."""
    if not isinstance(home, EventStore):
        list_sessions = getattr(store, "list_sessions", None)
        if list_sessions is None:
            raise InvalidInput("usage_report", f"{type(store).__name__} cannot list its sessions")
        yield await list_sessions()
        return
    page = await home.list_sessions(user_id=user_id, limit=_IDS)
    yield page
    while page.next_cursor is not None:
        page = await home.list_sessions(user_id=user_id, limit=_IDS, cursor=page.next_cursor)
        yield page


async def _billed_events(
    session: AnySession, home: EventStore | WholeSessionStore
) -> AsyncIterator[AnyEvent]:
    """A session's events, read a page at a time from the end."""
    before: int | None = None
    while True:
        page = await home.newest_outlines(session, before=before, limit=_EVENTS)
        if page is None:  # it is gone, or was edited: read it as it is now
            stored = await home.get(session.id)
            for event in stored.events if stored is not None and before is None else ():
                yield event
            return
        for event in page.events:
            yield event
        if not page.has_more:
            return
        before = page.first


def _bills_of(
    session: AnySession,
    event: AnyEvent,
    names: Sequence[str],
    since: datetime | None,
    until: datetime | None,
) -> Iterator[tuple[tuple[str, ...], CallUsage, int, bool]]:
    """What an event adds: to which group, how often (-1 if it is subtracted), and whether as a part."""
    bills: list[tuple[CallUsage, int, datetime]] = []
    if event.usage is not None:
        bills = [(event.usage, 1, event.timestamp)]
    elif correction := correction_in(event):
        when = correction.called_at
        bills = [(correction.replaces, -1, when), (correction.usage, 1, when)]
    for usage, times, moment in bills:
        when = moment if moment.tzinfo else moment.astimezone()
        if (since is not None and when < since) or (until is not None and when >= until):
            continue
        parts = _parts_of(usage) if "model" in names else [(usage, False)]
        for part, is_part in parts:
            yield _group_of(session, part, when.astimezone(UTC), names), part, times, is_part


def _parts_of(usage: CallUsage) -> list[tuple[CallUsage, bool]]:
    """A call, and the calls that its provider made by itself for it, each with only its own usage."""
    parts = [call for call in usage.iterations if call.cost_usd is not None or usage.cost_usd is None]
    if not parts:
        return [(usage, False)]
    rest: dict[str, Any] = {
        name: getattr(usage, name) - sum(getattr(part, name) for part in parts) for name in _COUNTS
    }
    rest["details"] = {
        name: count - sum(part.details.get(name, 0) for part in parts)
        for name, count in usage.details.items()
    }
    if usage.cache_saved_usd is not None:
        saved = sum((part.cache_saved_usd or 0.0 for part in parts), NOTHING)
        rest["cache_saved_usd"] = float(Usd(usage.cache_saved_usd) - saved)
    if usage.cost_usd is not None:
        rest["cost_usd"] = float(Usd(usage.cost_usd) - sum((part.cost_usd or 0.0 for part in parts), NOTHING))
    return [(usage.model_copy(update=rest), False), *((part, True) for part in parts)]


def _group_of(session: AnySession, usage: CallUsage, when: datetime, names: Sequence[str]) -> tuple[str, ...]:
    def value(name: str) -> str:
        match name:
            case "user":
                return session.user_id or ""
            case "day":
                return when.date().isoformat()
            case "month":
                return when.date().isoformat()[:7]
            case "session":
                return session.id
            case "tier":
                return usage.service_tier or ""
            case _:
                return str(getattr(usage, name))

    return tuple(value(name) for name in names)
