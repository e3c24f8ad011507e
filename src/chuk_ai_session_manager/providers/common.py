"""Reading values of providers: SDK objects as JSON, fields, lists, names, and the texts in a content."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from importlib import import_module
from typing import Any

from pydantic_core import to_json

from ..exceptions.validation import copied, json_misfit

# Google's JSON writes bytes in this alphabet, all other providers' JSON in the standard one.
_URL_SAFE = "google"
# xAI's SDK wraps protocol buffers.
_XAI = "xai_sdk"
# Objects nested deeper than this become text: no response is so deep, but an object may contain itself.
_DEPTH = 200


# -- SDK objects ----------------------------------------------------------------------------------


def data_of(value: Any) -> Any:
    """A response, or a piece of one, as the JSON that the API sent.

    Dicts and SDK objects become new dicts of JSON values: fields have their names in the API's JSON, unknown
    fields are included, fields that were not sent are left out, and bytes become base64. Any
    other object is returned as it is; `field_of` reads both. Texts are not changed: one piece of a
    stream may end within a character.
    """
    if isinstance(value, Mapping) or hasattr(value, "model_dump"):
        return json_of(value)
    if isinstance(value, tuple) and value and package_of(value[-1]) == _XAI:  # the response so far, a chunk
        value = value[-1]
    if package_of(value) == _XAI:
        value = getattr(value, "proto", value)
    return _fields_of_buffer(value) if hasattr(value, "ListFields") else value


def _fields_of_buffer(message: Any) -> Any:
    """A protocol buffer as JSON, with the names that its fields have in the protocol."""
    write = import_module("google.protobuf.json_format").MessageToDict
    return write(message, preserving_proto_field_name=True)


def json_of(value: Any, *, url_safe: bool = False, _depth: int = 0) -> Any:
    """Any value as new JSON values; SDK objects become dicts of their fields.

    Args:
        value: the value.
        url_safe: whether bytes are written in the alphabet of Google's JSON.
    """
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes | bytearray | datetime | date):
        return _text_of(value, url_safe=url_safe)
    if hasattr(value, "model_dump"):
        url_safe = url_safe or package_of(value) == _URL_SAFE
        value = _fields_of_model(value)
    elif is_dataclass(value) and not isinstance(value, Mapping | type):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    if _depth < _DEPTH and isinstance(value, Mapping):
        return {
            str(name): json_of(item, url_safe=url_safe, _depth=_depth + 1) for name, item in value.items()
        }
    if _depth < _DEPTH and isinstance(value, Sequence | set | frozenset):
        return [json_of(item, url_safe=url_safe, _depth=_depth + 1) for item in value]
    return f"<{type(value).__name__}>"


def _text_of(value: Any, *, url_safe: bool) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    return encode(value).decode()


def _fields_of_model(model: Any) -> Mapping[str, Any]:
    """The fields of an SDK's model that the API sent, with their names in the API's JSON."""
    package = package_of(model)
    how: dict[str, Any] = {"exclude_unset": True}
    if package == "google":
        how = {"exclude_none": True}  # google-genai sets missing fields to None
    elif package.startswith("langchain"):
        how = {}  # this package sets calls itself
    try:
        dumped = model.model_dump(by_alias=True, warnings=False, **how)
    except TypeError:  # another package's `model_dump`, with other parameters
        dumped = model.model_dump()
    return dumped if isinstance(dumped, Mapping) else {}


def package_of(value: object) -> str:
    """The package that a value's type comes from."""
    return type(value).__module__.partition(".")[0]


def mended(text: str) -> str:
    """A text that can be stored: the halves of a surrogate pair are joined, a single half is escaped."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return joined.encode(errors="backslashreplace").decode()
    return text


def all_mended(value: Any) -> Any:
    """A JSON value whose texts can be stored."""
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, dict):
        return {mended(name): all_mended(item) for name, item in value.items()}
    return [all_mended(item) for item in value] if isinstance(value, list) else value


def dumped(value: Any) -> str:
    """A value as JSON text; a text stays as it is."""
    return value if isinstance(value, str) else json.dumps(json_of(value), ensure_ascii=False)


def parsed(text: str) -> Any:
    """The value of a JSON text; the text itself if it is not JSON, as after a cut-off stream."""
    try:
        return json_of(json.loads(text)) if text.strip() else {}
    except (ValueError, RecursionError):
        return text


# -- any value, readably -------------------------------------------------------------------------


def readable_json(value: Any) -> Any:
    """A value as JSON: a copy of a JSON value, or the nearest readable form of any other."""
    if json_misfit(value) is None:
        return copied(value)
    if isinstance(value, Iterator | AsyncIterator):  # reading it would take it away from its owner
        return f"<{type(value).__name__}>"
    if isinstance(value, memoryview):
        value = bytes(value)
    try:
        readable = json.loads(to_json(value, fallback=str, inf_nan_mode="strings", bytes_mode="base64"))
    except Exception:  # noqa: BLE001  (it contains itself, is nested too deeply, or cannot be described)
        return readable_text(value)
    return readable if json_misfit(readable) is None else readable_text(value)


def readable_text(value: Any) -> str:
    """A value as a text that can be stored: half of a surrogate pair is escaped."""
    try:
        return str(value).encode(errors="backslashreplace").decode()
    except Exception:  # noqa: BLE001  (an application's object, whose `__str__` may raise anything)
        return f"<{type(value).__name__}>"


# -- fields ---------------------------------------------------------------------------------------


def field_of(container: Any, *names: str) -> Any:
    """The first of these fields that an object or dict has, or `None`."""
    is_mapping = type(container) is dict or isinstance(container, Mapping)  # the first check is much faster
    for name in names:
        value = container.get(name) if is_mapping else getattr(container, name, None)
        if value is not None:
            return value
    return None


def known_fields(value: Any, *names: str) -> dict[str, Any]:
    """A dict's fields; for an object that is not an SDK's, the fields with these names."""
    if isinstance(value, Mapping):
        return dict(value)
    return {name: found for name in names if (found := field_of(value, name)) is not None}


def is_list(value: object) -> bool:
    """Whether a value is a list or tuple."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def list_of(value: Any) -> Sequence[Any]:
    """A list as it is; an empty one for any other value."""
    return value if is_list(value) else ()


def by_index(choices: Any) -> list[Any]:
    """Choices or candidates in the order of their `index`: the first one is the answer."""

    def index(choice: Any) -> int:
        said = field_of(choice, "index")
        return said if type(said) is int else 0

    return sorted(list_of(choices), key=index)


def text_in(value: object) -> str:
    """A text as it is; an empty one for any other value."""
    return value if isinstance(value, str) else ""


def name_in(value: object) -> str | None:
    """A name; `None` for an empty text, and for any other value."""
    return mended(value) if isinstance(value, str) and value else None


def id_in(value: object) -> str:
    """An id as text, also where a server counts with numbers; an empty one for any other value."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else text_in(value)


def texts_in(content: object) -> list[str]:
    """The texts of a content: itself, or those of its blocks, except thinking."""
    if isinstance(content, str):
        return [content]
    texts = (
        block
        if isinstance(block, str)
        else text_in(field_of(block, "text")) or text_in(field_of(block, "refusal"))
        for block in list_of(content)
        if not field_of(block, "thought")
    )
    return [text for text in texts if text]


def without(container: Any, *names: str) -> dict[str, Any]:
    """A dict's other fields; an empty dict for any other value."""
    if not isinstance(container, Mapping):
        return {}
    return {name: value for name, value in container.items() if name not in names}


def joined(pieces: list[str]) -> str:
    """The text of a stream's pieces so far. It replaces them, so that the next call joins only new ones."""
    if len(pieces) > 1:
        pieces[:] = ["".join(pieces)]
    return pieces[0] if pieces else ""


def merged(before: Any, more: Any) -> Any:
    """A value of a stream, continued by its next piece.

    Texts and lists are continued, the fields of dicts each by itself; any other value is replaced, unless
    the piece has none.
    """
    if more is None:
        return before
    if isinstance(before, str) and isinstance(more, str):
        return before + more
    if isinstance(before, list) and isinstance(more, list):
        return before + more
    if isinstance(before, dict) and isinstance(more, dict):
        return before | {name: merged(before.get(name), value) for name, value in more.items()}
    return more
