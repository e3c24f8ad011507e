"""The machine's clock, set by a test, for the parts of the library that read the time of day."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, tzinfo
from types import SimpleNamespace

import pytest

from chuk_ai_session_manager.models import record
from chuk_ai_session_manager.stores import recency


def set_clock(by: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library see a clock that differs from the real one by so much."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC).astimezone(tz) + by

    nanoseconds = int(by / timedelta(microseconds=1)) * 1_000
    monkeypatch.setattr(record, "datetime", Shifted)
    monkeypatch.setattr(recency, "time", SimpleNamespace(time_ns=lambda: time.time_ns() + nanoseconds))


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now
