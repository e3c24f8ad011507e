"""The lock for memory that threads share."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from threading import RLock

_lock = RLock()

guard: AbstractContextManager[bool] = _lock
"""Held only for moments, never while code awaits or waits for another thread.

One lock is enough: because of the interpreter's own lock, several would not let more threads run.
"""

if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    # Otherwise, a child could inherit the lock as held by a thread that the child does not have.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
