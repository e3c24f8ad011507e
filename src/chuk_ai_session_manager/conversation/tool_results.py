"""Results of tool calls in chuk-tool-processor's form. This module imports chuk-tool-processor.

The import takes a third of a second, so only `session_aware_tool_processor` imports this module.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ..providers.failures import UNNAMED, failure_in
from .tool_calls import UNAPPROVED, UNDECIDED, Call, Recorded


@contextmanager
def leaving_no_trace() -> Iterator[None]:
    """Undo what importing chuk-tool-processor does to the whole process.

    The import would hide the application's own "never awaited" warnings, drop records of the root logger,
    and print every failed tool call to stderr as JSON. The application decides how that logger is handled;
    if it imported chuk-tool-processor earlier, it has decided.
    """
    root, tools = logging.getLogger(), logging.getLogger("chuk_tool_processor")
    filters, handlers, level = list(root.filters), list(tools.handlers), tools.level
    with warnings.catch_warnings():
        yield
    root.filters[:] = filters
    if tools.handlers != handlers:
        # Without any handler, Python itself would print the tracebacks.
        tools.handlers[:] = [*handlers, logging.NullHandler()]
        tools.setLevel(level)


with leaving_no_trace():
    from chuk_tool_processor import (
        ExecutionContext,
        ToolCall,
        ToolProcessor,
        ToolResult,
        ensure_registrations,
        execution_scope,
        get_current_context,
    )
    from chuk_tool_processor.core.exceptions import ErrorCode, ToolProcessorError, ToolTimeoutError

__all__ = [
    "ErrorCode",
    "ExecutionContext",
    "ToolCall",
    "ToolProcessor",
    "ToolProcessorError",
    "ToolResult",
    "ToolTimeoutError",
    "copied_result",
    "ensure_registrations",
    "execution_scope",
    "get_current_context",
    "given_again",
    "is_transient",
    "leaving_no_trace",
    "told",
    "undecided",
]

# Python's messages for arguments that do not fit the tool, which chuk-tool-processor takes for a temporary
# failure; and its own for an unknown tool, which it takes for one if the name is like "set_timeout".
_PERMANENT = re.compile(
    r"\(\) (got an unexpected keyword argument|missing \d+ required|got multiple values for)"
    r"|not found in any namespace"
)


def is_transient(result: ToolResult) -> bool:
    """Whether a call failed for a temporary reason."""
    info = result.error_info
    return info is not None and info.retryable and not _PERMANENT.search(info.message)


def told(result: ToolResult) -> ToolResult:
    """A result whose failure, if it is one, is in its `error`, as a message."""
    error = failure_in(result.result) if result.error is None else result.error or UNNAMED
    return result if error == result.error else _failed(result, error or UNNAMED)


def _failed(result: ToolResult, error: str) -> ToolResult:
    info = ToolResult.create_error(result.tool, error).error_info
    return result.model_copy(update={"error": error, "error_info": info})


def copied_result(result: ToolResult) -> ToolResult | None:
    """A copy of a result; `None` if it cannot be copied (a generator, a cursor)."""
    try:
        return result.model_copy(deep=True)
    except Exception:  # noqa: BLE001  (a tool may return anything)
        return None


def given_again(call: Call, outcome: Recorded) -> ToolResult:
    """The result of a call that ran before, as it was recorded."""
    result = ToolResult(tool=call.tool, call_id=call.id, result=outcome.result, cached=True)
    result = result.model_copy(update={"attempts": outcome.attempts})
    return result if outcome.error is None else _failed(result, outcome.error)


def unapproved(call: Call) -> ToolResult:
    """The result of a request for approval: its tool runs at the provider, once a person has decided."""
    error = ToolProcessorError(UNAPPROVED, ErrorCode.TOOL_CANCELLED)
    return ToolResult.create_error(call.tool, error, attempts=0).model_copy(update={"call_id": call.id})


def undecided(call: Call) -> ToolResult:
    """The result of a call that was begun and has no result."""
    error = ToolProcessorError(UNDECIDED, ErrorCode.TOOL_CANCELLED)
    return ToolResult.create_error(call.tool, error, attempts=0).model_copy(update={"call_id": call.id})
