"""Ids of events and sessions: random UUIDs, of which no two are the same, in any process."""

from __future__ import annotations

import os
from uuid import UUID

import pytest

from chuk_ai_session_manager.models.record import new_id

MANY = 1_000


def test_ids_are_random_uuids_and_all_differ() -> None:
    ids = [new_id() for _ in range(MANY)]
    assert len(set(ids)) == MANY
    for each in ids:
        assert UUID(each).version == 4
        assert str(UUID(each)) == each
        assert UUID(each).variant == "specified in RFC 4122"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_fork_has_other_ids() -> None:
    new_id()  # from now on, there are spare ones
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, ",".join(new_id() for _ in range(MANY)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        theirs = set(pipe.read().split(","))
    os.waitpid(child, 0)
    assert len(theirs) == MANY
    assert theirs.isdisjoint(new_id() for _ in range(MANY))
