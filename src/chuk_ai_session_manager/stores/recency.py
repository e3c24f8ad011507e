"""Where a session stands in lists: by the time of its newest message, the newest first.

A message that was said just now puts its session on top, even where the clock was set back meanwhile. One
that was said long ago, and comes by an import, puts its session among those of that time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from ..models.record import JUST_NOW

NOW = 0
"""The place of what was said just now: above all others."""

_JUST_NOW = JUST_NOW // timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds_of(moment: datetime) -> int:
    """Microseconds since 1970; a time without a zone is this machine's."""
    moment = moment if moment.tzinfo else moment.astimezone()
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def now() -> int:
    """The time in microseconds since 1970."""
    return time.time_ns() // 1000


def place_of(said: int) -> int:
    """Where a session stands whose newest message was said then: the same time, or `NOW`.

    It has to be asked by the machine that made the message: clocks of different machines differ.
    """
    return NOW if said >= now() - _JUST_NOW else said
