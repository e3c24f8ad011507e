"""Second thoughts: undo, edit, regenerate, choose, retract and clear. The log only grows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from ..accounts.tokens import DEFAULT_MODEL
from ..exceptions import InvalidInput
from ..exceptions.validation import copied
from ..models import EventSource, EventType, SessionEvent
from ..models.choice import Choice
from ..models.home import HomeStore
from ..models.session_event import COPY_OF, REPLACES
from ..providers.messages import text_of
from ..providers.parts import media_of
from ..stores.base import AnyEvent, AnySession
from .absent import fill
from .background import background_of
from .billing import count
from .drafts import Draft, draft_question
from .looking_back import LookingBack
from .opening import Conversation
from .path import Paths
from .pins import pinned_ids
from .reading import row_of
from .segments import append
from .unsendable import Fault, faults_in, set_aside_text
from .writing import Writer

NOTHING_SAID = "the conversation has no message yet"

# Makes the events to be stored from the conversation as it is; none if nothing is to be changed.
_Plan: TypeAlias = Callable[[LookingBack, HomeStore, AnySession], Awaitable[Sequence[AnyEvent]]]


class SecondThoughts:
    """Lets a conversation continue from another place, with events that say so.

    Each second thought is planned on the stored conversation, and is stored only if the conversation has not
    changed; otherwise, it is planned again. So if several writers undo at once, each takes back what the
    others left.

    Args:
        conversation: the conversation.
        writer: stores its other events; second thoughts wait for their turn among these.
    """

    def __init__(self, conversation: Conversation, writer: Writer) -> None:
        self._conversation = conversation
        self._writer = writer

    async def undo(self) -> str:
        """Take back the user's last message, and everything after it; return that message's id."""
        undone = ""

        async def plan(back: LookingBack, *_: Any) -> Sequence[AnyEvent]:
            nonlocal undone
            undone, choice = await back.asked(Paths.before_last_question)
            return [choice.as_event()]

        await self._store("undo", plan)
        return undone

    async def retract(self, event_id: str) -> None:
        """Take one message off the path, wherever it stands."""
        await self._choose("retract", lambda paths: paths.without(event_id))

    async def faults(self, largest: int) -> list[Fault]:
        """What the next context would contain that no provider accepts, as `faults_in` says."""
        if not self._conversation.is_begun:
            return []
        await self._writer.settle()
        home, session = await self._conversation.current(with_events=False)
        return await faults_in(session, await background_of(session, home), home, largest)

    async def set_aside(self, event_id: str) -> None:
        """Take a message out, or let a tool's result say that it was taken out, by its size."""

        async def plan(back: LookingBack, home: HomeStore, _: AnySession) -> Sequence[AnyEvent]:
            choice = await back.asked(lambda paths: paths.without(event_id, "set aside"))
            event = next(event for event in back.events if event.id == event_id)
            await fill([event], home)
            return [choice.as_event(), *([_emptied(event)] if event.type == EventType.TOOL_CALL else [])]

        await self._store("set aside", plan)

    async def clear(self) -> None:
        """Continue from the beginning, with an empty path."""
        if self._conversation.is_begun:
            await self._choose("clear", Paths.beginning)

    async def regenerate(self, event_id: str) -> None:
        """Continue before an answer: the next answer stands at its place."""

        def place(paths: Paths) -> Choice | None:
            choice = paths.before(event_id, "regenerate")
            event = paths.variants(event_id, "regenerate")[0]
            if event.type != EventType.MESSAGE or event.source != EventSource.LLM:
                raise InvalidInput("regenerate", "only a model's answer can be regenerated")
            return choice

        await self._choose("regenerate", place)

    async def choose(self, event_id: str) -> None:
        """Return to a variant, and to everything that followed it."""
        await self._choose("choose", lambda paths: paths.back_to(event_id))

    async def edit(self, event_id: str, content: str | list[dict[str, Any]], model: str | None) -> str:
        """Put another message at a message's place, and continue from there; return the new message's id."""
        draft: Draft | None = None

        def place(paths: Paths) -> tuple[AnyEvent, Sequence[AnyEvent], Choice | None]:
            variants, parts = paths.variants(event_id, "edit"), paths.parts_of(event_id)
            original = next(each for each in variants if each.id in parts)
            return original, variants, paths.before(event_id, "edit")

        async def plan(back: LookingBack, home: HomeStore, session: AnySession) -> Sequence[AnyEvent]:
            nonlocal draft
            original, variants, choice = await back.asked(place)
            if original.type != EventType.MESSAGE or original.source == EventSource.SYSTEM:
                raise InvalidInput("edit", "only a message of the user or of a model can be edited")
            if draft is None:
                draft = _edited(original, content, model)
                await self._writer.redact([draft])
                await count([draft])
            adds = 0 if choice is None else choice.adds.get("tokens", 0)
            await self._writer.allowance.check_question(home, session, draft, adds)
            events = [*([] if choice is None else [choice.as_event()]), draft.event]
            pinned = pinned_ids(session.metadata.properties)
            if draft.event.id not in pinned and not pinned.isdisjoint({event_id, original.id}):
                number, others = session.totals.events + len(events) - 1, [each.id for each in variants]
                await self._writer.pins.add(home, session, draft.event, session.id, number, others)
            return events

        await self._store("edit", plan)
        assert draft is not None  # noqa: S101  (the plan made it; tells mypy)
        return draft.event.id

    async def variants(self, event_id: str) -> list[dict[str, Any]]:
        """Return the messages at one place as rows, which say which of them is on the path."""
        if not self._conversation.is_begun:
            raise InvalidInput("variants", NOTHING_SAID)
        await self._writer.settle()
        home, session = await self._conversation.current(with_events=False)
        back = self._looking_back(session, home)
        found = await back.asked(lambda paths: (paths.chosen(), paths.variants(event_id)))
        held = {event.id for event in found[0]}
        await fill((part for event in found[1] for part in (event.message, event.metadata)), home)
        rows = [(event, row_of(event, with_tools=True, with_ids=True)) for event in found[1]]
        return [row | {"is_chosen": event.id in held} for event, row in rows if row is not None]

    async def _choose(self, operation: str, make: Callable[[Paths], Choice | None]) -> None:
        async def plan(back: LookingBack, *_: Any) -> Sequence[AnyEvent]:
            choice = await back.asked(make)
            return [] if choice is None else [choice.as_event()]

        await self._store(operation, plan)

    async def _store(self, operation: str, plan: _Plan) -> None:
        """Store what a plan makes of the conversation as it is stored then."""
        if not self._conversation.is_begun:
            raise InvalidInput(operation, NOTHING_SAID)
        await self._writer.settle()
        async with self._writer.turn():
            while True:
                home, session = await self._conversation.current(with_events=False)
                # A copy: a memory store adds the events of other writers to this very object.
                read = session.as_read()
                back = self._looking_back(read, home)
                events = await plan(back, home, read)
                if not events or (await append(read, events, home, only_if_current=True))[0]:
                    return

    def _looking_back(self, session: AnySession, home: HomeStore) -> LookingBack:
        is_infinite = self._conversation.is_infinite
        return LookingBack(session, home, earlier_segments=is_infinite, may_lack=True)


def _emptied(result: AnyEvent) -> AnyEvent:
    """A result of the same call that says what was set aside."""
    message = result.message if isinstance(result.message, dict) else {}
    told = {"result": set_aside_text(result), "error": None, "success": True}
    return SessionEvent(
        message=copied({**message, **told}),
        source=result.source,
        type=EventType.TOOL_CALL,
        metadata=copied(result.metadata),
    )


def _edited(original: AnyEvent, content: str | list[dict[str, Any]], model: str | None) -> Draft:
    """The message at another one's place: it has the same role and metadata."""
    counting = model or DEFAULT_MODEL
    about = {key: value for key, value in original.metadata.items() if key not in {REPLACES, COPY_OF}}
    if original.source == EventSource.USER:
        draft = draft_question(content, counting, copied(about), reader=model)
    else:
        row: dict[str, Any] = {"role": "assistant", "content": content}
        event: AnyEvent = SessionEvent(
            message=content if isinstance(content, str) else row,
            source=EventSource.LLM,
            metadata=copied(about),
            parent_event_id=original.parent_event_id,
        )
        # It is counted like a call's answer, but it is not a call: nothing is billed for it.
        draft = Draft(event, text_of(row), counting, is_call=True, media=media_of(content))
    named = original.message if isinstance(original.message, dict) else {}
    if isinstance(named.get("name"), str) and "role" in named:
        draft.event.message = {"role": named["role"], "name": named["name"], "content": content}
    return draft
