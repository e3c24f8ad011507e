"""The messages before a fork: those of its original conversation, as long as the original exists."""

from __future__ import annotations

from collections.abc import Sequence

from ..models.home import HomeStore
from ..models.session_event import origin_of
from ..stores.base import AnyEvent, AnySession
from .originals import original_of
from .path import Paths
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
    original = await original_of(root, home)
    if original is None:
        return []
    placed: list[Placed] = []
    async for segment in segments_in(await chain_of(original.segment, home), home):
        placed += [(segment, event) for event in segment.events]
    paths = Paths([event for _, event in placed])
    way = set(paths.way_to(original.event_id))
    copied = {origin_of(event).event_id for event in own}
    before = [each for each in placed if each[1].id in way and origin_of(each[1]).event_id not in copied]
    if not placed:
        return []
    earlier = await before_fork(placed[0][0], [*own, *(event for _, event in before)], home)
    return [*earlier, *before]
