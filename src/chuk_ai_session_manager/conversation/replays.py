"""Responses that are seen again: polled, replayed by a framework, or given beside a tracked client."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, TypeAlias
from uuid import NAMESPACE_URL, UUID, uuid5

from ..exceptions import EventConflict
from ..models import Session, SessionEvent
from ..models.home import HomeStore
from ..models.record import new_id
from .drafts import Draft
from .segments import is_of_segments, latest, live_segment, segments_before

# What each event answers, by the event's id.
Questions: TypeAlias = dict[str, str | None]

# How many earlier segments, and events of these, are looked through: responses are seen again soon.
_SEGMENTS_SEARCHED = 3
_EVENTS_SEARCHED = 500
_MADE_OF_A_NAME = 5
"""The version of UUIDs that come of a name."""


def answer_event_id(conversation_id: str, response_key: str) -> str:
    """The id of the event of a response that has an id: every process makes the same one."""
    return str(uuid5(NAMESPACE_URL, f"chuk-ai-session-manager:answer:{conversation_id}:{response_key}"))


def is_of_response(event: SessionEvent[Any]) -> bool:
    """Whether an event's id was made of its response's; all others are random."""
    try:
        return UUID(event.id).version == _MADE_OF_A_NAME
    except ValueError:  # an application's own
        return False


async def conversation_id_of(session: Session[Any], home: HomeStore) -> str:
    """The id of the first segment of a session's conversation, of which events' ids are made."""
    if session.parent_id is None or not is_of_segments(session):
        return session.id
    ids = await home.segment_ids(session.id)
    return ids[0] if session.id in ids else session.id


class Replays:
    """Tells which answers a conversation has already, by the id that the provider gave the response.

    The id of such an answer's event is made of the conversation's and the response's, so that every process
    makes the same one, and a store, which has an event's id once, stores the answer once.

    Args:
        is_infinite: whether the conversation has several segments.
    """

    def __init__(self, *, is_infinite: bool) -> None:
        self._is_infinite = is_infinite
        # The live segment's id, the conversation's, and what the events in the segments before answer.
        self._known: tuple[str, str, Questions] | None = None

    async def unseen(
        self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]
    ) -> Sequence[Draft]:
        """The drafts that the conversation does not have yet, as far as that is known without its log.

        Answers of responses that have an id get their events' ids here.
        """
        if not have_keys(drafts):
            return drafts
        conversation_id, earlier = await self._earlier(home, session)
        for draft in drafts:
            if draft.response_key is not None:
                draft.event.id = answer_event_id(conversation_id, draft.response_key)
        return _unseen(drafts, session, earlier)

    async def unstored(
        self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]
    ) -> tuple[Session[Any], Sequence[Draft]]:
        """The live segment with its log, and the drafts that it lacks: a store refused one of them."""
        session = await latest(await live_segment(session, home), home)
        _, earlier = await self._earlier(home, session)
        return session, _unseen(drafts, session, earlier)

    async def check_before(self, home: HomeStore, live: Session[Any], drafts: Sequence[Draft]) -> None:
        """Refuse drafts that are in the segments before the one that they are about to be stored in.

        Raises:
            EventConflict: one of them is, as where another process closed that segment meanwhile.
        """
        ids = {draft.event.id for draft in drafts if draft.response_key is not None}
        if ids and not ids.isdisjoint((await self._earlier(home, live))[1]):
            raise EventConflict("An answer is in an earlier segment already")

    async def _earlier(self, home: HomeStore, session: Session[Any]) -> tuple[str, Questions]:
        if not self._is_infinite or session.parent_id is None:
            return session.id, {}
        if self._known is None or self._known[0] != session.id:
            conversation_id = await conversation_id_of(session, home)
            self._known = session.id, conversation_id, await self._newest_before(home, session)
        return self._known[1], self._known[2]

    async def _newest_before(self, home: HomeStore, session: Session[Any]) -> Questions:
        """What the newest events before a segment answer; the rest of a long segment is not read."""
        found: Questions = {}
        searched = 0
        async for log in segments_before(session, home):
            searched += 1
            async with aclosing(log.newest_first()) as events:
                async for event in events:
                    found[event.id] = event.parent_event_id
                    if len(found) == _EVENTS_SEARCHED:
                        return found
            if searched == _SEGMENTS_SEARCHED:
                break
        return found


def have_keys(drafts: Sequence[Draft]) -> bool:
    """Whether any of some drafts came of a response with an id, which may be seen again."""
    for draft in drafts:  # noqa: SIM110  (`any` makes a generator, for every event)
        if draft.response_key is not None:
            return True
    return False


def _unseen(drafts: Sequence[Draft], session: Session[Any], earlier: Questions) -> list[Draft]:
    """The drafts that are not there; one that answers another question only looks the same.

    Some servers give every response the same id, and a model may say the same again.
    """
    unseen = []
    for draft in drafts:
        known = session.event(draft.event.id) if draft.response_key is not None else None
        is_known = known is not None or (draft.response_key is not None and draft.event.id in earlier)
        question_id = known.parent_event_id if known is not None else earlier.get(draft.event.id)
        if is_known and _differs(draft.event.parent_event_id, question_id):
            draft.response_key, draft.event.id, is_known = None, new_id(), False
        if not is_known:
            unseen.append(draft)
    return unseen


def _differs(question_id: str | None, known_id: str | None) -> bool:
    return question_id is not None and known_id is not None and question_id != known_id
