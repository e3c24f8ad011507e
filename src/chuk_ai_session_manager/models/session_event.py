"""One record of what happened in a session."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Generic, Self

from pydantic import Field
from typing_extensions import TypeVar

from ..accounts.pricing import load_prices
from ..exceptions import InvalidInput
from ..exceptions.validation import check_length
from .event_source import EventSource
from .event_type import EventType
from .record import MetadataVerbs, Record, new_id, utc_now
from .token_usage import CallUsage, TokenUsage

MessageT = TypeVar("MessageT", default=Any)

REPLACES = "replaces_event_id"
"""Metadata of an answer of which a part was stored before, while it was still coming: that part's event.

Its `token_usage` and `usage` hold what the part's do not."""


def content_of(message: Any) -> Any:
    """What a message says: a text itself, or the `content` of a chat message."""
    is_row = isinstance(message, dict) and ("content" in message or "role" in message)
    return message.get("content") if is_row else message


def check_event_length(event: SessionEvent[Any]) -> None:
    """Refuse an event whose message, native form and metadata are longer than any store takes.

    Raises:
        InvalidInput: naming the limit.
    """
    check_length("an event", "store an event", event.message, event.native, event.metadata)


def check_cost(event: SessionEvent[Any]) -> None:
    """Refuse an event whose cost is infinite or not a number: it would spoil every sum.

    Raises:
        InvalidInput: naming the rule.
    """
    length, call = event.token_usage, event.usage
    for cost in (length.estimated_cost_usd if length else None, call.cost_usd if call else None):
        if cost is not None and not math.isfinite(cost):
            raise InvalidInput("add an event", "a cost must be a finite number of USD")


class SessionEvent(MetadataVerbs, Record, Generic[MessageT]):
    """One record of what happened: a message, a tool call, a summary.

    Its repr shows neither the message nor the metadata, so that logs stay clean of what people said.
    """

    id: str = Field(default_factory=new_id)
    """A uuid, made before anything is stored: appending the event again stores it once."""
    message: MessageT = Field(repr=False)
    """What happened: a text, or for a tool call its `tool`, `arguments`, `result` and `error`."""
    timestamp: datetime = Field(default_factory=utc_now)
    """When; with its zone."""
    source: EventSource = EventSource.SYSTEM
    """Who it comes from."""
    type: EventType = EventType.MESSAGE
    """What kind of thing it is."""
    metadata: dict[str, Any] = Field(default_factory=dict, repr=False)
    """What goes with it: `model` and `provider` of an answer, the application's own."""
    parent_event_id: str | None = None
    """The event that this one answers or belongs to."""
    task_id: str | None = None
    """The run that it is part of."""
    token_usage: TokenUsage | None = None
    """How long the message is: content tokens."""
    usage: CallUsage | None = None
    """What the model call that made the message was billed for."""
    native: dict[str, Any] | None = Field(default=None, repr=False)
    """An answer as its provider gave it: `format` names the provider's format ("openai", "anthropic" …),
    `message` is the provider's own message, with nothing left out, `response` what the response says beside
    the message (its id, model, usage, other choices). `message` says the same in the common form."""
    context: str | None = None
    """Of an answer: the fingerprint of the context that the model was given, where that is known. It tells
    whether what the provider signed may go back to it."""

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
        """Make an event whose `token_usage` counts the two texts for the model.

        Args:
            message: what happened.
            prompt: what is counted as said to the model.
            completion: what is counted as its answer.
            model: whose tokens are counted; the default is the original's, name yours.
            source: who it comes from.
            type: what kind of thing it is.
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
        """Replace `token_usage`: by a count of the texts, or, where no text is given, by the numbers.

        Raises:
            InvalidSessionOperation: a count below 0.
        """
        if prompt is not None or completion is not None:
            self.token_usage = await TokenUsage.from_text(prompt, completion, model)
        else:
            await load_prices()
            self.token_usage = TokenUsage(
                prompt_tokens=prompt_tokens or 0, completion_tokens=completion_tokens or 0, model=model
            )

    async def calculate_tokens(self, model: str = "gpt-3.5-turbo") -> int:
        """How long the event is in tokens: as its `token_usage` says, else by counting its message."""
        if self.token_usage is not None:
            return self.token_usage.total_tokens
        return await TokenUsage.count_tokens(str(self.message), model)

    async def update_metadata(self, key: str, value: Any) -> None:
        """Set one metadata value, as `set_metadata` does."""
        self.metadata[key] = value

    async def merge_metadata(self, new_metadata: dict[str, Any]) -> None:
        """Set several metadata values."""
        self.metadata.update(new_metadata)

    async def clear_metadata(self) -> None:
        """Drop all metadata."""
        self.metadata.clear()

    def is_child_of(self, parent_event_id: str) -> bool:
        """Whether the event's `parent_event_id` is this one."""
        return self.parent_event_id == parent_event_id

    def is_part_of_task(self, task_id: str) -> bool:
        """Whether the event's `task_id` is this one."""
        return self.task_id == task_id

    async def to_dict(self) -> dict[str, Any]:
        """The event as plain values; parent, task and token usage only where there are any."""
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
