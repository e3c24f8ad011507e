"""Memory that threads share: one of them at a time changes it."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from threading import RLock

_lock = RLock()

guard: AbstractContextManager[bool] = _lock
"""Held for moments, never while anything is awaited or another thread is waited for.

One for all: with the interpreter's own lock, several would let no more threads run.
"""

if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    # Else a child could inherit it as held by a thread that it does not have.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
