"""Texts that an application wants to see before they are stored: its hook gives what is stored instead."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from ..exceptions import InvalidInput
from ..exceptions.validation import check_text
from ..models import SessionEvent
from ..models.session_event import COPY_OF, REPLACES

RedactHook: TypeAlias = Callable[[str], str | Awaitable[str]]
"""Gets a text and gives the text to store: the same, or with words replaced. Sync or async."""

_OPERATION = "redact"

# What is no text of anybody's: ids, kinds, names of models, bytes and signatures.
_STRUCTURE = {
    "created_by", "data", "detail", "encrypted_content", "file_data", "finish_reason", "finishReason",
    "format", "incomplete_reason", "index", "media_type", "mime_type", "mimeType", "model", "modelVersion",
    "object", "phase", "provider", "role", "service_tier", "signature", "source_type", "status",
    "stop_reason",
    "system_fingerprint", "thought_signature", "thoughtSignature", "tool", "type",
}  # fmt: skip
_ABOUT_EVENT = {
    REPLACES, COPY_OF, "callback_failure", "covered", "made_by", "parent_event_id", "question", "question_in",
}  # fmt: skip
_IDS = ("_id", "Id", "_ids", "Ids", "_key")
# The fields of a call, beside which `name` is a tool's.
_CALLED_WITH = ("arguments", "input", "args", "parameters")
_JSON_TEXTS = {"arguments"}
# Arguments and results are the application's own data: a field "status" or "customer_id" may have any text.
_OF_APPLICATIONS = {*_CALLED_WITH, "result"}
# Bytes in base64, as a result's images have them: so many characters at least, beside one of these fields.
_BYTES, _BESIDE_BYTES = {"data", "file_data"}, {"media_type", "mime_type", "mimeType", "format", "filename"}
_BASE64 = re.compile(r"[\w+/=-]{64,}", re.ASCII)


async def redact_events(
    events: Iterable[SessionEvent[Any]], hook: RedactHook, texts: Sequence[str] = ()
) -> list[str]:
    """Let a hook see all texts of events, and replace them by what it gives; all events, or none.

    An answer in which something is replaced loses its `native`: signatures in it would not hold any more.

    Args:
        events: the events, which are changed.
        hook: gets each text once.
        texts: other texts for the hook.

    Returns:
        What the hook gave for the other texts.

    Raises:
        InvalidInput: the hook raised an error, which is the cause, or gave no text.
    """
    events = list(events)
    seen = _Seen(hook)
    changes = [await seen.changes_of(event) for event in events]
    given = [await seen.text(text) for text in texts]
    for event, change in zip(events, changes, strict=True):
        for name, value in change.items():
            setattr(event, name, value)
    return given


def checked_hook(hook: object, operation: str) -> Any:
    """Refuse what is no hook.

    Raises:
        InvalidInput: it cannot be called.
    """
    if hook is not None and not callable(hook):
        raise InvalidInput(operation, f"redact must be a function, not {type(hook).__name__}")
    return hook


class _Seen:
    """What a hook gave for the texts that it saw: each is shown to it once."""

    def __init__(self, hook: RedactHook) -> None:
        self._hook = hook
        self._given: dict[str, str] = {}

    async def changes_of(self, event: SessionEvent[Any]) -> dict[str, Any]:
        """The fields of an event that change."""
        changes: dict[str, Any] = {}
        message = await self._value(event.message)
        if message != event.message:
            changes["message"] = message
        about = {name: value for name, value in event.metadata.items() if name not in _ABOUT_EVENT}
        metadata = await self._value(about, is_metadata=True)
        if metadata != about:
            changes["metadata"] = {name: metadata.get(name, value) for name, value in event.metadata.items()}
        if event.native is not None and (
            "message" in changes or await self._value(event.native) != event.native
        ):
            changes["native"] = None
        return changes

    async def text(self, text: str) -> str:
        """What is stored in a text's place."""
        if not text.strip():
            return text
        if text not in self._given:
            try:
                given = self._hook(text)
                given = await given if inspect.isawaitable(given) else given
            except Exception as problem:  # an application's function may raise anything
                reason = f"the hook raised {type(problem).__name__}; nothing was written"
                raise InvalidInput(_OPERATION, reason) from problem
            check_text(given, "what the hook returns", _OPERATION)
            self._given[text] = given
        return self._given[text]

    async def _value(self, value: Any, *, is_metadata: bool = False) -> Any:
        if isinstance(value, str):
            return await self.text(value)
        if isinstance(value, list | tuple):
            return [await self._value(item) for item in value]
        if isinstance(value, Mapping):
            structure = _STRUCTURE - {"data", "detail"} if is_metadata else _STRUCTURE
            if any(name in value for name in _CALLED_WITH):
                structure = structure | {"name"}
            return {name: await self._field(name, item, structure) for name, item in value.items()}
        return value

    async def _field(self, name: str, value: Any, structure: Collection[str]) -> Any:
        if name in _JSON_TEXTS and isinstance(value, str):
            return await self._json(value)
        if name in _OF_APPLICATIONS:
            return await self._of_application(value)
        if not isinstance(value, str):
            return await self._value(value)
        if name in structure or name in {"id", "ids"} or name.endswith(_IDS) or value.startswith("data:"):
            return value
        return await self.text(value)

    async def _of_application(self, value: Any) -> Any:
        """Arguments or a result: the hook sees all texts but kinds of parts and bytes."""
        if isinstance(value, str):
            return value if value.startswith("data:") else await self.text(value)
        if isinstance(value, list | tuple):
            return [await self._of_application(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        has_bytes = any(name in value for name in _BESIDE_BYTES)
        return {
            name: item
            if name == "type" or (has_bytes and name in _BYTES and _is_base64(item))
            else await self._of_application(item)
            for name, item in value.items()
        }

    async def _json(self, text: str) -> str:
        """A text of JSON, of which the hook sees the texts."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return await self.text(text)
        redacted = await self._of_application(value)
        return text if redacted == value else json.dumps(redacted, ensure_ascii=False)


def _is_base64(value: Any) -> bool:
    return isinstance(value, str) and _BASE64.fullmatch(value) is not None
