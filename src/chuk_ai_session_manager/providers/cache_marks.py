"""Cache marks: they tell a provider which beginning of a request its prompt cache is to keep.

* Anthropic, and services with Anthropic's format (Amazon Bedrock's InvokeModel, Vertex AI): `cache_control`
  of a block (https://platform.claude.com/docs/en/build-with-claude/prompt-caching).
* Chat messages for models that are not OpenAI's, through OpenRouter or LiteLLM: `cache_control` of a part of
  the content (https://openrouter.ai/docs/features/prompt-caching). For Bedrock, LiteLLM turns it into
  `cachePoint`.
* Amazon Bedrock's Converse: a block `cachePoint` after the last block that is kept.
* OpenAI's models from gpt-5.6 on: `prompt_cache_breakpoint` of a part (openai 3.57). OpenAI's earlier models,
  and Google's, cache without marks.

A request gets at most three marks: at the end of the system prompt; at the end of the previous request, up to
which the cache holds it already; and at its own end, because the next request begins with all of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from .messages import SYSTEM_ROLES
from .sendable import CACHE_MARKS, MOST_CACHE_MARKS

CacheTtl: TypeAlias = Literal["5m", "1h"]
DEFAULT_TTL: CacheTtl = "5m"
"""Anthropic's default too: writing to a cache of five minutes costs 1.25 times the input's price; of an hour,
twice that price."""
Row = dict[str, Any]

_ANTHROPIC, _OPENAI = CACHE_MARKS
# Parts of the names of the models that take Bedrock's marks; of an ARN, the model is not known
# (https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html).
_WITH_POINTS = ("claude", "nova")
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
    """A request with marks, which replace earlier ones; the request itself if its provider takes no marks.

    All texts become lists of one part, with a mark or without, so that they are the same in every call.

    Args:
        request: the result of `providers.formats.written`; it is not changed.
        format_name: its format.
        model: the model that will be called.
        ttl: how long the cache is to keep the beginning.
        tools: the definitions that are sent with it; their own marks count against the maximum.
    """
    if format_name == "bedrock":
        return _with_points(request, model, ttl, tools)
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


def _with_points(request: Row, model: str | None, ttl: CacheTtl, tools: Sequence[Any]) -> Row:
    """A request for Converse with blocks that are marks, at the same places."""
    name = (model or "").lower()
    if name and not name.startswith("arn:") and not any(each in name for each in _WITH_POINTS):
        return request  # the API refuses marks for other makers' models
    point = {
        "cachePoint": {"type": "default"}
        | ({"ttl": ttl} if ttl != DEFAULT_TTL and "nova" not in name else {})
    }
    messages = [row | {"content": list(row["content"])} for row in request["messages"]]
    system = list(request.get("system") or [])
    asked = [row["content"] for row in messages if row["role"] == "user"]
    ends = [*asked[:-2:-1], *([system] if system else []), *asked[-2:-1]]
    free = MOST_CACHE_MARKS - sum(isinstance(tool, dict) and "cachePoint" in tool for tool in tools)
    for content in ends[: max(0, free)]:
        content.append(point)
    return ({"system": system} if system else {}) | {"messages": messages}


def _name_for(model: str | None, format_name: str | None) -> str | None:
    """The field of a mark for a model that is called in OpenAI's formats; `None` if it takes no marks."""
    if model is None or format_name == "google":
        return None
    found = _OPENAI_MODEL.match(model.lower())
    if found is None:
        return None if format_name == "openai-responses" else _ANTHROPIC
    return _OPENAI if (int(found[1] or 0), int(found[2] or 0)) >= _FIRST_WITH_MARKS else None


def _ends(rows: Sequence[Row], prompt: Sequence[Row]) -> list[Row]:
    """The parts that get a mark, the most important one first."""
    ends: list[Row] = []  # the last part of each run of rows that are not the model's
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
    """The role of a row: "system", "assistant", or "user" for everything else that is sent to a model."""
    role = row.get("role")
    if role in SYSTEM_ROLES:
        return "system"
    if role == "assistant" or (role is None and row.get("type") not in _OUTPUTS):
        return "assistant"  # in Responses, an item of any other kind is the model's
    return "user"


def _name_of_content(row: Row) -> str:
    return "output" if row.get("type") in _OUTPUTS else "content"


def _parts(row: Row) -> list[Row]:
    content = row.get(_name_of_content(row))
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _listed(row: Row, format_name: str | None) -> Row:
    """A copy of a row without marks. Its content becomes a list of parts if such a row can have a mark."""
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
