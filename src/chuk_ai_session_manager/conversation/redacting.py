"""Removing the words of one event for good, wherever the store has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..exceptions import InvalidInput, InvalidSessionOperation, SessionNotFound
from ..models import EventType
from ..models.home import HomeStore
from ..models.record import utc_now
from ..models.session_event import REDACTED, REPLACES, content_of, origin_of
from ..models.session_metadata import FORKED_FROM, origins_of
from ..providers.messages import calls_of, function_of, turns_of
from ..stores import EventStore, WholeSessionStore
from ..stores.base import AnyEvent
from ..stores.erasing import note_rewriting, unsaid_summary
from ..stores.receipts import ErasureReceipt
from .background import background_of
from .closing import close_segment
from .forking import summary_of_fork
from .notes import NO_NOTES
from .opening import Conversation
from .originals import is_of_fork
from .summaries import Summarizer
from .writing import Writer

_OPERATION = "redact"

_Store: TypeAlias = EventStore | WholeSessionStore


class Redacting:
    """Removes words for good.

    Args:
        conversation: the conversation.
        writer: stores its other events.
        summarizer: knows how long a summary may be.
    """

    def __init__(self, conversation: Conversation, writer: Writer, summarizer: Summarizer) -> None:
        self._conversation = conversation
        self._writer = writer
        self._summarizer = summarizer

    async def redact(self, event_id: str) -> ErasureReceipt:
        """Replace the words of an event and of its copies; the receipt names the conversations."""
        if not self._conversation.is_begun:
            raise InvalidInput(_OPERATION, "the conversation has no message yet")
        started_at = utc_now()
        await self._writer.settle()
        await self._writer.closing.finish()  # otherwise, a summary may still be made from the words
        async with self._writer.turn():
            home, session = await self._conversation.current(with_events=False)
            if not isinstance(home, EventStore | WholeSessionStore):
                raise InvalidSessionOperation(_OPERATION, "the store has no way to change what is stored")
            ids = await home.segment_ids(session.id)
            words = await _words_of(event_id, ids, home)
            first = words.conversation or ids[0]
            forks = [each async for each in home.forks_of(first)]
            counts: dict[str, int] = {}
            for each in dict.fromkeys([first, *await _by_descent([*forks, ids[0]], home)]):
                counts[each] = await self._redact_in(each, words, home)
        return ErasureReceipt(
            started_at,
            utc_now(),
            conversations=tuple(each for each, count in counts.items() if count),
            events=counts[ids[0]],
            copies=sum(counts.values()) - counts[ids[0]],
            unreached=tuple(await home.scrub()),
        )

    async def _redact_in(self, conversation_id: str, words: _Words, home: _Store) -> int:
        """Replace the words in one conversation, and in its summaries; return how many events changed."""
        redacted: set[str] = set()
        tells_of_others = False

        def change(event: AnyEvent) -> AnyEvent:
            nonlocal tells_of_others
            now = words.taken_from(event)
            if now is not event or words.is_taken_from(event):
                redacted.add(event.id)
            tells_of_others = tells_of_others or is_of_fork(event)
            # For all segments from this one on: each summary was made from earlier ones too.
            is_made_of_it = event.type == EventType.SUMMARY and (redacted or tells_of_others)
            return unsaid_summary(event) if is_made_of_it else now

        summarised: list[str] = []
        ids = await home.segment_ids(conversation_id)
        for segment_id in ids:
            with suppress(SessionNotFound):  # it was deleted meanwhile
                await home.rewrite_events(segment_id, change)
                summarised += [segment_id] if redacted or tells_of_others else []
        for segment_id in summarised:
            if segment_id == ids[0] and tells_of_others:
                await self._tell_of_others(segment_id, home)
            else:
                await self._summarise(segment_id, ids[-1], home)
        last = await home.head(ids[-1]) if redacted or summarised else None
        if last is not None:
            await home.update(last, note_rewriting)
        return len(redacted)

    async def _tell_of_others(self, segment_id: str, home: HomeStore) -> None:
        """Make the first summary of a fork anew, which is about the conversation that it was forked from."""
        first = await home.head(segment_id)
        origin = None if first is None else first.metadata.properties.get(FORKED_FROM)
        if first is None or not isinstance(origin, dict):
            return
        source = await home.head(str(origin.get("session_id")))
        notes = NO_NOTES if source is None else (await background_of(source, home)).notes
        with suppress(SessionNotFound):
            await home.append(first, [summary_of_fork(await self._summarizer.within(notes))])

    async def _summarise(self, segment_id: str, last_id: str, home: HomeStore) -> None:
        """Make the summary of a closed segment anew, without asking a model."""
        segment = await home.get(segment_id) if segment_id != last_id else None
        if segment is not None:
            with suppress(SessionNotFound):
                await close_segment(segment, home, self._summarizer, may_ask=False)


async def _by_descent(conversations: Sequence[str], home: HomeStore) -> list[str]:
    """Forks, each after those that it was forked from."""
    generations: dict[str, int] = {}
    for each in conversations:
        session = await home.head(each)
        if session is not None:
            generations[each] = len(origins_of(session.metadata.properties))
    return sorted(generations, key=generations.__getitem__)


@dataclass(slots=True)
class _Words:
    """The words to remove, by the ids of the original events."""

    whole: set[str] = field(default_factory=set)
    """The events that lose all their words: the parts of one answer, or one event."""
    calls: dict[str, set[str]] = field(default_factory=dict)
    """Events that contain the arguments of a removed call, and the ids of these calls."""
    conversation: str | None = None
    """The conversation of the originals, if it is another one."""

    def is_taken_from(self, event: AnyEvent) -> bool:
        """Whether the event loses all its words."""
        return origin_of(event).event_id in self.whole

    def taken_from(self, event: AnyEvent) -> AnyEvent:
        """The event without these words; the event itself if it contains none of them."""
        first = origin_of(event).event_id
        now = _without_words(event) if first in self.whole else event
        if first in self.calls and first not in self.whole:
            now = _without_arguments(event, self.calls[first])
        return event if now == event else now


async def _words_of(event_id: str, ids: Sequence[str], home: HomeStore) -> _Words:
    """The words that are removed with an event's.

    Raises:
        InvalidInput: the conversation has no such event, or it has no words.
    """
    for at in reversed(range(len(ids))):
        segment = await home.get(ids[at])
        event = None if segment is None else segment.event(event_id)
        if segment is None or event is None:
            continue
        if event.type not in {EventType.MESSAGE, EventType.TOOL_CALL}:
            raise InvalidInput(_OPERATION, "only messages and tool calls have words to redact")
        beside = [await home.get(each) for each in ids[max(0, at - 1) : at + 2]]
        return _with_parts(event, [each for one in beside if one is not None for each in one.events])
    raise InvalidInput(_OPERATION, "the conversation has no event with this id")


def _with_parts(event: AnyEvent, events: Sequence[AnyEvent]) -> _Words:
    """An event's words, those of parts of the same answer, and the other places of its calls' arguments."""
    parts = {event.id}
    links = [(each.id, each.metadata[REPLACES]) for each in events if REPLACES in each.metadata]
    for one, other in [*links, *reversed(links)]:
        if one in parts or other in parts:
            parts |= {one, other}
    words = _Words(conversation=next(iter(origin_of(event).conversations), None))
    words.whole = {origin_of(each).event_id for each in events if each.id in parts}
    for turn in turns_of(events):
        for result in turn.results:
            if result.event is None or turn.event is result.event:
                continue
            call_id = str(calls_of(turn.row)[result.call].get("id"))
            for one, other in ((turn.event, result.event), (result.event, turn.event)):
                if one.id in parts:
                    words.calls.setdefault(origin_of(other).event_id, set()).add(call_id)
    return words


def _without_words(event: AnyEvent) -> AnyEvent:
    """An event without its words: its times, kinds, names of tools, counts and bill stay."""
    message: Any = event.message
    if event.type == EventType.TOOL_CALL and isinstance(message, dict):
        message = {
            "tool": message.get("tool"),
            "arguments": _emptied(message.get("arguments")),
            "result": REDACTED,
            "error": REDACTED if message.get("error") is not None else None,
        }
    elif isinstance(message, dict) and "role" in message:
        row: dict[str, Any] = {name: message[name] for name in ("role", "name") if name in message}
        row["content"] = None if content_of(message) is None else REDACTED
        calls = calls_of(message)
        message = row | ({"tool_calls": [_without_argument(call) for call in calls]} if calls else {})
    else:
        message = REDACTED
    metadata = {name: value for name, value in event.metadata.items() if name != "row"}
    return event.model_copy(update={"message": message, "metadata": metadata, "native": None})


def _without_arguments(event: AnyEvent, call_ids: set[str]) -> AnyEvent:
    """An event without the arguments of calls; the rest stays, but an answer loses its native form."""
    message = event.message
    if not isinstance(message, dict):
        return event
    if event.type == EventType.TOOL_CALL:
        return event.model_copy(
            update={"message": message | {"arguments": _emptied(message.get("arguments"))}}
        )
    calls = [
        _without_argument(call) if str(call.get("id")) in call_ids else call for call in calls_of(message)
    ]
    return event.model_copy(update={"message": message | {"tool_calls": calls}, "native": None})


def _without_argument(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(function_of(call))
    for name in ("arguments", "input"):
        if name in function:
            function[name] = "{}" if isinstance(function[name], str) else _emptied(function[name])
    kind = "custom" if "custom" in call else "function"
    return {name: value for name, value in call.items() if name in {"id", "type", "index"}} | {kind: function}


def _emptied(arguments: Any) -> Any:
    return {} if isinstance(arguments, Mapping) else None if arguments is None else REDACTED
