"""Drafts: events that are about to be stored in a conversation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ..accounts.tokens import DEFAULT_MODEL
from ..models import CallUsage, EventSource, EventType, SessionEvent
from ..models.amounts import fields_of, tokens_in
from ..models.record import utc_now
from ..models.session_event import check_event_length, new_event
from ..providers.answers import Answer
from ..providers.common import readable_json, readable_text
from ..providers.failures import failure_in
from ..providers.messages import ChatMessage, calls_of, event_of, text_of, tool_message
from ..providers.parts import Part, media_of
from ..providers.usage import ReportedUsage
from ..stores.redaction import RedactHook, redact_events

# Looked up once, because finding a member of an enum takes as long as a call, and these are used often.
_MESSAGE, _USER, _LLM, _SYSTEM = EventType.MESSAGE, EventSource.USER, EventSource.LLM, EventSource.SYSTEM


@dataclass(slots=True)
class Draft:
    """An event that is about to be stored, with what is counted of it, and the model call that made it."""

    event: SessionEvent[Any]
    text: str | None
    """The text whose tokens are counted; `None` if none are counted."""
    model: str
    provider: str = "unknown"
    is_call: bool = False
    reported: ReportedUsage | None = None
    """The provider's own counts for the call."""
    service_tier: str | None = None
    """The tier that the application names; otherwise, the response's tier is used."""
    response_key: str | None = None
    """Distinguishes the response from all others, if its provider gave it an id."""
    media: Sequence[Part] = ()
    """Images, audio and files, whose tokens are estimated."""
    reader: str = ""
    """The model that reads them, if one was named."""
    partly: ReportedUsage | None = None
    """What the provider counted, if something is missing: the answer was interrupted, or a count left out."""
    written: str | None = None
    """For an interrupted answer: all text that arrived, from which the output is estimated."""
    request: Callable[[], str] | None = None
    """The texts of the request that was sent, if they are known."""
    messages: int = 0
    """How many messages that request had."""
    length: int | None = None
    """The session's content tokens when the model was called; otherwise, the present ones are used."""
    replaces: Draft | None = None
    """A part of the same answer, which was stored before."""
    question_in: str = ""
    """For an answer: the segment that its question is in."""
    has_own_id: bool = False
    """Whether the application chose the event's id: a stored event with the id is this event."""
    is_dated: bool = False
    """Whether the application named the time, which then does not change."""
    counted: int | None = None
    """For an answer: how many tokens we counted in its context."""
    is_pinned: bool = False
    """Whether every context must contain it."""
    is_stored: bool = False
    whole_tokens: int = 0
    """Content tokens of the whole message, of which a part may be counted already."""
    whole_usage: CallUsage | None = None
    """The bill of the whole call, if a part was billed already."""

    @property
    def is_whole(self) -> bool:
        """Whether the draft is not an answer that was stopped, is late, or belongs to a request at hand."""
        return (
            self.written is None
            and self.partly is None
            and self.replaces is None
            and self.request is None
            and self.length is None
        )

    @property
    def whole_bill(self) -> CallUsage | None:
        """The bill of the whole call, once it is made."""
        return self.whole_usage or self.event.usage

    @property
    def asks(self) -> bool:
        """Whether a model must answer it. Limits stop such an event, but no answer and no result."""
        fields = fields_of(self.event)
        is_said: bool = fields["type"] == _MESSAGE
        return is_said and fields["source"] != _LLM

    @property
    def tokens(self) -> int:
        """Content tokens, once they are counted."""
        return tokens_in(self.event)


def draft_question(
    content: str | list[dict[str, Any]],
    model: str,
    metadata: dict[str, Any] | None = None,
    *,
    reader: str | None = None,
) -> Draft:
    """The draft of a user's message.

    Args:
        content: a text, or parts in the form of OpenAI's chat API.
        model: the model whose tokens are counted.
        metadata: additional values.
        reader: the model that will read images and audio, if one was named.
    """
    said = {} if metadata is None else metadata
    if isinstance(content, str):
        return Draft(new_event(content, _USER, _MESSAGE, said), content, model, reader=reader or "")
    row: ChatMessage = {"role": "user", "content": content}
    event = new_event(row, _USER, _MESSAGE, said)
    return Draft(event, text_of(row), model, media=media_of(content), reader=reader or "")


def draft_answer(
    answer: Answer,
    model: str,
    provider: str,
    metadata: dict[str, Any] | None = None,
    *,
    parent_event_id: str | None = None,
    service_tier: str | None = None,
) -> Draft:
    """The draft of an answer; the bill is the answer's usage, or else it is estimated."""
    message = answer.message
    now = utc_now()
    said = described(model, provider, now)
    event = new_event(message, _LLM, _MESSAGE, said, now)
    if metadata:
        said |= metadata
    if answer.finish_reason is not None:
        said.setdefault("finish_reason", answer.finish_reason)
    if parent_event_id is not None:
        event.parent_event_id = parent_event_id
    if answer.native is not None:
        event.native = dict(answer.native)
    text = message if isinstance(message, str) else text_of(message)
    draft = Draft(event, text, model, provider, is_call=True, reported=answer.usage)
    if answer.usage is not None and "unreported" in answer.usage:
        draft.reported, draft.partly = None, answer.usage
    draft.service_tier, draft.response_key = service_tier, answer.key
    return draft


def draft_answers(
    answer: Answer,
    model: str,
    provider: str,
    metadata: dict[str, Any] | None = None,
    *,
    parent_event_id: str | None = None,
    service_tier: str | None = None,
) -> list[Draft]:
    """The drafts of an answer and of the steps that an SDK took before; empty if it is incomplete."""
    if answer.is_pending:
        return []
    drafts = _drafts_before(answer, model, provider, parent_event_id, service_tier) if answer.before else []
    drafts.append(
        draft_answer(
            answer, model, provider, metadata, parent_event_id=parent_event_id, service_tier=service_tier
        )
    )
    return drafts


def _drafts_before(
    answer: Answer, model: str, provider: str, parent_event_id: str | None, service_tier: str | None
) -> list[Draft]:
    """The drafts of the steps that an SDK took before an answer."""
    drafts: list[Draft] = []
    calls: dict[str, ChatMessage] = {}
    for at, step in enumerate(answer.before):
        if isinstance(step, Answer):
            draft = draft_answer(
                step,
                step.model or model,
                provider,
                parent_event_id=parent_event_id,
                service_tier=service_tier,
            )
            calls |= {call["id"]: call for call in step.tool_calls}
        else:
            draft = Draft(event_of(step, calls), text_of(step), model, provider)
        draft.response_key = None if answer.key is None else f"{answer.key}:{at}"
        drafts.append(draft)
    return drafts


def draft_tool_use(
    tool_name: str, arguments: Any, result: Any, error: str | None, metadata: dict[str, Any]
) -> Draft:
    """The draft of a tool call with its result; values that are not JSON are kept as readable text."""
    failure = failure_in(result) if error is None else readable_text(error)
    message = tool_message(tool_name, readable_json(arguments), readable_json(result), failure)
    event = new_event(message, EventSource.SYSTEM, EventType.TOOL_CALL, metadata)
    check_event_length(event)
    return Draft(event, None, "")


def draft_rows(
    rows: Sequence[ChatMessage],
    model: str,
    provider: str = "unknown",
    calls: dict[str, ChatMessage] | None = None,
) -> list[Draft]:
    """The drafts of chat messages; each assistant message is the answer of one call of `model`.

    Args:
        rows: the messages.
        model: the model that gave the answers.
        provider: the provider that ran the model.
        calls: the tool calls of earlier messages by their ids, to which those of these are added.
    """
    calls = {} if calls is None else calls
    drafts = []
    for row in rows:
        event = event_of(row, calls)
        is_answer = row["role"] == "assistant"
        if is_answer:
            event.metadata |= described(model, provider, event.timestamp)
            calls |= {call["id"]: call for call in calls_of(row)}
        counting_model = DEFAULT_MODEL if model == "unknown" and not is_answer else model
        reader = "" if model == "unknown" else model
        media = media_of(row.get("content"))
        drafts.append(
            Draft(
                event, text_of(row), counting_model, provider, is_call=is_answer, media=media, reader=reader
            )
        )
    return drafts


def described(model: str, provider: str, said: datetime) -> dict[str, Any]:
    """The model, the provider and the time of an answer, for its metadata."""
    return {"model": model, "provider": provider, "timestamp": said.isoformat()}


def tell(drafts: Sequence[Draft], event_id: str | None, timestamp: datetime | None) -> None:
    """Give the drafts of one call the application's event id and time.

    Of several drafts, the last one gets the id itself, which shows that all before it are stored. The
    one before gets the id with "#1" at the end, and so on.
    """
    for number, draft in enumerate(reversed(drafts)):
        if event_id is not None:
            draft.event.id = event_id if number == 0 else f"{event_id}#{number}"
            draft.has_own_id, draft.response_key = True, None
        if timestamp is not None:
            draft.event.timestamp, draft.is_dated = timestamp, True
            if draft.is_call:
                draft.event.metadata["timestamp"] = timestamp.isoformat()


class Unfinished(Protocol):
    """An answer whose stream has not ended."""

    is_awaited: bool
    """Whether somebody is waiting for its next piece at this moment."""

    def parts(self, *, before_question: bool) -> list[Draft]:
        """Return drafts of the part that arrived, and of an SDK's steps before; none if nothing new arrived.

        Args:
            before_question: whether the next question follows, so that a call without any answer counts too.
        """

    def part_is_lost(self) -> None:
        """Forget the last part: it could not be stored."""


def what_is_said(row: ChatMessage) -> tuple[str, ...]:
    """What identifies a message: a result by its call, any other message by its text and its media."""
    if row["role"] == "tool":
        return row["role"], row["tool_call_id"]
    media = (part.data or part.url or part.file_id for part in media_of(row.get("content")))
    return row["role"], text_of(row), *media


def tokens_of(drafts: Sequence[Draft]) -> int:
    """The content tokens of several drafts."""
    return sum(draft.tokens for draft in drafts)


def cut_at_question(drafts: Sequence[Draft]) -> Sequence[tuple[Sequence[Draft], bool]]:
    """The drafts up to the last answer, then those of the question; each with whether it is the question."""
    if len(drafts) == 1:
        return ((drafts, drafts[0].asks),)
    happened = len(drafts)
    while happened and drafts[happened - 1].asks:
        happened -= 1
    parts = [(drafts[:happened], False), (drafts[happened:], True)]
    return [(part, asks) for part, asks in parts if part] or [(drafts, False)]


def without_prompt(drafts: Sequence[Draft]) -> tuple[Sequence[Draft], str | None]:
    """Take the plain system message that begins a conversation out of its drafts: it is the system prompt."""
    first = drafts[0].event if drafts else None
    if first is None or first.type != EventType.MESSAGE or first.source != EventSource.SYSTEM:
        return drafts, None
    is_prompt = isinstance(first.message, str) and first.message.strip()
    return (drafts[1:], first.message) if is_prompt else (drafts, None)


async def redact_drafts(drafts: Sequence[Draft], hook: RedactHook) -> None:
    """Pass the texts of drafts to a hook, before they are counted.

    Raises:
        InvalidInput: the hook raised an error, or did not return a text.
    """
    counted = [draft for draft in drafts if draft.text is not None]
    texts = await redact_events(
        [draft.event for draft in drafts], hook, [draft.text or "" for draft in counted]
    )
    for draft, text in zip(counted, texts, strict=True):
        draft.text = text


def may_be_known(draft: Draft) -> bool:
    """Whether the draft may be known already: a prompt, a result, or an event with an id of its own."""
    is_of_system: bool = fields_of(draft.event)["source"] == _SYSTEM
    return is_of_system or draft.response_key is not None or draft.has_own_id


def lacks_call(draft: Draft) -> bool:
    """Whether the draft is a tool's result without the call's arguments."""
    is_tool = draft.event.type == EventType.TOOL_CALL
    return is_tool and draft.text is not None and draft.event.message["arguments"] is None
