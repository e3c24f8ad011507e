"""Bodies: the bytes of images, audio, files and long tool results, which stores keep once.

In an event's JSON, an object with the key "$body" replaces the text. It has the SHA-256 of the bytes, their
size, and how the text wrote them. A store keeps the bytes under their hash, once for each sandbox, as long as
an event refers to them. A text in base64 is kept as decoded bytes, if encoding these gives exactly the same
text; any other text is kept as UTF-8.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from ..models import EventType, SessionEvent

_BODY = "$body"
# Text results with more characters than this are bodies too.
_LONG_RESULT = 65_536
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,")
_HASH = re.compile(rf'"\{_BODY}":"([0-9a-f]{{64}})"')
# Keys whose values are inline bytes: always, or in an object that a key or its type marks as media.
_ALWAYS = {"file_data", "b64_json", "bytes", "partial_image_b64"}
_IN_MEDIA = {"data", "blob", "base64"}
_GENERATED = "image_generation_call"
_BESIDE = {"media_type", "mediaType", "mime_type", "mimeType", "format", "transcript", "expires_at"}
_TYPES = {"base64", "image", "audio", "file", "document", "media", "input_audio", "video", "blob"}


_KEYS = frozenset(_ALWAYS | _IN_MEDIA | {_BODY})


class Taken(NamedTuple):
    """The fields of an event as they are stored, and the bodies that were taken out of them."""

    fields: dict[str, Any]
    bodies: dict[str, bytes]


NOTHING_TAKEN = Taken({}, {})


def take_out(event: SessionEvent[Any]) -> Taken:
    """Take the bodies out of an event; for the many events without bodies, there are no fields."""
    takes_long = event.type == EventType.TOOL_CALL
    if isinstance(event.message, str) and event.native is None and not takes_long:
        return NOTHING_TAKEN
    if not _may_have_bodies(
        [event.message, event.native, event.metadata if takes_long else None], takes_long
    ):
        return NOTHING_TAKEN
    taking = _Taking(takes_long=takes_long)
    message = taking.value(event.message)
    native = None if event.native is None else taking.value(event.native)
    metadata = taking.value(event.metadata) if takes_long else event.metadata
    if not taking.marks:
        return NOTHING_TAKEN
    return Taken({"message": message, "native": native, "metadata": metadata}, taking.bodies)


def _may_have_bodies(values: list[Any], takes_long: bool) -> bool:
    """Whether values may have bodies: a quick check for events that are more than a text."""
    while values:
        value = values.pop()
        if isinstance(value, dict):
            if not _KEYS.isdisjoint(value) or value.get("type") == _GENERATED:
                return True
            value = value.values()
        elif isinstance(value, str):
            value = (value,)
        elif not isinstance(value, list | tuple):
            continue
        for item in value:
            if isinstance(item, str):
                if item.startswith("data:") or (takes_long and len(item) > _LONG_RESULT):
                    return True
            elif isinstance(item, dict | list | tuple):
                values.append(item)
    return False


def hashes_in(text: str) -> set[str]:
    """The hashes of the bodies to which the JSON of events refers."""
    return set(_HASH.findall(text)) if has_marks(text) else set()


def has_marks(text: str) -> bool:
    """Whether the JSON of events may have marks in place of bodies."""
    return "$" in text and _BODY in text  # a single character is found forty times faster


class PutBack:
    """Puts bodies back into events; events with the same body share one text.

    Args:
        found: the bytes, by hash.
    """

    def __init__(self, found: Mapping[str, bytes]) -> None:
        self._found = found
        self._texts: dict[tuple[str, ...], str] = {}

    def into(self, event: SessionEvent[Any]) -> None:
        """Put the bodies into an event.

        Raises:
            LookupError: a body is missing.
            ValueError: a mark is not one that `take_out` makes.
        """
        event.message = self._value(event.message)
        if event.type == EventType.TOOL_CALL:  # nothing is taken out of other metadata
            event.metadata = self._value(event.metadata)
        if event.native is not None:
            event.native = self._value(event.native)

    def _value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._body(value) if _BODY in value else {k: self._value(v) for k, v in value.items()}
        return [self._value(item) for item in value] if isinstance(value, list) else value

    def _body(self, mark: dict[str, Any]) -> Any:
        if mark[_BODY] is None:  # the application's own key of this name
            return {name: self._value(item) for name, item in mark["fields"]}
        where = mark[_BODY], mark["form"], mark.get("prefix", "")
        if where not in self._texts:
            data = self._found[mark[_BODY]]
            text = b64encode(data).decode() if mark["form"] == "base64" else data.decode()
            self._texts[where] = where[2] + text
        return self._texts[where]


class _Taking:
    """Takes bodies out of JSON values.

    Args:
        takes_long: whether long texts are taken out too.
    """

    def __init__(self, *, takes_long: bool) -> None:
        self._takes_long = takes_long
        self.bodies: dict[str, bytes] = {}
        self.marks = 0

    def value(self, value: Any) -> Any:
        """A value in which marks replace the bodies."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            fields = {name: self._field(name, item, value) for name, item in value.items()}
            if _BODY in value:
                self.marks += 1
                return {_BODY: None, "fields": [[name, item] for name, item in fields.items()]}
            return fields
        return [self.value(item) for item in value] if isinstance(value, list | tuple) else value

    def _field(self, name: str, value: Any, holder: Mapping[str, Any]) -> Any:
        if isinstance(value, str):
            return self._text(value, is_data=bool(value) and _is_data(name, holder))
        return self.value(value)

    def _text(self, text: str, *, is_data: bool = False) -> Any:
        if text.startswith("data:") and (url := _DATA_URL.match(text)):
            return self._mark(text[url.end() :], prefix=url[0])
        if is_data:
            return self._mark(text)
        if self._takes_long and len(text) > _LONG_RESULT:
            return self._kept(text.encode(), "text")
        return text

    def _mark(self, text: str, prefix: str = "") -> dict[str, Any]:
        try:
            data = b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if data and b64encode(data).decode() == text:
            return self._kept(data, "base64", prefix)
        return self._kept(text.encode(), "text", prefix)

    def _kept(self, data: bytes, form: str, prefix: str = "") -> dict[str, Any]:
        self.marks += 1
        name = sha256(data).hexdigest()
        self.bodies[name] = data
        mark = {_BODY: name, "size": len(data), "form": form}
        return mark | {"prefix": prefix} if prefix else mark


def is_body(text: str, name: object, holder: object, *, takes_long: bool) -> bool:
    """Whether a text is a body, and is stored apart from its event.

    Args:
        text: the text.
        name: the text's key, if it stands in an object.
        holder: the object or list in which the text stands.
        takes_long: whether long texts are bodies, as in tool results.
    """
    if text.startswith("data:"):
        return _DATA_URL.match(text) is not None
    if isinstance(holder, Mapping) and text and _is_data(str(name), holder):
        return True
    return takes_long and len(text) > _LONG_RESULT


def _is_data(name: str, holder: Mapping[str, Any]) -> bool:
    """Whether a field has inline bytes of media."""
    if name in _ALWAYS:
        return True
    if name == "result":
        return holder.get("type") == _GENERATED
    if name not in _IN_MEDIA:
        return False
    kind = holder.get("type")
    return not _BESIDE.isdisjoint(holder) or (isinstance(kind, str) and kind in _TYPES)
