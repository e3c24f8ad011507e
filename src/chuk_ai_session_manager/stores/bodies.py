"""Bodies: the bytes of images, audio, files and long tool results, which stores keep once.

In an event's JSON, an object with the key "$body" replaces the text. It has the SHA-256 of the bytes, their
size, how the text wrote them and, for media, what their tokens depend on. A store keeps the bytes under
their hash, once for each sandbox, as long as an event refers to them. A text in base64 is kept as decoded
bytes, if encoding these gives exactly the same text; any other text is kept as UTF-8.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from ..accounts.media import Measure, measured
from ..exceptions import InvalidSessionOperation
from ..models import EventType, SessionEvent
from ..models.absent_text import AbsentText
from ..providers.parts import image_type_in, media_parts

_BODY, _MEASURE = "$body", "measure"
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


# A list of images in base64, whose types are not named (https://docs.ollama.com/api/chat).
_IMAGES = "images"
_KEYS = frozenset(_ALWAYS | _IN_MEDIA | {_BODY, _IMAGES})
# The parts of a message or a result whose bytes need not be read to make a context of them.
_PARTS = {
    "image_url", "input_audio", "file", "input_image", "input_file", "image", "document", "audio", "resource",
}  # fmt: skip


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


def needed_hashes(events: Iterable[SessionEvent[Any]], *, may_lack: bool) -> set[str]:
    """The hashes of the bodies of events that have marks in their place.

    Args:
        events: the events.
        may_lack: leave out those for which an `AbsentText` may stand: media in parts of messages and results
            and in native forms, if the mark says what their tokens depend on.
    """
    return {
        mark[_BODY]
        for event in events
        for mark, may_be_absent in _marks_in(event)
        if not (may_lack and may_be_absent)
    }


def _marks_in(event: SessionEvent[Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    """The marks in an event, each with whether an `AbsentText` may stand there."""
    parts = {id(part) for part in _parts_of(event)}
    of_metadata = event.metadata if event.type == EventType.TOOL_CALL else None
    waiting = [(event.message, False), (of_metadata, False), (event.native, True)]
    while waiting:
        value, is_free = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get(_BODY), str):
                yield value, is_free and _MEASURE in value
                continue
            is_free = is_free or id(value) in parts
            waiting += [(item, is_free) for item in value.values()]
        elif isinstance(value, list):
            waiting += [(item, is_free) for item in value]


def _parts_of(event: SessionEvent[Any]) -> Iterator[Any]:
    """The parts of a message or a result that go into a context as they are, and never into a text."""
    message = event.message if isinstance(event.message, dict) else {}
    contents = [message.get("content")]
    if event.type == EventType.TOOL_CALL:
        row = event.metadata.get("row")
        result = None if message.get("error") is not None else message.get("result")
        contents = [result, row.get("content") if isinstance(row, dict) else None]
        contents = [
            each.get("content") if isinstance(each, dict) else each
            for each in contents
            if media_parts(_with_names(each)) is not None
        ]
    for content in contents:
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") in _PARTS:
                yield part


def _with_names(value: Any) -> Any:
    """A value in which a text stands for each mark."""
    if isinstance(value, dict):
        if isinstance(name := value.get(_BODY), str):
            return name
        return {key: _with_names(item) for key, item in value.items()}
    return [_with_names(item) for item in value] if isinstance(value, list) else value


class PutBack:
    """Puts bodies back into events; events with the same body share one text.

    Args:
        found: the bytes, by hash.
        may_lack: whether an `AbsentText` is put where a body is not among these.
    """

    def __init__(self, found: Mapping[str, bytes], *, may_lack: bool = False) -> None:
        self._found = found
        self._may_lack = may_lack
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
            if self._may_lack and mark[_BODY] not in self._found:
                self._texts[where] = _absent(mark)
            else:
                self._texts[where] = where[2] + _text_of(self._found[mark[_BODY]], mark["form"])
        return self._texts[where]


def _text_of(data: bytes, form: str) -> str:
    return b64encode(data).decode() if form == "base64" else data.decode()


def _absent(mark: dict[str, Any]) -> AbsentText:
    about = mark[_MEASURE]
    characters = -(-mark["size"] // 3) * 4 if mark["form"] == "base64" else mark["size"]
    pixels = about.get("pixels")
    measure = Measure(
        characters, tuple(pixels) if pixels else None, about.get("bytes_a_second"), about.get("pages")
    )
    prefix, size = mark.get("prefix", ""), about.get("bytes", mark["size"])
    return AbsentText(mark[_BODY], mark["form"], prefix, size, measure)


def text_in_place_of(absent: AbsentText, data: bytes) -> str:
    """The text for which an `AbsentText` stands.

    Args:
        absent: stands for it.
        data: the bytes with its hash.
    """
    return (absent.prefix + _text_of(data, absent.form))[absent.cut]


def without_measures(value: Any) -> Any:
    """An event's field with marks as earlier releases made them: without what the tokens depend on."""
    if isinstance(value, dict):
        kept = {name: without_measures(item) for name, item in value.items()}
        if isinstance(kept.get(_BODY), str):
            kept.pop(_MEASURE, None)
        return kept
    return [without_measures(item) for item in value] if isinstance(value, list) else value


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
            return self._text(value, is_data=bool(value) and _is_data(name, holder, value))
        if name == _IMAGES and isinstance(value, list):
            return [self._field(name, item, holder) for item in value]
        return self.value(value)

    def _text(self, text: str, *, is_data: bool = False) -> Any:
        if isinstance(text, AbsentText):
            raise InvalidSessionOperation(
                "This event was read without the bytes of its images or files, so it cannot be stored"
            )
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
        about = _measure(text)
        if data and b64encode(data).decode() == text:
            return self._kept(data, "base64", prefix) | {_MEASURE: about}
        of_text = {"bytes": len(text) * 3 // 4 - text[-2:].count("=")}
        return self._kept(text.encode(), "text", prefix) | {_MEASURE: about | of_text}

    def _kept(self, data: bytes, form: str, prefix: str = "") -> dict[str, Any]:
        self.marks += 1
        name = sha256(data).hexdigest()
        self.bodies[name] = data
        mark = {_BODY: name, "size": len(data), "form": form}
        return mark | {"prefix": prefix} if prefix else mark


def _measure(text: str) -> dict[str, Any]:
    """What the tokens of media depend on, beside their size."""
    measure = measured(text.replace("-", "+").replace("_", "/"))
    found = {name: value for name, value in measure._asdict().items() if value is not None}
    del found["characters"]
    return found


def is_body(text: str, name: object, holder: object, *, takes_long: bool) -> bool:
    """Whether a text is a body, and is stored apart from its event.

    Args:
        text: the text.
        name: the text's key, or that of the list in which it stands.
        holder: the object or list in which the text stands.
        takes_long: whether long texts are bodies, as in tool results.
    """
    if text.startswith("data:"):
        return _DATA_URL.match(text) is not None
    fields = holder if isinstance(holder, Mapping) else {}
    if text and (fields or name == _IMAGES) and _is_data(str(name), fields, text):
        return True
    return takes_long and len(text) > _LONG_RESULT


def _is_data(name: str, holder: Mapping[str, Any], text: str) -> bool:
    """Whether a field has inline bytes of media."""
    if name in _ALWAYS:
        return True
    if name == _IMAGES:
        return bool(image_type_in(text))
    if name == "result":
        return holder.get("type") == _GENERATED
    if name not in _IN_MEDIA:
        return False
    kind = holder.get("type")
    return not _BESIDE.isdisjoint(holder) or (isinstance(kind, str) and kind in _TYPES)
