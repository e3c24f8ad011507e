"""Values as providers give them: fields of objects or dicts, lists, names, and the texts in a content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def field_of(container: Any, name: str) -> Any:
    """A field of an object of an SDK, or of its JSON as a dict; `None` where there is none."""
    return container.get(name) if isinstance(container, Mapping) else getattr(container, name, None)


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
    return value if isinstance(value, str) and value else None


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


def plain(value: Any) -> Any:
    """An SDK's model as JSON values; all else as it is."""
    return value.model_dump(mode="json", exclude_none=True) if hasattr(value, "model_dump") else value
