"""The counters of sessions as this process last wrote them, so that the next append need not read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ...models.guard import guard
from ..counting import counters_after, dump_counters, load_counters
from ..recency import now
from ..stored_data import EncodedEvent

# The most sessions whose counters are remembered: a limit to the memory, at about a kilobyte each.
_MOST = 2_000
# After a lifetime divided by this, remembered counters are not used, so that the server checks the expiry.
_PART = 2_000


class Known(NamedTuple):
    """The counters of a session: they are valid if the server still has the same text."""

    number: str
    """The session's number in its conversation. If it is wrong, the server looks for the right one."""
    text: str | bytes
    """The counters as they are stored."""
    counters: Mapping[str, float] | None
    """The counters in the text; `None` if nobody has parsed the text yet."""
    checked: int
    """When the server last checked the expiry, in microseconds since 1970."""

    def after(self, session_id: str, events: Iterable[EncodedEvent]) -> Known:
        """Return the counters after some more events."""
        before = load_counters(session_id, self.text) if self.counters is None else self.counters
        counters = counters_after(before, events)
        return Known(self.number, dump_counters(counters), counters, self.checked)


class KnownCounters:
    """The counters that this process knows.

    Args:
        lifetime: the lifetime of conversations in milliseconds; `None` for ever.
    """

    def __init__(self, lifetime: int | None) -> None:
        self._valid = None if lifetime is None else lifetime * 1000 / _PART  # in microseconds
        self._known: dict[str, Known] = {}

    def of(self, session_id: str) -> Known | None:
        """Return a session's counters, unless the expiry has to be checked again."""
        known = self._known.get(session_id)
        if known is None or self._valid is None:
            return known
        # By the time of day, because other clocks stop while the machine sleeps.
        return known if 0 <= now() - known.checked < self._valid else None

    def remember(self, session_id: str, known: Known) -> None:
        """Remember a session's counters, and forget those of another session if there are too many."""
        with guard:  # while another thread changes a dict, its first key cannot be read
            self._known.pop(session_id, None)  # so that the order is that of the writes
            if len(self._known) >= _MOST:
                del self._known[next(iter(self._known))]
            self._known[session_id] = known

    def forget(self, session_id: str) -> None:
        """Let the server read the counters at the next append."""
        with guard:
            self._known.pop(session_id, None)
