"""The tool calls of a model's message, run through chuk-tool-processor and recorded in a session.

Importing this imports chuk-tool-processor, a third of a second: the package's `__init__` does so
only when `SessionAwareToolProcessor` is asked for.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import uuid4

from .accounts.tokens import DEFAULT_MODEL
from .conversation.billing import bill
from .conversation.segments import append_unfilled, live_segment
from .exceptions import ToolProcessingError, session_not_found
from .exceptions.validation import check_at_least, check_count, check_json_object, json_misfit
from .models import EventSource, EventType, Session, SessionEvent, TokenUsage
from .providers.answers import model_of
from .providers.messages import calls_of, readable_json, tool_message, tool_text
from .providers.usage import ReportedUsage, read_usage, usage_of
from .session_storage import ChukSessionsStore, event_store, get_backend
from .stores import SessionStore
from .stores.turns import Turns


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

__all__ = ["ChukSessionsStore", "SessionAwareToolProcessor", "ToolProcessor", "get_backend"]

logger = logging.getLogger(__name__)

# chuk-tool-processor's registries are one a process, and their locks are asyncio's: of one event loop.
_preparing = Turns()

RESULT_MODEL = "tool-execution"
"""Stands where a model's name would: no model made a tool's result, and it costs nothing."""

SHORTEST_TIMEOUT = 0.001
"""In seconds: chuk-tool-processor takes 0 for "unless set", and no tool is done in less."""

# Python's words for arguments that do not fit the tool, which chuk-tool-processor takes for a passing
# fault, as it does where an unknown tool has a name like "set_timeout".
_PERMANENT = re.compile(
    r"\(\) (got an unexpected keyword argument|missing \d+ required|got multiple values for)"
    r"|not found in any namespace"
)


@dataclass(slots=True)
class _Call:
    """One call as the model asked for it; with a `problem` it cannot be made."""

    id: str
    tool: str
    arguments: Any = field(repr=False)
    problem: str | None = None
    attempts: int = 0


@dataclass(slots=True, frozen=True)
class _Outcome:
    call: _Call
    result: ToolResult = field(repr=False)
    seconds: float


class SessionAwareToolProcessor:
    """Runs the tool calls of a model's messages and records calls and results in a session.

    The calls of one message run at the same time. A call that fails is a result with an `error`,
    never an exception. Errors that chuk-tool-processor takes for transient are tried again; an
    unknown tool, or arguments that do not fit, are not.

    Args:
        session_id: the session to record in; it must exist when a message is processed.
        enable_caching: give the result of a success again, marked `cached`, when the same tool is
            called with equal arguments, for as long as this object lives (see `cache`). Switch it
            off for tools that do something: a second equal call would not be made.
        max_retries: how many times a call is tried again.
        retry_delay: the seconds between two tries.
        processor: a processor of the application's own (MCP, subprocesses, rate limits, another
            registry). Its retries, caching and limits rule then: only an executor that *raises*
            is tried again here.
        timeout: the seconds that one call may take, all its tries included; then it is an error.
            `None`: only the processor's own limit, 10 seconds a try unless set otherwise. A tool
            run by a processor of the application's own may go on in the background after that.
        store: where the session is; the default store unless given.

    Raises:
        AttributeError: the processor has no `executor`.
        InvalidInput: a number below 0, or a timeout under a millisecond.
    """

    def __init__(
        self,
        session_id: str,
        *,
        enable_caching: bool = True,
        max_retries: int = 2,
        retry_delay: float = 1.0,
        processor: ToolProcessor | None = None,
        timeout: float | None = None,
        store: SessionStore | None = None,
    ) -> None:
        check_count(max_retries, 0, "max_retries", "process tool calls")
        check_at_least(retry_delay, 0, "retry_delay", "process tool calls")
        if timeout is not None:
            check_at_least(timeout, SHORTEST_TIMEOUT, "timeout", "process tool calls")
        self.session_id = session_id
        self.enable_caching = enable_caching
        self.max_retries = max_retries
        self.retry_delay = retry_delay
        self.timeout = timeout
        self.cache: dict[str, ToolResult] = {}
        self._store = store
        self._tp: Any = ToolProcessor() if processor is None else processor
        if not hasattr(self._tp, "executor"):
            raise AttributeError(f"{type(self._tp).__name__} is missing `.executor`")
        # A processor that comes with its executor was set up by somebody else, whose rules hold.
        self._sets_rules = processor is None and self._tp.executor is None

    @classmethod
    async def create(cls, session_id: str, **kwargs: Any) -> Self:
        """Make a processor for a session that exists; `kwargs` are the constructor's.

        Raises:
            SessionNotFound: there is no such session.
            StorageError: the store could not tell.
        """
        processor = cls(session_id, **kwargs)
        await processor._session()
        return processor

    async def process_llm_message(
        self,
        llm_msg: Mapping[str, Any],
        _: Any = None,
        *,
        model: str | None = None,
        provider: str = "unknown",
        usage: object | None = None,
    ) -> list[ToolResult]:
        """Record a model's message, run its tool calls, and record each result.

        The calls are those of `tool_calls` (OpenAI), or else the "tool_use" blocks of the content
        (Anthropic). Results and events come in the order of the calls, under the model's call ids.
        Cancelled, it records the calls that have finished and gives up the others; those of a
        processor's in-process tools that are running may go on until their own timeout.

        Args:
            llm_msg: the assistant's message, or a whole response, as a dict that JSON can hold.
            _: the original's second argument, which never had a meaning.
            model: who gave the message; by default as a response of Anthropic's says it itself.
            provider: who ran the model.
            usage: the provider's own token counts, as for `SessionManager.ai_responds`; by default as a
                response of Anthropic's says them itself. Without any, the call is not billed.

        Raises:
            SessionNotFound: there is no such session (any more).
            StorageError: the store could not do it; calls may have been made.
            InvalidInput: `llm_msg` is no such dict, or the usage not readable; nothing was written.
        """
        given = check_json_object(llm_msg, "llm_msg", "process a message")
        model = model or model_of(given)
        counts = usage_of(given) if usage is None else read_usage(usage)
        message = _message_in(given)
        session = await self._session()
        calls = [_parsed(call) for call in calls_of(message)]
        if calls:
            await self._prepare()
        parent = await _message_event(message, model, provider, counts)
        await _add(session, parent)
        return await self._run_and_record(session, parent.id, calls) if calls else []

    async def _session(self) -> Any:
        """The session: the application's own stand-ins need only `add_event_and_save`."""
        store = ChukSessionsStore(get_backend()) if self._store is None else self._store
        home = event_store(store)
        session = await home.get(self.session_id)
        if not session:
            raise session_not_found(self.session_id)
        # A conversation may have gone on in another segment since.
        return await live_segment(session, home) if isinstance(session, Session) else session

    # -- running --------------------------------------------------------------------------------

    async def _exec_calls(self, calls: Sequence[Mapping[str, Any]]) -> list[ToolResult]:
        """Run calls, in OpenAI's form, without recording them: their results, in order."""
        await self._prepare()
        return [outcome.result for outcome in await asyncio.gather(*self._started(map(_parsed, calls)))]

    async def _prepare(self) -> None:
        """Make the processor ready: a new one has no executor, and does not know the latest tools."""
        async with _preparing.turn():
            await ensure_registrations()
            if self._tp.executor is not None:
                return
            if self._sets_rules:
                # Its cache would cache nothing, and its retries try everything again, one call at a time.
                self._tp.enable_caching = self._tp.enable_retries = False
                if self.timeout is not None:
                    self._tp.default_timeout = self.timeout
            await self._tp.initialize()

    async def _run_and_record(self, session: Any, parent_id: str, calls: list[_Call]) -> list[ToolResult]:
        runs = self._started(calls)
        recording = asyncio.create_task(_record(session, parent_id, runs))
        try:
            return await asyncio.shield(recording)
        finally:
            # Cancelled, or the store failed: what has not finished is given up, what has is recorded.
            for run in runs:
                run.cancel()
            await asyncio.wait([recording])
            if error := recording.exception():
                # Where this was cancelled, nobody else would hear of it.
                reason = type(error).__name__
                logger.error("Tool results of session %s could not be recorded: %s", self.session_id, reason)

    def _started(self, calls: Iterator[_Call] | list[_Call]) -> list[asyncio.Task[_Outcome]]:
        """Start calls, whose tools see the session's id in chuk-tool-processor's current context."""
        around = get_current_context() or ExecutionContext()
        context = around.model_copy(update={"metadata": around.metadata | {"session_id": self.session_id}})
        with execution_scope(context):
            return [asyncio.create_task(self._run(call)) for call in calls]

    async def _run(self, call: _Call) -> _Outcome:
        started = time.perf_counter()
        result = await self._result_of(call)
        return _Outcome(call, result.model_copy(update={"call_id": call.id}), time.perf_counter() - started)

    async def _result_of(self, call: _Call) -> ToolResult:
        if call.problem:
            error = ToolProcessorError(call.problem, ErrorCode.TOOL_ARGUMENT_ERROR)
            return ToolResult.create_error(call.tool, error)
        key = json.dumps([call.tool, call.arguments], sort_keys=True)
        if self.enable_caching and key in self.cache:
            return self.cache[key].model_copy(update={"cached": True, "attempts": 1}, deep=True)
        result = await self._tried(call)
        if self.enable_caching and result.error is None:
            self.cache[key] = result.model_copy(deep=True)
        return result

    async def _tried(self, call: _Call) -> ToolResult:
        """The result of as many tries as it takes, within the timeout."""
        try:
            async with asyncio.timeout(self.timeout):
                while True:
                    call.attempts += 1
                    result, again = await self._try(call)
                    if not again or call.attempts > self.max_retries:
                        # A processor of the application's own may have tried more than once itself.
                        attempts = call.attempts - 1 + result.attempts
                        return result.model_copy(update={"attempts": attempts})
                    await asyncio.sleep(self.retry_delay)
        except TimeoutError:
            # No tool's: what an executor raises does not get out of `_try`.
            assert self.timeout is not None  # noqa: S101  (tells mypy)
            timeout = ToolTimeoutError(call.tool, self.timeout, call.attempts)
            return ToolResult.create_error(call.tool, timeout, attempts=call.attempts)

    async def _try(self, call: _Call) -> tuple[ToolResult, bool]:
        """The result of one try, and whether another try may help."""
        try:
            result = await self._execute(call)
        except Exception as error:  # noqa: BLE001  (an executor may raise anything: that is the call's result)
            return ToolResult.create_error(call.tool, error if str(error) else type(error).__name__), True
        return result, self._sets_rules and _is_transient(result)

    async def _execute(self, call: _Call) -> ToolResult:
        # A copy each time: a tool that changes its arguments changes neither the record nor the next try.
        tool_call = ToolCall(id=call.id, tool=call.tool, arguments=deepcopy(call.arguments))
        # One call at a time: a list of them comes back in another order, and without ids at times.
        results: list[ToolResult] = await self._maybe_await(self._tp.executor.execute([tool_call]))
        if not results:
            raise ToolProcessingError(call.tool, "the executor gave no result")
        return results[0]

    @staticmethod
    async def _maybe_await(value: Any) -> Any:
        return await value if inspect.isawaitable(value) else value


def _is_transient(result: ToolResult) -> bool:
    info = result.error_info
    return info is not None and info.retryable and not _PERMANENT.search(info.message)


# -- calls ---------------------------------------------------------------------------------------


def _new_id() -> str:
    return f"call_{uuid4().hex}"


def _message_in(given: dict[str, Any]) -> dict[str, Any]:
    """The assistant's message in what a provider gives; calls without an id get one."""
    choices = given.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    message = message if isinstance(message, dict) else given
    content, asked = message.get("content"), message.get("tool_calls")
    blocks = [*(content if isinstance(content, list) else []), *(asked if isinstance(asked, list) else [])]
    for each in blocks:
        is_call = isinstance(each, dict) and (each.get("type") == "tool_use" or "function" in each)
        if is_call and not isinstance(each.get("id"), str):
            each["id"] = _new_id()
    return message


def _parsed(call: Mapping[str, Any]) -> _Call:
    """A call in OpenAI's form; a missing id is made up."""
    target = call.get("function")
    target = target if isinstance(target, Mapping) else {}
    call_id, tool = call.get("id"), target.get("name")
    arguments, problem = _arguments(target.get("arguments"))
    if not isinstance(tool, str) or not tool:
        tool, problem = "unknown", "The call does not name a tool"
    return _Call(call_id if isinstance(call_id, str) else _new_id(), tool, arguments, problem)


def _arguments(given: Any) -> tuple[Any, str | None]:
    """The arguments as a dict, or what was given and what is wrong with it; none at all are none."""
    if given is None or given == "":
        return {}, None
    try:
        arguments = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        return given, "The arguments are not valid JSON"
    if not isinstance(arguments, dict):
        return given, "The arguments are not a JSON object"
    misfit = json_misfit(arguments)
    return (given, f"The arguments are not JSON: {misfit}") if misfit else (arguments, None)


# -- events --------------------------------------------------------------------------------------


async def _add(session: Any, event: SessionEvent[Any]) -> None:
    """Store an event; in the live segment, where the conversation went on while tools ran."""
    if isinstance(session, Session):
        await append_unfilled(session, [event], session.home)
    else:
        await session.add_event_and_save(event)


async def _record(session: Any, parent_id: str, runs: list[asyncio.Task[_Outcome]]) -> list[ToolResult]:
    """Record calls in order, each as soon as it and those before it are done; cancelled ones are left out."""
    results = []
    for run in runs:
        await asyncio.wait([run])
        if not run.cancelled():
            outcome = run.result()
            await _add(session, await _call_event(parent_id, outcome))
            results.append(outcome.result)
    return results


async def _message_event(
    message: dict[str, Any], model: str | None, provider: str, counts: ReportedUsage | None
) -> SessionEvent[Any]:
    """The event of a model's message, with the bill of the call that it came of, where that is known."""
    counted_as = model or DEFAULT_MODEL
    usage = TokenUsage(
        completion_tokens=await TokenUsage.count_tokens(json.dumps(message, ensure_ascii=False), counted_as),
        model=counted_as,
        estimated_cost_usd=None,
        estimated=TokenUsage.is_estimated(counted_as),
    )
    event: SessionEvent[Any] = SessionEvent(
        message=message, source=EventSource.LLM, type=EventType.MESSAGE, token_usage=usage
    )
    if model:
        event.metadata |= {"model": model, "provider": provider}
    if counts is not None:
        await bill(event, model or "unknown", provider, counts)
    return event


async def _call_event(parent_id: str, outcome: _Outcome) -> SessionEvent[Any]:
    call, result = outcome.call, outcome.result
    message = tool_message(call.tool, call.arguments, _as_text(result.result), result.error)
    metadata = {
        "parent_event_id": parent_id,
        "call_id": call.id,
        "tool_call_id": call.id,
        "attempt": result.attempts,
        "duration": outcome.seconds,
    }
    if result.error is not None:
        metadata["failed"] = True
    return await SessionEvent[Any].create_with_tokens(
        message | {"cached": result.cached},
        # What the model will be told of it; the call itself was counted with the model's message.
        prompt=tool_text(message),
        model=RESULT_MODEL,
        source=EventSource.SYSTEM,
        type=EventType.TOOL_CALL,
        metadata=metadata,
        parent_event_id=parent_id,
    )


def _as_text(result: Any) -> str:
    """A text as it is, all else as JSON."""
    return result if isinstance(result, str) else json.dumps(readable_json(result), ensure_ascii=False)
