"""Values as providers give them: SDK objects as JSON, fields, lists, names, and the texts in a content."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from importlib import import_module
from typing import Any

from pydantic_core import to_json

from ..exceptions.validation import copied, json_misfit

# Google's JSON has this alphabet for bytes, the JSON of all others the standard one.
_URL_SAFE = "google"
# xAI's SDK wraps protocol buffers.
_XAI = "xai_sdk"
# Objects nested deeper than this are written as text: no response is, but an object may contain itself.
_DEPTH = 200


# -- SDK objects ----------------------------------------------------------------------------------


def data_of(value: Any) -> Any:
    """A response, or a piece of one, as the JSON that came over the wire.

    Dicts and the objects of SDKs become dicts of JSON values that nobody else holds: fields under their
    names on the wire, unknown fields included, fields that did not come left out, bytes as base64. Any
    other object is handed back as it is; `field_of` reads both. Texts are as they came: one piece of a
    stream may end with half a character.
    """
    if isinstance(value, Mapping) or hasattr(value, "model_dump"):
        return json_of(value)
    if isinstance(value, tuple) and value and package_of(value[-1]) == _XAI:  # the response so far, a chunk
        value = value[-1]
    if package_of(value) == _XAI:
        value = getattr(value, "proto", value)
    return _fields_of_buffer(value) if hasattr(value, "ListFields") else value


def _fields_of_buffer(message: Any) -> Any:
    """A protocol buffer as JSON, under the names that its fields have in the protocol."""
    write = import_module("google.protobuf.json_format").MessageToDict
    return write(message, preserving_proto_field_name=True)


def json_of(value: Any, *, url_safe: bool = False, _depth: int = 0) -> Any:
    """Any value as JSON values that nobody else holds: SDK objects by their fields.

    Args:
        value: what is to be written.
        url_safe: whether bytes are written in the alphabet of Google's JSON.
    """
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes | bytearray | datetime | date):
        return _text_of(value, url_safe=url_safe)
    if hasattr(value, "model_dump"):
        url_safe = url_safe or package_of(value) == _URL_SAFE
        value = _fields_of_model(value)
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
    """The fields of an SDK's model that came over the wire, under the names that they had there."""
    package = package_of(model)
    how: dict[str, Any] = {"exclude_unset": True}
    if package == "google":
        how = {"exclude_none": True}  # google-genai sets what did not come to None
    elif package.startswith("langchain"):
        how = {}  # it fills in calls itself
    try:
        dumped = model.model_dump(by_alias=True, warnings=False, **how)
    except TypeError:  # a `model_dump` of somebody's own
        dumped = model.model_dump()
    return dumped if isinstance(dumped, Mapping) else {}


def package_of(value: object) -> str:
    """The package that a value's type comes from."""
    return type(value).__module__.partition(".")[0]


def mended(text: str) -> str:
    """A text that can be stored: halves of a surrogate pair side by side joined, a lone one written out."""
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
    """A value as JSON text; a text as it is."""
    return value if isinstance(value, str) else json.dumps(json_of(value), ensure_ascii=False)


def parsed(text: str) -> Any:
    """What a JSON text says; the text itself where it is no JSON, as where a stream was cut."""
    try:
        return json_of(json.loads(text)) if text.strip() else {}
    except (ValueError, RecursionError):
        return text


# -- anything, readably --------------------------------------------------------------------------


def readable_json(value: Any) -> Any:
    """A value as JSON: a copy if it is, else the nearest thing that can be read."""
    if json_misfit(value) is None:
        return copied(value)
    if isinstance(value, Iterator | AsyncIterator):  # to read it would take it from whoever it is for
        return f"<{type(value).__name__}>"
    if isinstance(value, memoryview):
        value = bytes(value)
    try:
        readable = json.loads(to_json(value, fallback=str, inf_nan_mode="strings", bytes_mode="base64"))
    except Exception:  # noqa: BLE001  (it contains itself, is nested too deeply, or fails to say what it is)
        return readable_text(value)
    return readable if json_misfit(readable) is None else readable_text(value)


def readable_text(value: Any) -> str:
    """A value as text that can be stored: half of a surrogate pair is written out."""
    try:
        return str(value).encode(errors="backslashreplace").decode()
    except Exception:  # noqa: BLE001  (a value of an application's own, whatever its `__str__` does)
        return f"<{type(value).__name__}>"


# -- fields ---------------------------------------------------------------------------------------


def field_of(container: Any, *names: str) -> Any:
    """A field of an object or dict, by the first of its names that is there; else `None`."""
    is_mapping = type(container) is dict or isinstance(container, Mapping)  # the first is much the faster
    for name in names:
        value = container.get(name) if is_mapping else getattr(container, name, None)
        if value is not None:
            return value
    return None


def known_fields(value: Any, *names: str) -> dict[str, Any]:
    """A dict's fields; of an object of no SDK, those of these names that are there."""
    if isinstance(value, Mapping):
        return dict(value)
    return {name: found for name in names if (found := field_of(value, name)) is not None}


def is_list(value: object) -> bool:
    """Whether a value is a list or tuple of things, not a text."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def list_of(value: Any) -> Sequence[Any]:
    """A list as it is; nothing of what is none."""
    return value if is_list(value) else ()


def text_in(value: object) -> str:
    """A text as it is; nothing of what is none."""
    return value if isinstance(value, str) else ""


def name_in(value: object) -> str | None:
    """A text that names something; `None` of an empty one, and of what is none."""
    return mended(value) if isinstance(value, str) and value else None


def texts_in(content: object) -> list[str]:
    """The texts of a content: itself, or those of its blocks; what is thought, or no text, is left out."""
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
    """A dict's other fields; nothing of what is no dict."""
    if not isinstance(container, Mapping):
        return {}
    return {name: value for name, value in container.items() if name not in names}


def merged(before: Any, more: Any) -> Any:
    """A value of a stream, and what its next piece says of it.

    Texts and lists go on, fields of dicts each by themselves; anything else is replaced, but not by
    nothing.
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
