"""Responses that are seen again: polled, replayed by a framework, or given beside a tracked client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from ..exceptions import EventConflict
from ..models import Session, SessionEvent
from ..models.amounts import fields_of
from ..models.home import HomeStore
from ..models.session_event import REPLACES
from ..providers.usage import ReportedUsage
from ..stores.redaction import redact_events
from .drafts import Draft
from .own_ids import not_stored
from .segments import is_of_segments, latest, live_segment

# Where responses say when they were made.
_TIMES = ("created", "created_at", "createTime")
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
    if not _has_more_segments(session):
        return session.id
    ids = await home.segment_ids(session.id)
    return ids[0] if session.id in ids else session.id


def _has_more_segments(session: Session[Any]) -> bool:
    """Whether a session is not the only segment of its conversation."""
    return session.is_closed or (session.parent_id is not None and is_of_segments(session))


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What tells a response from another one that has its id and says the same, as far as it says so."""

    input_tokens: int | None
    made_at: float | None
    """In seconds since 1970."""

    @classmethod
    def of(cls, usage: ReportedUsage | None, native: Mapping[str, Any] | None) -> Circumstances:
        """Those of a response, by its usage and its provider's own form."""
        return cls(None if usage is None else usage["input_tokens"], _made_at((native or {}).get("response")))

    def differ_from(self, known: SessionEvent[Any]) -> bool:
        """Whether they are not those of the recorded answer."""
        # The bill of an answer that replaces a part of itself is only what the part's bill lacks.
        is_whole = known.usage is not None and not known.usage.estimated and REPLACES not in known.metadata
        before = known.usage.input_tokens if known.usage is not None and is_whole else None
        if _differ(self.input_tokens, before):
            return True
        made_before = _made_at((known.native or {}).get("response"))
        # Some servers write the time of each chunk: those of one response are not after its end.
        is_later = self.made_at is not None and self.made_at > known.timestamp.timestamp()
        return is_later and _differ(self.made_at, made_before)

    def key(self, response_key: str) -> str:
        """What tells the response from all others then."""
        return f"{response_key}:{self.input_tokens}:{self.made_at}"


def _made_at(response: object) -> float | None:
    if not isinstance(response, Mapping):
        return None
    made = next((response[name] for name in _TIMES if response.get(name)), None)
    try:
        return datetime.fromisoformat(made).timestamp() if isinstance(made, str) else float(made or 0) or None
    except (TypeError, ValueError, OverflowError):
        return None


async def event_id_of(
    session: Session[Any], home: HomeStore, response_key: str, circumstances: Circumstances
) -> str:
    """The id of a response's event, which tells it from one that only has the same id and says the same."""
    conversation_id = await conversation_id_of(session, home)
    event_id = answer_event_id(conversation_id, response_key)
    known = await home.events_by_id(session.id, [event_id])
    if any(map(circumstances.differ_from, known)):
        return answer_event_id(conversation_id, circumstances.key(response_key))
    return event_id


class Replays:
    """Tells which events a conversation has already, by the id of a response, or an id of the application.

    The id of such an answer's event is made of the conversation's and the response's, so that every process
    makes the same one, and a store, which has an event's id once in a segment, stores the answer once. Where
    there are several segments, the store looks the ids up in all of them, however long ago they were closed;
    no log is read for that.
    """

    def __init__(self) -> None:
        # The live segment's id, and the conversation's.
        self._known: tuple[str, str] | None = None
        self._looked_in = ""
        """The segment up to which the conversation was looked through last."""

    async def unseen(
        self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]
    ) -> Sequence[Draft]:
        """The drafts that the conversation does not have yet, as far as that is known without its log.

        Answers of responses that have an id get their events' ids here.
        """
        if responses := [draft for draft in drafts if draft.response_key is not None]:
            conversation_id = await self._conversation_id(home, session)
            for draft in responses:
                answer_id = answer_event_id(conversation_id, str(draft.response_key))
                fields_of(draft.event)["id"] = answer_id  # pydantic would make the records of its counts
        return await self._without_known(home, session, drafts)

    async def unstored(
        self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]
    ) -> tuple[Session[Any], Sequence[Draft]]:
        """The live segment, and the drafts that the conversation lacks: a store refused one of them."""
        session = await latest(session, home, with_events=False)
        session = await latest(await live_segment(session, home), home, with_events=False)
        return session, await self._without_known(home, session, drafts, refused=True)

    async def check_before(self, home: HomeStore, drafts: Sequence[Draft], live: Session[Any]) -> None:
        """Refuse drafts that are in the segments before the one that they are about to be stored in.

        Raises:
            EventConflict: one of them is, as where another process closed that segment meanwhile.
        """
        if live.id == self._looked_in:
            return
        if await self._earlier(home, live, drafts):
            raise EventConflict("An answer is in an earlier segment already")

    async def _without_known(
        self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft], *, refused: bool = False
    ) -> list[Draft]:
        """The drafts that are not there.

        An answer that differs from the one that has its id is no replay: some servers give every response
        the same id, and a model may say the same again. Its id is made of what it differs in, too.
        """
        known = await self._known_of(home, session, drafts, refused=refused)
        own = [draft.event for draft in drafts if draft.has_own_id and draft.event.id in known]
        if own and (hook := getattr(home, "redact", None)) is not None:
            await redact_events(own, hook)  # the form in which they were stored
        drafts = not_stored(drafts, known)
        if others := [draft for draft in drafts if _is_another_than(known, draft)]:
            conversation_id = await self._conversation_id(home, session)
            for draft in others:
                draft.event.id = answer_event_id(conversation_id, _other_key(draft, known[draft.event.id]))
            known |= await self._known_of(home, session, others, refused=refused)
        return [draft for draft in drafts if draft.response_key is None or draft.event.id not in known]

    async def _known_of(
        self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft], *, refused: bool = False
    ) -> dict[str, SessionEvent[Any]]:
        """The events of some drafts' ids that are stored, as far as that is known here."""
        keyed = [draft.event.id for draft in drafts if has_key(draft)]
        here = {event.id: event for event in map(session.event, keyed) if event is not None}
        return await self._earlier(home, session, drafts, refused=refused) | here

    async def _earlier(
        self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft], *, refused: bool = False
    ) -> dict[str, SessionEvent[Any]]:
        """The events of these ids that the conversation has, as far as the store is to be asked.

        A response's id is looked up where there are more segments than this one, or the store refused an
        event; else the store says itself what it has. An application's id is always looked up, so that
        limits and full segments do not concern a message that is there.
        """
        self._looked_in = session.id
        is_asked = refused or _has_more_segments(session)
        ids = [draft.event.id for draft in drafts if draft.has_own_id or (is_asked and has_key(draft))]
        if not ids:
            return {}
        return {event.id: event for event in await home.events_by_id(session.id, ids)}

    async def _conversation_id(self, home: HomeStore, session: Session[Any]) -> str:
        if not _has_more_segments(session):
            return session.id
        if self._known is None or self._known[0] != session.id:
            self._known = session.id, await conversation_id_of(session, home)
        return self._known[1]


def have_keys(drafts: Sequence[Draft]) -> bool:
    """Whether any of some drafts has an id by which it is known when it comes again."""
    for draft in drafts:  # noqa: SIM110  (`any` makes a generator, for every event)
        if draft.response_key is not None or draft.has_own_id:
            return True
    return False


def has_key(draft: Draft) -> bool:
    """Whether a draft came of a response with an id, or has an id of the application."""
    return draft.response_key is not None or draft.has_own_id


def _is_another_than(known: Mapping[str, SessionEvent[Any]], draft: Draft) -> bool:
    event = known.get(draft.event.id)
    return draft.response_key is not None and event is not None and _is_another(draft, event)


def _is_another(draft: Draft, known: SessionEvent[Any]) -> bool:
    """Whether an answer is another one than the recorded one that has its response's id and says the same.

    It is, where it answers another question, was sent another input, or was made after the recorded one.
    """
    asked = (draft.event.parent_event_id, known.parent_event_id)
    return _differ(*asked) or _circumstances(draft).differ_from(known)


def _circumstances(draft: Draft) -> Circumstances:
    return Circumstances.of(draft.reported, draft.event.native)


def _other_key(draft: Draft, known: SessionEvent[Any]) -> str:
    """What tells an answer from the recorded one that has its response's id and says the same."""
    key, circumstances = str(draft.response_key), _circumstances(draft)
    if circumstances.differ_from(known):
        return circumstances.key(key)
    return f"{key}:{draft.event.parent_event_id}"


def _differ(one: object, other: object) -> bool:
    """Whether two values differ, where there are both."""
    return one is not None and other is not None and one != other
