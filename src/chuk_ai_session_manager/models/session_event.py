"""An event: a record of something that happened in a session."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Generic, NamedTuple, Self

from pydantic import Field
from typing_extensions import TypeVar

from ..accounts.pricing import load_prices
from ..exceptions import InvalidInput
from ..exceptions.validation import check_length
from .amounts import WithAmounts, costs_in
from .event_source import EventSource
from .event_type import EventType
from .record import MetadataVerbs, new_id, utc_now
from .token_usage import CallUsage, TokenUsage

MessageT = TypeVar("MessageT", default=Any)

REPLACES = "replaces_event_id"
"""Metadata of an answer of which a part was stored while it was still arriving: the id of the part's event.

The answer's `token_usage` and `usage` contain only what the part's do not."""


COPY_OF = "copy_of"
"""Metadata of an event that a fork copied: `{"event_id": "...", "conversations": ["..."]}`.

The id is that of the first original; the conversations are those on the way from there to the fork."""


class Origin(NamedTuple):
    """Where an event was said."""

    event_id: str
    conversations: tuple[str, ...] = ()
    """The conversations that it was copied from, one fork after the other; none where it was said here."""


def origin_of(event: SessionEvent[Any]) -> Origin:
    """Where an event was said first, and by which conversations it came here."""
    copy = event.metadata.get(COPY_OF)
    match copy:
        case {"event_id": str(event_id), "conversations": list(ids)}:
            return Origin(event_id, tuple(each for each in ids if isinstance(each, str)))
    return Origin(event.id)


REDACTED = "[redacted]"
"""The text that replaces an event's words for good."""


def content_of(message: Any) -> Any:
    """The content of a message: a text itself, or the `content` of a chat message."""
    is_row = isinstance(message, dict) and ("content" in message or "role" in message)
    return message.get("content") if is_row else message


def check_event_length(event: SessionEvent[Any]) -> None:
    """Raise if an event's message, native form and metadata are longer than any store accepts.

    Raises:
        InvalidInput: naming the limit.
    """
    native = () if event.native is None else (event.native,)  # in lists, `None` counts as a character
    check_length("an event", "store an event", event.message, *native, event.metadata)


def new_event(
    message: Any,
    source: EventSource,
    type: EventType,  # noqa: A002  (the field's name)
    metadata: dict[str, Any],
    timestamp: datetime | None = None,
) -> SessionEvent[Any]:
    """An event, of just now by default, of a message and metadata that were checked and are its own."""
    return SessionEvent.of_valid(
        {
            "metadata": metadata,
            "id": new_id(),
            "message": message,
            "timestamp": timestamp or utc_now(),
            "source": source,
            "type": type,
        }
    )


def check_cost(event: SessionEvent[Any]) -> None:
    """Raise if an event's cost is infinite or not a number, which would spoil every sum.

    Raises:
        InvalidInput: naming the rule.
    """
    if not math.isfinite(costs_in(event)):
        raise InvalidInput("add an event", "a cost must be a finite number of USD")


class SessionEvent(MetadataVerbs, WithAmounts, Generic[MessageT]):
    """A record of something that happened: a message, a tool call, a summary.

    Its repr shows neither the message nor the metadata, so that logs contain no content.
    """

    id: str = Field(default_factory=new_id)
    """A uuid, created before anything is stored: if the event is appended again, it is stored only once."""
    message: MessageT = Field(repr=False)
    """The content: a text, or for a tool call its `tool`, `arguments`, `result` and `error`."""
    timestamp: datetime = Field(default_factory=utc_now)
    """When it happened; with a time zone."""
    source: EventSource = EventSource.SYSTEM
    """The source: the user, a model, or the system."""
    type: EventType = EventType.MESSAGE
    """The kind of event."""
    metadata: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Additional values: `model` and `provider` of an answer, and the application's own."""
    parent_event_id: str | None = None
    """The event that this one answers or belongs to."""
    task_id: str | None = None
    """The run that the event is part of."""
    token_usage: TokenUsage | None = None
    """The length of the message in content tokens."""
    usage: CallUsage | None = None
    """The bill of the model call that made the message."""
    native: dict[str, Any] | None = Field(default=None, repr=False)
    """An answer as its provider gave it. `format` names the provider's format ("openai", "anthropic" …),
    `message` is the provider's own message, complete, and `response` is everything else in the response (its
    id, model, usage, other choices). The event's `message` is the same answer in the common form."""
    context: str | None = None
    """For an answer: the fingerprint of the context that the model was given, if it is known. It decides
    whether signed parts of the answer may be sent back to the provider."""

    @classmethod
    async def create_with_tokens(
        cls,
        message: MessageT,
        prompt: str | None,
        completion: str | None = None,
        model: str = "gpt-3.5-turbo",
        source: EventSource = EventSource.SYSTEM,
        type: EventType = EventType.MESSAGE,  # noqa: A002  (the field's name)
        **event_fields: Any,
    ) -> Self:
        """Create an event whose `token_usage` counts the two texts for the model.

        Args:
            message: the content.
            prompt: the text that counts as sent to the model.
            completion: the text that counts as the model's answer.
            model: the model whose tokens are counted; the default is the original's, so pass yours.
            source: the source of the event.
            type: the kind of event.
            **event_fields: other fields of the event, such as `task_id`.
        """
        usage = await TokenUsage.from_text(prompt, completion, model)
        return cls(message=message, source=source, type=type, token_usage=usage, **event_fields)

    async def update_token_usage(
        self,
        prompt: str | None = None,
        completion: str | None = None,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        model: str = "gpt-3.5-turbo",
    ) -> None:
        """Replace `token_usage`: by counts of the texts or, if you pass no text, by the numbers.

        Raises:
            InvalidSessionOperation: a count is below 0.
        """
        if prompt is not None or completion is not None:
            self.token_usage = await TokenUsage.from_text(prompt, completion, model)
        else:
            await load_prices()
            self.token_usage = TokenUsage(
                prompt_tokens=prompt_tokens or 0, completion_tokens=completion_tokens or 0, model=model
            )

    async def calculate_tokens(self, model: str = "gpt-3.5-turbo") -> int:
        """Return the event's length in tokens: from its `token_usage`, or else by counting its message."""
        if self.token_usage is not None:
            return self.token_usage.total_tokens
        return await TokenUsage.count_tokens(str(self.message), model)

    async def update_metadata(self, key: str, value: Any) -> None:
        """Set a metadata value, as `set_metadata` does."""
        self.metadata[key] = value

    async def merge_metadata(self, new_metadata: dict[str, Any]) -> None:
        """Set several metadata values."""
        self.metadata.update(new_metadata)

    async def clear_metadata(self) -> None:
        """Remove all metadata."""
        self.metadata.clear()

    def is_child_of(self, parent_event_id: str) -> bool:
        """Whether `parent_event_id` is the event's parent."""
        return self.parent_event_id == parent_event_id

    def is_part_of_task(self, task_id: str) -> bool:
        """Whether the event belongs to this task."""
        return self.task_id == task_id

    async def to_dict(self) -> dict[str, Any]:
        """Return the event as plain values; parent, task and token usage only if there are any."""
        plain: dict[str, Any] = {
            "id": self.id,
            "message": self.message,
            "timestamp": self.timestamp.isoformat(),
            "source": self.source.value,
            "type": self.type.value,
            "metadata": self.metadata,
        }
        if self.parent_event_id:
            plain["parent_event_id"] = self.parent_event_id
        if self.task_id:
            plain["task_id"] = self.task_id
        if self.token_usage:
            plain["token_usage"] = self.token_usage.model_dump(exclude={"estimated"})
        if self.native:
            plain["native"] = self.native
        return plain
