"""Runs the tool calls of a model's message through chuk-tool-processor, and records them in a session.

Importing this module imports chuk-tool-processor, which takes a third of a second. The package imports it
only when `SessionAwareToolProcessor` is used.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Container, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Self

from .conversation.tool_calls import (
    Call,
    Recorded,
    answer_of,
    message_event,
    message_in,
    parsed_call,
    recorded_in,
    result_event,
    with_call_ids,
)
from .conversation.tool_declarations import Declaration, FailuresNamed, declaration_of, tool_named
from .conversation.tool_journal import Begun, begin, record
from .conversation.tool_results import (
    ErrorCode,
    ExecutionContext,
    ToolCall,
    ToolProcessor,
    ToolProcessorError,
    ToolResult,
    ToolTimeoutError,
    copied_result,
    ensure_registrations,
    execution_scope,
    get_current_context,
    given_again,
    is_transient,
    leaving_no_trace,
    told,
    unapproved,
    undecided,
)
from .exceptions import ToolProcessingError, session_not_found
from .exceptions.validation import check_at_least, check_count, check_json_object
from .models import Session, SessionEvent
from .models.home import HomeStore
from .models.record import new_id
from .models.turns import Turns
from .providers.answers import model_of
from .providers.failures import has_error
from .providers.messages import calls_of
from .providers.openai_responses import approvals_in
from .providers.usage import read_usage, usage_of
from .session_storage import ChukSessionsStore, event_store, get_backend
from .stores import SessionStore

__all__ = [
    "ChukSessionsStore",
    "SessionAwareToolProcessor",
    "ToolProcessor",
    "get_backend",
    "leaving_no_trace",
]

logger: logging.Logger = logging.getLogger(__name__)

# chuk-tool-processor has one registry in each process; its locks are asyncio's and belong to one event loop.
_preparing = Turns()

_FINISHED_KEPT = 100
"""How many processed messages are remembered: only the newest one of a session matters."""

SHORTEST_TIMEOUT = 0.001
"""In seconds: chuk-tool-processor takes 0 as "unless set", and no tool runs in less time."""


@dataclass(slots=True, frozen=True)
class _Outcome:
    call: Call
    result: ToolResult = field(repr=False)
    seconds: float


class SessionAwareToolProcessor:
    """Runs the tool calls of a model's messages, and records calls and results in a session.

    The calls of one message run concurrently, and at most once, in whichever process. A message that the
    session has already is recognised by its response's id, or else because it is the newest message of the
    session; its recorded results are returned again (marked `cached`). A call that was begun and has no
    result gives an error result that says so, and is not run again, unless its tool declares that it is
    idempotent.

    A call that fails gives a result with an `error`, never an exception. The same holds for a result that
    reports a failure itself (MCP's `isError`). Errors that chuk-tool-processor regards as transient are
    tried again; an unknown tool, or arguments that do not fit, are not. A tool may declare how it may be
    called:

    * `@contract(idempotent=True)`: a call may be repeated, whatever its outcome. With any other contract,
      except that of a pure tool, a call is tried once.
    * `@retryable(max_retries=...)`: a failed call is tried again at most so many times.
    * `@contract(determinism=Determinism.PURE)` or `@cacheable`: an earlier result may be reused. With any
      other contract, or `max_retries=0`, every call runs.

    Args:
        session_id: the session to record in. It must exist when a message is processed.
        enable_caching: reuse the result of a success, marked `cached`, when the same tool is
            called with equal arguments, as long as this object lives (see `cache`). Switch this off for
            tools with side effects that do not declare them: a second equal call would not run.
        max_retries: how many times a failed call is tried again, unless its tool declares less.
        retry_delay: seconds between two attempts.
        processor: your own processor (MCP, subprocesses, rate limits, another registry). Then its
            retries, caching and limits apply; here, a call is tried again only if its executor *raises*.
        timeout: seconds that one call may take, including all attempts; then it is an error.
            `None`: only the processor's own limit applies, 10 seconds for each attempt by default. A tool
            run by your own processor may continue in the background after that.
        store: the session's store; by default, the default store.

    Raises:
        AttributeError: the processor has no `executor`.
        InvalidInput: a number is below 0, or the timeout is under a millisecond.
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
        self._finished: deque[str] = deque(maxlen=_FINISHED_KEPT)
        self._tp: Any = ToolProcessor() if processor is None else processor
        if not hasattr(self._tp, "executor"):
            raise AttributeError(f"{type(self._tp).__name__} is missing `.executor`")
        # If the processor has an executor already, somebody else set it up, and its rules apply.
        self._sets_rules = processor is None and self._tp.executor is None

    @classmethod
    async def create(cls, session_id: str, **kwargs: Any) -> Self:
        """Create a processor for a session that exists; `kwargs` are the constructor's arguments.

        Raises:
            SessionNotFound: the session does not exist.
            StorageError: the store failed.
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

        The calls are those of `tool_calls` (OpenAI), or of the content's "tool_use" blocks (Anthropic), or of
        another provider's response. Results and events are in the order of the calls, under the model's call
        ids. A message that the session has already (from a tracked client, from `ai_responds`, or from an
        earlier run) is neither recorded nor billed again, and only calls that nobody has begun are run.

        Pass the whole response if you have it: its id tells it apart from a later response with the same
        content.

        If this call is cancelled, the finished tool calls are recorded and the others are abandoned; tools
        that a processor runs in this process may continue until their own timeout.

        Args:
            llm_msg: the assistant's message, or a whole response, as a dict of JSON values.
            _: ignored, as in the original.
            model: the model that gave the message; by default, the one that the response names.
            provider: the provider that ran the model.
            usage: the provider's own token counts, as for `SessionManager.ai_responds`; by default, those of
                the response. Without any usage, the call is not billed.

        Raises:
            SessionNotFound: the session does not exist, or does not exist any more.
            StorageError: the store failed; tools may have run.
            InvalidInput: `llm_msg` is not such a dict, or the usage is unreadable; nothing was written.
        """
        given = check_json_object(llm_msg, "llm_msg", "process a message")
        model = model or model_of(given)
        counts = usage_of(given) if usage is None else read_usage(usage)
        answer = answer_of(given)
        message = message_in(given, answer)
        has_calls = bool(calls_of(message))
        session, home = await self._session()
        if has_calls:
            await self._prepare()

        async def event(event_id: str | None) -> SessionEvent[Any]:
            made_id = event_id or new_id()
            named = with_call_ids(message, made_id)
            native = None if answer is None else answer.native
            made = await message_event(named, model, provider, counts, claims=has_calls, native=native)
            made.id = made_id
            return made

        if isinstance(session, Session):
            begun = await begin(session, home, message, answer, event, self._finished)
        else:
            parent = await event(None)
            await session.add_event_and_save(parent)
            calls = [parsed_call(call) for call in calls_of(parent.message)]
            begun = Begun(session, parent.id, calls, is_ours=True)
        items = () if answer is None or answer.native is None else answer.native["message"]
        results = await self._run_and_record(begun, home, approvals_in(items))
        self._finished.append(begun.event_id)
        return results

    async def _session(self) -> tuple[Any, HomeStore]:
        """The session and its store. A stand-in for a session needs only `add_event_and_save`."""
        store = ChukSessionsStore(get_backend()) if self._store is None else self._store
        home = event_store(store)
        session = await home.head(self.session_id)
        if not session:
            raise session_not_found(self.session_id)
        return session, home

    # -- running --------------------------------------------------------------------------------

    async def _exec_calls(self, calls: Sequence[Mapping[str, Any]]) -> list[ToolResult]:
        """Run calls in OpenAI's form without recording them; return their results in order."""
        await self._prepare()
        runs = self._started(dict(enumerate(map(parsed_call, calls))))
        return [outcome.result for outcome in await asyncio.gather(*runs.values())]

    async def _prepare(self) -> None:
        """Prepare the processor: a new one has no executor, and does not know the latest tools."""
        async with _preparing.turn():
            await ensure_registrations()
            if self._tp.executor is not None:
                return
            if self._sets_rules:
                # Its cache never hits, and its retries repeat every error, one call at a time.
                self._tp.enable_caching = self._tp.enable_retries = False
                if self.timeout is not None:
                    self._tp.default_timeout = self.timeout
            await self._tp.initialize()
            executor: Any = self._tp.executor
            if self._sets_rules and hasattr(executor, "registry"):
                executor.registry = FailuresNamed(executor.registry)

    async def _run_and_record(
        self, begun: Begun, home: HomeStore, unapproved_ids: Container[str]
    ) -> list[ToolResult]:
        """Run the calls of a message that must run; return all results in the order of the calls.

        Args:
            begun: the message and its calls.
            home: the store.
            unapproved_ids: the requests for approval among the calls, which wait for a person.
        """
        results = {at: given_again(begun.calls[at], outcome) for at, outcome in begun.results.items()}
        to_run: dict[int, Call] = {}
        for at, call in enumerate(begun.calls):
            if at in results:
                continue
            if call.id in unapproved_ids:
                results[at] = unapproved(call)
            elif begun.is_ours or (await self._declaration(call)).is_idempotent:
                to_run[at] = call
            else:
                results[at] = undecided(call)
        runs = self._started(to_run)
        recording = asyncio.create_task(_record(begun, home, runs))
        try:
            results |= await asyncio.shield(recording)
        finally:
            # Cancelled, or the store failed: abandon the running calls, record the finished ones.
            for run in runs.values():
                run.cancel()
            await asyncio.wait([recording])
            if error := recording.exception():
                # If this task was cancelled, nobody else would learn of the failure.
                reason = type(error).__name__
                logger.error("Tool results of session %s could not be recorded: %s", self.session_id, reason)
        return [result for _, result in sorted(results.items())]

    def _started(self, calls: Mapping[int, Call]) -> dict[int, asyncio.Task[_Outcome]]:
        """Start calls. Their tools see the session's id in chuk-tool-processor's current context."""
        around = get_current_context() or ExecutionContext()
        context = around.model_copy(update={"metadata": around.metadata | {"session_id": self.session_id}})
        runs: dict[int, asyncio.Task[_Outcome]] = {}
        newest: dict[str, asyncio.Task[_Outcome]] = {}
        with execution_scope(context):
            for at, call in calls.items():
                runs[at] = asyncio.create_task(self._run(call, newest.get(call.key)))
                newest[call.key] = runs[at]
        return runs

    async def _run(self, call: Call, equal: asyncio.Task[_Outcome] | None) -> _Outcome:
        started = time.perf_counter()
        result = await self._result_of(call, equal)
        return _Outcome(call, result.model_copy(update={"call_id": call.id}), time.perf_counter() - started)

    async def _result_of(self, call: Call, equal: asyncio.Task[_Outcome] | None) -> ToolResult:
        """The result of a call: run now, or taken from `equal`, an equal call earlier in this message."""
        if call.problem:
            error = ToolProcessorError(call.problem, ErrorCode.TOOL_ARGUMENT_ERROR)
            return ToolResult.create_error(call.tool, error)
        declared = await self._declaration(call)
        is_cacheable = self.enable_caching and declared.is_cacheable
        if is_cacheable and equal is not None:
            await asyncio.wait([equal])
        if is_cacheable and call.key in self.cache:
            again = copied_result(self.cache[call.key])
            if again is not None:
                return again.model_copy(update={"cached": True, "attempts": 1})
        result = told(await self._tried(call, declared))
        if is_cacheable and result.error is None and not has_error(result.result):
            kept = copied_result(result)
            if kept is not None:
                self.cache[call.key] = kept
        return result

    async def _declaration(self, call: Call) -> Declaration:
        return declaration_of(await tool_named(getattr(self._tp, "registry", None), call.tool))

    async def _tried(self, call: Call, declared: Declaration) -> ToolResult:
        """The result after as many attempts as needed, within the timeout."""
        most = self.max_retries if declared.most_retries is None else declared.most_retries
        try:
            async with asyncio.timeout(self.timeout):
                while True:
                    call.attempts += 1
                    result, again = await self._try(call)
                    if not again or call.attempts > min(most, self.max_retries):
                        # Your own processor may have tried more than once itself.
                        attempts = call.attempts - 1 + result.attempts
                        return result.model_copy(update={"attempts": attempts})
                    await asyncio.sleep(self.retry_delay)
        except TimeoutError:
            # Not a tool's timeout: `_try` catches everything that an executor raises.
            assert self.timeout is not None  # noqa: S101  (tells mypy)
            timeout = ToolTimeoutError(call.tool, self.timeout, call.attempts)
            return ToolResult.create_error(call.tool, timeout, attempts=call.attempts)

    async def _try(self, call: Call) -> tuple[ToolResult, bool]:
        """The result of one attempt, and whether another attempt may help."""
        try:
            result = await self._execute(call)
        except Exception as error:  # noqa: BLE001  (an executor may raise anything: it is the result)
            return ToolResult.create_error(call.tool, error if str(error) else type(error).__name__), True
        return result, self._sets_rules and is_transient(result)

    async def _execute(self, call: Call) -> ToolResult:
        # A copy for each attempt: if a tool changes its arguments, record and next attempt stay unchanged.
        tool_call = ToolCall(id=call.id, tool=call.tool, arguments=deepcopy(call.arguments))
        # One call at a time: the results of a list come in another order, and sometimes without ids.
        results: list[ToolResult] = await self._maybe_await(self._tp.executor.execute([tool_call]))
        if not results:
            raise ToolProcessingError(call.tool, "the executor returned no result")
        return results[0]

    @staticmethod
    async def _maybe_await(value: Any) -> Any:
        return await value if inspect.isawaitable(value) else value


async def _record(
    begun: Begun, home: HomeStore, runs: Mapping[int, asyncio.Task[_Outcome]]
) -> dict[int, ToolResult]:
    """Record calls in order, each as soon as it and those before it are done; skip cancelled ones."""
    results = {}
    for at, run in runs.items():
        await asyncio.wait([run])
        if run.cancelled():
            continue
        call, result, seconds = run.result().call, run.result().result, run.result().seconds
        outcome = Recorded(result.result, result.error, result.attempts)
        event = await result_event(begun.event_id, at, call, outcome, seconds=seconds, cached=result.cached)
        results[at] = result
        if not isinstance(begun.session, Session):
            await begun.session.add_event_and_save(event)
        elif (stored := await record(begun.session, home, event)) is not event:
            results[at] = given_again(call, recorded_in(stored))
    return results
