"""Reads answers that are only a text: texts themselves, and objects with `content` or `text`."""

from __future__ import annotations

from typing import Any

from .answers import Answer, AnswerStream, Reader, call_of, model_of
from .common import field_of, is_list, joined, list_of, mended, name_in, text_in, texts_in
from .usage import usage_of

_OTHERS = {"user", "system", "developer", "tool", "function"}


def read(response: Any) -> Answer | None:
    """Read any object or dict that has a text, unless it says that somebody else than a model wrote it."""
    if text_in(field_of(response, "role")) in _OTHERS:
        return None
    content, asked = field_of(response, "content"), list_of(field_of(response, "tool_calls"))
    if isinstance(content, str) or is_list(content) or (content is None and asked):
        calls = [
            call_of(
                field_of(each, "id", "tool_call_id"),
                field_of(on, "name", "tool_name"),
                field_of(on, "arguments", "input", "args"),
            )
            for each in asked
            for on in [field_of(each, "function") or each]
        ]
        answer = Answer(mended("".join(texts_in(content))), calls)
    else:
        names = ("output_text", "text")
        text = next((each for name in names if isinstance(each := field_of(response, name), str)), None)
        if text is None:
            return None
        answer = Answer(mended(text))
    answer.finish_reason = name_in(field_of(response, "finish_reason", "stop_reason"))
    about = field_of(response, "meta")  # of Haystack's messages
    answer.model = model_of(response) or model_of(about)
    answer.usage = usage_of(response) or usage_of(about)
    return answer


class PlainStream(AnswerStream):
    """A text as its pieces deliver it."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._answer = Answer()

    @property
    def text(self) -> str:
        """The text so far."""
        return mended(joined(self._texts))

    def add(self, piece: Any) -> bool:
        """Add a text, or an object that has one."""
        if isinstance(piece, str):
            self._texts.append(piece)
            return True
        answer = read(piece)
        if answer is None:
            return False
        self._texts.append(text_in(answer.text))
        self._answer.tool_calls += answer.tool_calls
        self._answer.model = answer.model or self._answer.model
        self._answer.usage = answer.usage or self._answer.usage
        return True

    def end(self) -> Answer:
        """The answer, as far as it came."""
        self._answer.text = self.text
        return self._answer


READER = Reader("", read, PlainStream)
