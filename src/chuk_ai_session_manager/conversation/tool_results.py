"""The results of tool calls as chuk-tool-processor has them, and its names: the module that imports it.

That takes a third of a second: only `session_aware_tool_processor` imports this.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ..providers.failures import UNNAMED, failure_in
from .tool_calls import UNDECIDED, Call, Recorded


@contextmanager
def leaving_no_trace() -> Iterator[None]:
    """Undo what importing chuk-tool-processor does to the whole process.

    It would hide the application's own "never awaited" warnings, drop records of the root logger,
    and print every failed tool call to stderr as JSON. How its logger is handled is the
    application's choice; an application that imported it earlier has made that choice.
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

# Python's words for arguments that do not fit the tool, which chuk-tool-processor takes for a passing
# fault, as it does where an unknown tool has a name like "set_timeout".
_PERMANENT = re.compile(
    r"\(\) (got an unexpected keyword argument|missing \d+ required|got multiple values for)"
    r"|not found in any namespace"
)


def is_transient(result: ToolResult) -> bool:
    """Whether a call failed of what may pass."""
    info = result.error_info
    return info is not None and info.retryable and not _PERMANENT.search(info.message)


def told(result: ToolResult) -> ToolResult:
    """A result whose failure, if it is one, stands as its `error`, in words."""
    error = failure_in(result.result) if result.error is None else result.error or UNNAMED
    return result if error == result.error else _failed(result, error or UNNAMED)


def _failed(result: ToolResult, error: str) -> ToolResult:
    info = ToolResult.create_error(result.tool, error).error_info
    return result.model_copy(update={"error": error, "error_info": info})


def copied_result(result: ToolResult) -> ToolResult | None:
    """A result that nobody else holds; `None` of one that cannot be copied (a generator, a cursor)."""
    try:
        return result.model_copy(deep=True)
    except Exception:  # noqa: BLE001  (a tool may give anything)
        return None


def given_again(call: Call, outcome: Recorded) -> ToolResult:
    """The result of a call that was made before, as it was recorded."""
    result = ToolResult(tool=call.tool, call_id=call.id, result=outcome.result, cached=True)
    result = result.model_copy(update={"attempts": outcome.attempts})
    return result if outcome.error is None else _failed(result, outcome.error)


def undecided(call: Call) -> ToolResult:
    """The result of a call that somebody began, and that has no result."""
    error = ToolProcessorError(UNDECIDED, ErrorCode.TOOL_CANCELLED)
    return ToolResult.create_error(call.tool, error, attempts=0).model_copy(update={"call_id": call.id})
