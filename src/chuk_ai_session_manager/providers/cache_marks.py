"""Marks that tell a provider up to where its prompt cache is to hold a request.

* Anthropic, and those who pass its form on (Amazon Bedrock's InvokeModel, Vertex AI): `cache_control` of a
  block (https://platform.claude.com/docs/en/build-with-claude/prompt-caching).
* Chat messages for models that are not OpenAI's, as OpenRouter and LiteLLM take them: the same in a part of
  the content (https://openrouter.ai/docs/features/prompt-caching). LiteLLM makes `cachePoint` of it for
  Bedrock.
* OpenAI's models from gpt-5.6 on: `prompt_cache_breakpoint` of a part (openai 3.57). Earlier ones, and
  Google's, cache by themselves.

At most four in a request: the end of the system prompt, the end of the request before this one, where what
is in the cache ends, and the end of this one, which the next request repeats.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from .messages import SYSTEM_ROLES
from .sendable import CACHE_MARKS, MOST_CACHE_MARKS

CacheTtl: TypeAlias = Literal["5m", "1h"]
DEFAULT_TTL: CacheTtl = "5m"
"""As Anthropic's: writing to a cache of an hour costs twice the input's price, of five minutes 1.25 of it."""
Row = dict[str, Any]

_ANTHROPIC, _OPENAI = CACHE_MARKS
# Items of Responses that are results, and take a list of parts.
_OUTPUTS = {"function_call_output", "custom_tool_call_output"}
_OPENAI_MODEL = re.compile(r"(?:.*[/:])?(?:gpt-|chatgpt-|o\d)(?:(\d+)(?:\.(\d+))?)?")
_FIRST_WITH_MARKS = (5, 6)
# OpenAI's lifetimes are 30 minutes, which is the default, and 12 hours.
_OPENAI_TTLS: dict[str, Row] = {"5m": {}, "1h": {"ttl": "12h"}}
_ANTHROPIC_TTLS: dict[str, Row] = {"5m": {}, "1h": {"ttl": "1h"}}


def with_cache_marks(
    request: Any, format_name: str | None, model: str | None, ttl: CacheTtl, tools: Sequence[Any]
) -> Any:
    """A request with marks, in place of those that it had; the request itself where its provider takes none.

    Texts become lists of one part, whether they are marked or not: so they stay the same from call to call.

    Args:
        request: as `providers.formats.written` gives it; it is not changed.
        format_name: its format.
        model: who is asked.
        ttl: how long the cache is to hold it.
        tools: the definitions that go with it, whose own marks count too.
    """
    name = _ANTHROPIC if format_name == "anthropic" else _name_for(model, format_name)
    if name is None:
        return request
    value = {"mode": "explicit", **_OPENAI_TTLS[ttl]}
    if name == _ANTHROPIC:
        value = {"type": "ephemeral", **_ANTHROPIC_TTLS[ttl]}
    field = {"anthropic": "messages", "openai-responses": "input"}.get(format_name or "")
    is_list = isinstance(request, list)
    rows = [_listed(row, format_name) for row in (request if is_list else request[field])]
    system = request.get("system") if not is_list else None
    prompt = [{"type": "text", "text": system}] if isinstance(system, str) else []
    free = MOST_CACHE_MARKS - sum(isinstance(tool, dict) and name in tool for tool in tools)
    for part in _ends(rows, prompt)[: max(0, free)]:
        part[name] = value
    if is_list:
        return rows
    return request | {field: rows} | ({"system": prompt} if prompt else {})


def _name_for(model: str | None, format_name: str | None) -> str | None:
    """What marks are called for a model that is asked in OpenAI's forms; `None` where it takes none."""
    if model is None or format_name == "google":
        return None
    found = _OPENAI_MODEL.match(model.lower())
    if found is None:
        return None if format_name == "openai-responses" else _ANTHROPIC
    return _OPENAI if (int(found[1] or 0), int(found[2] or 0)) >= _FIRST_WITH_MARKS else None


def _ends(rows: Sequence[Row], prompt: Sequence[Row]) -> list[Row]:
    """The parts at whose ends marks stand, the most important one first."""
    ends: list[Row] = []  # the last part of each run of rows that the model was told
    system, was_told = list(prompt), False
    for row in rows:
        role = _role_of(row)
        parts = _parts(row)
        if role == "system":
            system = system or parts[-1:]
        elif role == "assistant":
            was_told = False
        elif parts:
            ends[len(ends) - was_told :] = [parts[-1]]
            was_told = True
    return [*ends[:-2:-1], *system[-1:], *ends[-2:-1]]


def _role_of(row: Row) -> str:
    """Whose row it is: "system", "assistant", or "user" of all else that a model is told."""
    role = row.get("role")
    if role in SYSTEM_ROLES:
        return "system"
    if role == "assistant" or (role is None and row.get("type") not in _OUTPUTS):
        return "assistant"  # of Responses: what a model gave, whatever kind of item that is
    return "user"


def _name_of_content(row: Row) -> str:
    return "output" if row.get("type") in _OUTPUTS else "content"


def _parts(row: Row) -> list[Row]:
    content = row.get(_name_of_content(row))
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _listed(row: Row, format_name: str | None) -> Row:
    """A copy of a row without marks, its content a list of parts if a mark may ever stand there."""
    row = {key: value for key, value in row.items() if key not in CACHE_MARKS}
    name = _name_of_content(row)
    content = row.get(name)
    if isinstance(content, list):
        row[name] = [_unmarked(part) for part in content]
    elif isinstance(content, str) and content and _role_of(row) != "assistant":
        kind = "input_text" if format_name == "openai-responses" else "text"
        row[name] = [{"type": kind, "text": content}]
    return row


def _unmarked(part: Any) -> Any:
    """A copy of a part without marks, those of its own parts included."""
    if not isinstance(part, dict):
        return part
    part = {key: value for key, value in part.items() if key not in CACHE_MARKS}
    if isinstance(part.get("content"), list):
        part["content"] = [_unmarked(each) for each in part["content"]]
    return part
