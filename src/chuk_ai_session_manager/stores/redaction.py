"""Texts that an application wants to see before they are stored: its hook gives what is stored instead."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from ..exceptions import InvalidInput
from ..exceptions.validation import check_callable, check_text
from ..models import SessionEvent
from ..models.session_event import COPY_OF, REPLACES
from ..providers.parts import part_of

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
# Metadata in forms that the library has defined.
_OWN_FORMS = {"notes", "row", "shown"}
# The fields of providers' forms have such names, and so have the fields of metadata.
_FIELD = re.compile(r"[A-Za-z_$][\w$.:-]*", re.ASCII)
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
    if hook is not None:
        check_callable(hook, "redact", operation)
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
        metadata = await self._metadata(event.metadata)
        if metadata != event.metadata:
            changes["metadata"] = metadata
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

    async def _metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Metadata: the library's own fields, and those of the application."""
        structure = _STRUCTURE - {"data", "detail"}
        seen: dict[str, Any] = {}
        for name, value in metadata.items():
            if name in _ABOUT_EVENT:
                seen[name] = value
            elif isinstance(value, Mapping | list | tuple) and name not in _OWN_FORMS:
                seen[await self._key(name, seen)] = await self._of_application(value)
            else:
                seen[await self._key(name, seen)] = await self._field(name, value, structure)
        return seen

    async def _key(self, key: str, seen: Collection[str], *, may_be_field: bool = True) -> str:
        """What is stored in a key's place; two keys never become one.

        Args:
            key: the key.
            seen: the keys of the same object that were seen before.
            may_be_field: whether a key that could be the name of a field is one, and no text.
        """
        if may_be_field and _FIELD.fullmatch(key):
            return key
        given = new = await self.text(key)
        count = 1
        while new in seen:
            count += 1
            new = f"{given} ({count})"
        return new

    async def _value(self, value: Any) -> Any:
        """A value in a form that the library or a provider defines."""
        if isinstance(value, str):
            return await self.text(value)
        if isinstance(value, list | tuple):
            return [await self._value(item) for item in value]
        if isinstance(value, Mapping):
            has_call = any(name in value for name in _CALLED_WITH)
            structure = _STRUCTURE | {"name"} if has_call else _STRUCTURE
            seen: dict[str, Any] = {}
            for name, item in value.items():
                seen[await self._key(name, seen)] = await self._field(name, item, structure)
            return seen
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

    async def _of_application(self, value: Any, *, is_part: bool = False) -> Any:
        """Arguments, a result or metadata: the hook sees all texts and keys but kinds of parts and bytes.

        Args:
            value: any JSON value.
            is_part: whether it stands in a part of a message, whose fields an API has named.
        """
        if isinstance(value, str):
            return value if value.startswith("data:") else await self.text(value)
        if isinstance(value, list | tuple):
            return [await self._of_application(item, is_part=is_part) for item in value]
        if not isinstance(value, Mapping):
            return value
        has_bytes = any(name in value for name in _BESIDE_BYTES)
        is_part = is_part or (isinstance(value.get("type"), str) and part_of(value).kind != "other")
        seen: dict[str, Any] = {}
        for name, item in value.items():
            if name == "type" or (has_bytes and name in _BYTES and _is_base64(item)):
                seen[name] = item
            else:
                new = await self._key(name, seen, may_be_field=is_part)
                seen[new] = await self._of_application(item, is_part=is_part)
        return seen

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
