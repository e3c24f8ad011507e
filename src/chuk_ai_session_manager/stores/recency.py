"""The order of sessions in lists: by the time of their newest message, the newest first.

A new message puts its session first, even if the clock was set back meanwhile. An old message that is
imported puts its session among those of its time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from ..models.record import JUST_NOW

NOW = 0
"""The place of a session with a new message: before all others."""

MICROSECONDS_OF_NOW = JUST_NOW // timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds_of(moment: datetime) -> int:
    """Microseconds since 1970; a time without a zone is in this machine's zone."""
    moment = moment if moment.tzinfo else moment.astimezone()
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def now() -> int:
    """The time in microseconds since 1970."""
    return time.time_ns() // 1000


def place_of(said: int) -> int:
    """The place of a session whose newest message is of this time: the same time, or `NOW`.

    Call this on the machine that made the message, because the clocks of different machines differ.
    """
    return NOW if said >= now() - MICROSECONDS_OF_NOW else said
