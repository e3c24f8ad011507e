"""The command `tokens`: how many tokens a text or a chat request has, for one or several models."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ..accounts.tokens import count_tokens, is_estimated
from ..conversation.billing import TOKENS_A_MESSAGE, TOKENS_OF_A_BEGINNING
from ..exceptions import InvalidInput
from ..exceptions.validation import check_name
from ..providers.messages import ChatMessage, check_chat_messages, text_of
from ..providers.parts import media_length, media_of
from .figures import counted
from .files import content_of
from .options import AsJson
from .running import end_with, finished
from .screen import NUMBER, Screen, tell

_OPERATION = "count tokens"

# The models for which OpenAI published the number of tokens around each message:
# https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
_PUBLISHED = re.compile(r"(?:^|[/:])gpt-(?:3\.?5-turbo|4o-mini|4o|4)(?:-\d{4}(?:-\d\d-\d\d)?|-turbo)?$")
# A name costs one token more than its text, by the same source.
_TOKENS_OF_A_NAME = 1
# Messages with these roles are sent as their texts; how tool results are sent is not published.
_PLAIN_ROLES = {"system", "user", "assistant"}


@dataclass(frozen=True)
class Request:
    """A chat request in OpenAI's form: its messages, and its tools."""

    messages: list[ChatMessage]
    tools: list[Any]

    @property
    def is_plain(self) -> bool:
        """Whether the request contains only texts: no tools, calls, results, images and the like."""
        return not self.tools and all(
            row.get("role") in _PLAIN_ROLES
            and isinstance(row.get("content"), str)
            and not row.get("tool_calls")
            for row in self.messages
        )


@dataclass(frozen=True)
class Count:
    """The number of tokens for a model, and whether that number is an estimate."""

    model: str
    tokens: int
    estimated: bool


def count_file(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help='A text; or a chat in OpenAI\'s form: {"messages": [...], "tools": [...]}, a list of '
            "messages, or JSONL of either. - is the standard input.",
        ),
    ],
    model: Annotated[
        list[str], typer.Option("--model", "-m", metavar="NAME", help="For this model; may be repeated.")
    ],
    as_json: AsJson = False,
) -> None:
    """Count the tokens of a text or a chat.

    Shows for each model the number of tokens, and whether it is exact or estimated. A chat counts as a whole
    request: with the tokens around its messages, and with its tools.
    """
    content = content_of(file)

    async def work() -> None:
        for name in model:
            check_name(name, "model", _OPERATION)
        text, requests = await asyncio.to_thread(_read, content, file)
        counts = [await _count(text, requests, name) for name in model]
        _show(file, text, requests, counts, as_json=as_json)

    end_with(finished(work))


def _read(content: bytes, file: Path) -> tuple[str, list[Request]]:
    """The text of a file, and the chat requests in it, if it is not just a text."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        name = "the standard input" if str(file) == "-" else file
        raise InvalidInput(_OPERATION, f"{name} is not a text in UTF-8") from None
    whole = _json(text)
    if _is_chat(whole):
        return text, [_request(whole)]
    lines = [_json(line) for line in text.split("\n") if line.strip()] if text.startswith("{") else []
    if lines and all(map(_is_message, lines)):
        return text, [_request(lines)]
    if not lines or not all(map(_is_chat, lines)):
        return text, []
    requests = []
    for number, line in enumerate(lines, 1):
        try:
            requests.append(_request(line))
        except InvalidInput as problem:
            raise InvalidInput(_OPERATION, f"request {number}: {problem.reason}") from None
    return text, requests


def _json(text: str) -> Any:
    """The JSON value of a text; `None` if it is not JSON."""
    if text.lstrip()[:1] not in {"{", "["}:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and "role" in value


def _is_chat(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_message, value))
    return isinstance(value, Mapping) and isinstance(value.get("messages"), list)


def _request(chat: Any) -> Request:
    """A chat as a request.

    Raises:
        InvalidInput: its messages or tools are invalid.
    """
    rows, tools = (chat, []) if isinstance(chat, list) else (chat["messages"], chat.get("tools") or [])
    if not isinstance(tools, list):
        raise InvalidInput(_OPERATION, '"tools" is not a list')
    return Request(check_chat_messages(rows, _OPERATION), tools)


async def _count(text: str, requests: Sequence[Request], model: str) -> Count:
    if not requests:
        tokens = await count_tokens(text, model)
        return Count(model, tokens, is_estimated(model))
    tokens = sum([await _request_tokens(request, model) for request in requests])
    is_exact = bool(_PUBLISHED.search(model.lower())) and all(request.is_plain for request in requests)
    return Count(model, tokens, not is_exact or is_estimated(model))


async def _request_tokens(request: Request, model: str) -> int:
    """The tokens of a whole request, by OpenAI's published rule; tools are counted as JSON."""
    tokens = TOKENS_OF_A_BEGINNING
    for row in request.messages:
        tokens += TOKENS_A_MESSAGE + await count_tokens(str(row.get("role", "")), model)
        tokens += await count_tokens(text_of(row), model) + await media_length(
            media_of(row.get("content")), model
        )
        if row.get("name"):
            tokens += await count_tokens(str(row["name"]), model) + _TOKENS_OF_A_NAME
    for tool in request.tools:
        tokens += await count_tokens(json.dumps(tool, ensure_ascii=False), model)
    return tokens


def _show(
    file: Path, text: str, requests: Sequence[Request], counts: Sequence[Count], *, as_json: bool
) -> None:
    screen = Screen()
    messages = sum(len(request.messages) for request in requests)
    if as_json:
        size = {"requests": len(requests), "messages": messages} if requests else {"characters": len(text)}
        models = [
            {"model": each.model, "tokens": each.tokens, "estimated": each.estimated} for each in counts
        ]
        screen.json({"file": str(file), "kind": "chat" if requests else "text"} | size | {"models": models})
        return
    rows = [(each.model, each.tokens, "estimated" if each.estimated else "exact") for each in counts]
    if screen.is_terminal:
        screen.table(
            ("Model", NUMBER + "Tokens", "Count"), [(name, f"{count:,}", how) for name, count, how in rows]
        )
    else:
        screen.rows((name, str(count), how) for name, count, how in rows)
    what = f"{counted(len(requests), 'chat request')}, {counted(messages, 'message')}"
    tell(f"Counted {what if requests else 'a text of ' + counted(len(text), 'character')}.")
