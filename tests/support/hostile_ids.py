"""Session ids that may be told apart badly, and what a key in Redis was made of."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from random import Random
from urllib.parse import unquote
from uuid import UUID

from chuk_ai_session_manager.stores.redis.store import RedisStore

# What ids are told apart by badly: separators, patterns, quotings of each other, look-alikes, and pairs that
# Unicode takes for the same.
PIECES = (
    *r"{}:*?[]/\.%#'$~;01aAbkiI",
    *(" ", '"', "..", "%7B", "%7b", "%257B", "%25", "user:", "children:", "index", "casm:", "in", "s:"),
    *("\u00e9", "e\u0301", "\u0430", "\uff41", "\u212a", "\u00df", "ss", "\ufb01", "fi", "\u0130", "\u0131"),
    *("\u754c", "\U0001f600", "\ufffd"),
)


_FEW = 0.05


def hostile_ids(random: Random) -> Iterator[str]:
    """Ids without end, each another one: uuids, hostile ones, beginnings of each other, the longest."""
    seen = set()
    while True:
        made = "".join(random.choices(PIECES, k=random.choice((1, 2, 3, 3, 4, 4, 5, 8))))
        beginning = made[: random.randrange(len(made)) + 1]
        longest = (made * 255)[: 255 if random.random() < _FEW else 0]
        for each in filter(None, (made, beginning, str(UUID(int=random.getrandbits(128))), longest)):
            if each not in seen:
                seen.add(each)
                yield each


def key_read(key: str) -> tuple[str, str, str]:
    """The sandbox, the kind and the id that a key was made of: as it has one of each, no two are the same.

    Whatever is in these, all of it decides on the Cluster's slot, and no more.
    """
    tag = key.removeprefix("casm:{").removesuffix("}")
    assert key == f"casm:{{{tag}}}"
    assert not set(tag) & set("{} *\n")
    sandbox, *kind, session_id = tag.split(":")
    return unquote(sandbox), "".join(f"{each}:" for each in kind), unquote(session_id)


def check_keys(many: int, kind: type[RedisStore] = RedisStore) -> None:
    """Of so many ids, in many sandboxes and as keys of each kind, no two have one key."""
    random = Random()  # noqa: S311  (ids, not secrets)
    stores = [kind("redis://localhost", sandbox_id=each) for each in islice(hostile_ids(random), 50)]
    uses = cycle(("", "user:", "children:"))
    for session_id, store, use in zip(islice(hostile_ids(random), many), cycle(stores), uses, strict=False):
        assert key_read(store._keys.of(session_id, use)) == (store.sandbox_id, use, session_id)
