"""The messages before a fork: those of its original conversation, as long as the original exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..models.home import HomeStore
from ..models.session_event import origin_of
from ..models.session_metadata import FORKED_FROM
from ..stores.base import AnyEvent, AnySession
from .forking import is_of_fork
from .path import Paths, is_said
from .segments import Placed, chain_of, segments_in


async def before_fork(root: AnySession, own: Sequence[AnyEvent], home: HomeStore) -> list[Placed]:
    """The messages on the original's path of which a fork has no copies, oldest first.

    There are none if the conversation is no fork, or if its original is gone or belongs to another user.

    Args:
        root: the first segment of the fork, with its events.
        own: the messages of the fork, with its copies.
        home: the store of both.

    Raises:
        StorageError: the store failed.
    """
    source = await _source_of(root, home)
    if source is None:
        return []
    placed: list[Placed] = []
    async for segment in segments_in(await chain_of(source, home), home):
        placed += [(segment, event) for event in segment.events]
    paths = Paths([event for _, event in placed])
    way = set(paths.way_to(root.metadata.properties[FORKED_FROM]["event_id"]))
    copied = {origin_of(event).event_id for event in own}
    before = [each for each in placed if each[1].id in way and origin_of(each[1]).event_id not in copied]
    if not placed:
        return []
    earlier = await before_fork(placed[0][0], [*own, *(event for _, event in before)], home)
    return [*earlier, *before]


async def _source_of(root: AnySession, home: HomeStore) -> AnySession | None:
    """The segment of the original from which a fork's copies come, if the fork lacks messages of it."""
    origin: Any = root.metadata.properties.get(FORKED_FROM)
    is_cut = any(is_of_fork(event) for event in root.events) and not any(map(is_said, root.events))
    if not is_cut or not isinstance(origin, dict):
        return None
    source_id, event_id = origin.get("session_id"), origin.get("event_id")
    if not isinstance(source_id, str) or not isinstance(event_id, str):
        return None
    source = await home.head(source_id)
    return source if source is not None and source.user_id == root.user_id else None
