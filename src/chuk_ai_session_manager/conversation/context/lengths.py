"""How many tokens a request has: its messages with the tokens around them, and the tools that it offers.

OpenAI has published its rule for messages (`TOKENS_A_MESSAGE`). Parts without a published rule count as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ...models import TokenUsage
from ...providers.earlier import instruction
from ...providers.messages import SYSTEM_ROLES, ChatMessage, calls_of, text_of
from ...providers.parts import media_length, media_of
from ..billing import TOKENS_A_MESSAGE

Length: TypeAlias = Callable[[ChatMessage], Awaitable[int]]
"""How many tokens a message has."""

# A role such as "user" is sent as text too. So is a name (the source is that of TOKENS_A_MESSAGE); it costs
# one token more than its text, because a colon may follow it.
_ROLE, _NAME = 1, 2
# With tools, Anthropic adds a system prompt of 346 tokens (313 where a tool has to be called):
# https://docs.claude.com/en/docs/agents-and-tools/tool-use/overview#pricing
_ANTHROPIC_TOOLS = 346


class Known:
    """The lengths of texts and rows that were counted before: rows are measured several times."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}
        self.rows: dict[int, tuple[ChatMessage, int]] = {}
        """By `id(row)`. The row is kept, so that no other row gets the same id."""


class _Counted:
    """Counts each text once."""

    def __init__(self, model: str, known: Known | None, reader: str | None) -> None:
        self._model = model
        self._reader = model if reader is None else reader
        self.known = known or Known()

    async def text(self, text: str) -> int:
        found = self.known.texts.get(text)
        if found is None:
            found = self.known.texts[text] = await TokenUsage.count_tokens(text, self._model)
        return found

    async def content(self, row: ChatMessage) -> int:
        tokens = await self.text(text_of(row))
        media = media_of(row.get("content"))
        return tokens + (await media_length(media, self._reader) if media else 0)


def content_length(model: str, known: Known | None = None, reader: str | None = None) -> Length:
    """Counts a message's content for a model: its text, and an estimate of its images, audio and files.

    Args:
        model: whose tokens are counted.
        known: the lengths that were counted before; more are added.
        reader: the model whose rule estimates images, audio and files, if not the same; "" if it is unknown.
    """
    return _Counted(model, known, reader).content


def sent_length(model: str, known: Known | None = None, reader: str | None = None) -> Length:
    """Counts a message as it is sent: with its role, its name, and the ids of calls and results."""
    counted = _Counted(model, known, reader)

    async def length(row: ChatMessage) -> int:
        found = counted.known.rows.get(id(row))
        if found is None:
            found = counted.known.rows[id(row)] = row, await counted_anew(row)
        return found[1]

    async def counted_anew(row: ChatMessage) -> int:
        tokens = TOKENS_A_MESSAGE + _ROLE
        if row["role"] in SYSTEM_ROLES:  # a later one is sent in a user's message, between marks
            return tokens + await counted.text(instruction(text_of(row)))
        tokens += await counted.content(row)
        if name := row.get("name"):
            tokens += _NAME + await counted.text(str(name))
        ids = [row.get("tool_call_id"), *(call.get("id") for call in calls_of(row))]
        return tokens + sum([await counted.text(str(each)) for each in ids if each])

    return length


async def definitions_length(
    tools: Sequence[Any], response_format: Any, model: str, format_name: str | None
) -> int:
    """The tokens of the definitions of tools, and the schema of a structured answer, as they are sent."""
    definitions = [*tools, *([] if response_format is None else [response_format])]
    tokens = sum([await TokenUsage.count_tokens(_json(each), model) for each in definitions])
    is_anthropic = format_name == "anthropic" or (format_name == "bedrock" and "claude" in model)
    return tokens + (_ANTHROPIC_TOOLS if tools and is_anthropic else 0)


def _json(definition: Any) -> str:
    return json.dumps(_plain(definition), ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """The plain data that an SDK's object is sent as; for a model class of pydantic, its schema."""
    if isinstance(value, Mapping):
        return dict(value)
    for name in ("model_json_schema",) if isinstance(value, type) else ("model_dump", "to_dict"):
        if (method := getattr(value, name, None)) is not None:
            return method(exclude_none=True) if name == "model_dump" else method()
    return value if isinstance(value, list | tuple | str | int | float | None) else str(value)
