"""Storing the texts of an answer once: an event's message already contains those of its native form.

An answer's `native` contains the texts and arguments that its `message` has in the common form. Instead of
each, a mark is stored: which text of the message it is, and from where to where. Reading restores the text,
so that `native` is complete everywhere except in the store.
"""

from __future__ import annotations

import json
from typing import Any

from ..models.absent_text import AbsentText

_MARK, _FOLDED = "$said", "$folded"
# The length of a mark, about.
_SHORTEST = 40


def folded(message: Any, native: dict[str, Any]) -> dict[str, Any]:
    """A native form as it is stored with a message."""
    if _holds_mark(native):
        return {_FOLDED: False, "native": native}
    fold = _Fold(list(_texts_in(message)))
    value = fold.value(native) if fold.texts else native
    return {_FOLDED: True, "native": value} if fold.marks else native


def unfolded(message: Any, native: dict[str, Any]) -> dict[str, Any]:
    """The original of a native form that is stored with a message.

    Raises:
        ValueError, TypeError, LookupError: a mark does not fit the message.
    """
    if _FOLDED not in native:
        return native
    value: dict[str, Any] = native["native"]
    return _unfold(value, list(_texts_in(message))) if native[_FOLDED] else value


def _holds_mark(value: Any) -> bool:
    if isinstance(value, dict):
        return _MARK in value or _FOLDED in value or any(map(_holds_mark, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_mark, value))


def _texts_in(value: Any) -> Any:
    """The texts of a message that are longer than a mark, in their order."""
    if isinstance(value, str):
        if len(value) >= _SHORTEST:
            yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(item)


class _Fold:
    """One folding: each text is looked for after the end of the one before, or as a whole."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.marks = 0
        self._whole = {text: number for number, text in reversed(list(enumerate(texts)))}
        self._has_json = any(text.startswith("{") for text in texts)
        self._ends = dict.fromkeys(range(len(texts)), 0)

    def value(self, value: Any) -> Any:
        """A value with marks instead of the texts that the message has."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {name: self._field(name, item) for name, item in value.items()}
        return [self.value(item) for item in value] if isinstance(value, list | tuple) else value

    def _text(self, text: str) -> Any:
        if text in self._whole:
            return self._mark(self._whole[text])
        if not text or len(self.texts) > _MOST_TEXTS:
            return text
        for number, whole in enumerate(self.texts):
            start = self._ends[number]
            if whole.startswith(text, start):
                self._ends[number] = start + len(text)
                return self._mark([number, start, start + len(text)]) if len(text) >= _SHORTEST else text
        return text

    def _field(self, name: str, value: Any) -> Any:
        """A field's value; arguments may be an object in one form, and a JSON text in the other."""
        if self._has_json and name in _ARGUMENTS and isinstance(value, dict):
            text = json.dumps(value, ensure_ascii=False)
            if text in self._whole:
                return self._mark([self._whole[text]])
        return self.value(value)

    def _mark(self, where: Any) -> dict[str, Any]:
        self.marks += 1
        return {_MARK: where}


_ARGUMENTS = {"input", "args", "arguments"}
# If there are more texts than this, each is only looked for as a whole.
_MOST_TEXTS = 20


def _unfold(value: Any, texts: list[str]) -> Any:
    if isinstance(value, dict):
        match value.get(_MARK) if len(value) == 1 else None:
            case int(number):
                return texts[number]
            case [int(number)]:
                return json.loads(texts[number])
            case [int(number), int(start), int(end)]:
                text = texts[number]
                return text.part(start, end) if isinstance(text, AbsentText) else text[start:end]
        return {name: _unfold(item, texts) for name, item in value.items()}
    return [_unfold(item, texts) for item in value] if isinstance(value, list) else value
