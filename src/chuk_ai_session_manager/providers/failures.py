"""Failures that a tool returns as its result, as with MCP and chuk-tool-processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .common import dumped, field_of, texts_in

UNNAMED = "The tool failed and did not say why"
"""The error of a failure without a message."""


def failure_in(result: Any) -> str | None:
    """The tool's own error message; `None` if a result does not report a failure.

    Recognised are results of MCP (`isError`, https://modelcontextprotocol.io/specification under "Tools"),
    Anthropic's "tool_result" blocks (`is_error`), LangChain's tool messages (`status`), and the results of
    chuk-tool-processor's tools of MCP when their server is away (`error` with `available`). A result
    that merely has an `error` is not a failure: tools report errors of other things.
    """
    if not isinstance(result, Mapping) and (
        result is None or isinstance(result, str | bytes | int | float | list | tuple | set | frozenset)
    ):
        return None
    is_failure = (
        field_of(result, "isError", "is_error") is True
        or (field_of(result, "type") == "tool" and field_of(result, "status") == "error")
        or (field_of(result, "available") is False and bool(field_of(result, "error")))
    )
    return _words_of(result) if is_failure else None


def has_error(result: Any) -> bool:
    """Whether a result has an `error`: this may be temporary, so the result must not be reused later."""
    return failure_in(result) is not None or (isinstance(result, Mapping) and bool(result.get("error")))


def _words_of(result: Any) -> str:
    error = field_of(result, "error")
    text = "\n".join(texts_in(field_of(result, "content"))) if error is None else dumped(error)
    return text if text.strip() else UNNAMED
