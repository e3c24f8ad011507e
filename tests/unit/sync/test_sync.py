"""The blocking API: the async one without `await`, in any thread, process and running loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from types import FunctionType, MethodType
from typing import Any

import pytest
import sync_types
from default_store import stored
from places import Place, everywhere
from running import PATIENCE

import chuk_ai_session_manager as package
from chuk_ai_session_manager import sync
from chuk_ai_session_manager.exceptions import InvalidInput, InvalidSessionOperation
from chuk_ai_session_manager.sync import SessionManager
from chuk_ai_session_manager.sync.blocking import NAMES, Blocking, blocking_class


def said(sm: SessionManager) -> list[Any]:
    return [row["content"] for row in sm.get_conversation()]


def echo(question: Any) -> str:
    return f"You said: {question}"


class TestSameAsTheAsyncOne:
    def test_every_public_name_is_there(self) -> None:
        assert set(package.__all__) <= set(sync.__all__)
        assert all(getattr(sync, name) is not None for name in sync.__all__)
        assert set(sync.__all__) <= set(dir(sync))
        with pytest.raises(AttributeError):
            sync.nonsense  # type: ignore[attr-defined]  # noqa: B018

    @pytest.mark.parametrize("name", sorted(sync_types.MADE))
    def test_every_callable_takes_what_the_async_one_takes_and_needs_no_await(self, name: str) -> None:
        of_async, here = sync_types.async_value(name), getattr(sync, name)
        callables = {"": (of_async, here)}
        if inspect.isclass(of_async):
            assert issubclass(here, Blocking)
            members = [each for kind in of_async.__mro__ for each in vars(kind)]
            public = [each for each in members if not each.startswith("_") or each in NAMES]
            for each in {*public, "__init__"}:
                if isinstance(there := getattr(of_async, each), FunctionType | MethodType):
                    callables[each] = there, getattr(here, NAMES.get(each, each))
        for known, (there, made) in callables.items():
            assert inspect.signature(made) == inspect.signature(there), known
            assert not inspect.iscoroutinefunction(made), known
            assert not inspect.isasyncgenfunction(made), known
        assert inspect.getdoc(here) == inspect.getdoc(of_async)

    def test_the_types_equal_those_of_the_async_api(self) -> None:
        pytest.importorskip("ruff", reason="ruff, which formats the types, is not installed")
        made = sync_types.stub()
        assert sync_types.STUB.read_text("utf-8") == made, "run: python tests/support/sync_types.py"

    def test_what_is_not_async_is_the_same_object(self) -> None:
        assert sync.SessionNotFound is package.SessionNotFound
        assert sync.Session is package.Session
        assert sync.PromptStrategy is package.PromptStrategy

    def test_classes_of_stores_are_related_as_there(self) -> None:
        assert issubclass(sync.SqliteStore, sync.EventStore)
        assert isinstance(sync.open_store("memory://"), sync.MemoryStore)


class TestConversations:
    def test_one_conversation(self) -> None:
        sm = SessionManager(system_prompt="Be brief.", model="gpt-4o")
        assert sm.user_says("one") == sm.session_id
        sm.ai_responds("1", usage={"input_tokens": 10, "output_tokens": 2})
        sm.tool_used("clock", {}, "12:30")
        assert said(sm) == ["one", "1"]
        assert [row["role"] for row in sm.get_messages_for_llm()] == ["system", "user", "assistant"]
        assert sm.get_messages_for_llm(format="anthropic")["system"] == "Be brief."
        assert (sm.get_stats()["input_tokens"], sm.is_infinite, sm.system_prompt) == (10, False, "Be brief.")
        assert repr(sm) == f"SessionManager(session_id={sm.session_id!r}, infinite_context=False)"
        assert sm.update_state(lambda state: state.update(n=1)) == sm.get_state() == {"n": 1}

    def test_a_fork_is_of_the_blocking_kind(self) -> None:
        sm = SessionManager()
        sm.user_says("one")
        fork = sm.fork()
        assert isinstance(fork, SessionManager)
        fork.user_says("two")
        assert (said(sm), said(fork)) == (["one"], ["one", "two"])

    def test_a_subclass_is_one_of_the_application(self) -> None:
        class Shouting(SessionManager):
            def user_says(self, message: Any, **metadata: Any) -> str:
                return super().user_says(message.upper(), **metadata)

        sm = Shouting("loud")
        sm.user_says("one")
        assert said(sm) == ["ONE"]

    @pytest.mark.parametrize("is_async", [False, True])
    def test_summaries_are_there_at_the_end_of_the_block(self, is_async: bool) -> None:
        begun = threading.Event()

        def plain(rows: list[dict[str, Any]]) -> str:
            begun.wait(PATIENCE)
            return f"{len(rows)} messages"

        async def unblocking(rows: list[dict[str, Any]]) -> str:
            return await asyncio.to_thread(plain, rows)

        callback = unblocking if is_async else plain
        with SessionManager(infinite_context=True, max_turns_per_segment=2) as sm:
            sm.set_summary_callback(callback)
            for number in range(3):
                sm.user_says(str(number))
            begun.set()
        first = sync.get_backend().get(sm.conversation_id)
        assert first is not None
        assert first.events[-1].message == "2 messages"

    def test_one_liners(self) -> None:
        session_id = sync.track_conversation("one", "1", model="gpt-4o")
        answer, same_id = sync.track_llm_call("two", echo, session_id=session_id)
        assert (answer, same_id) == ("You said: two", session_id)
        sync.track_tool_use("clock", {}, "12:30", session_id=session_id)
        assert sync.get_session_stats(session_id)["total_messages"] == 4
        assert len(sync.get_conversation_history(session_id)) == 4
        assert sync.quick_conversation("Hello", "Hi")["total_messages"] == 2
        assert sum(row.calls for row in sync.usage_report(sync.get_backend().store)) == 3

    def test_a_manager_goes_with_a_one_liner(self) -> None:
        sm = SessionManager()
        sync.track_llm_call("one", echo, session_manager=sm)
        assert said(sm) == ["one", "You said: one"]

    def test_records_have_their_async_methods_run(self) -> None:
        session: sync.Session[Any] = sync.run(sync.Session.create())
        sync.run(session.add_event_and_save(sync.SessionEvent(message="one", source=sync.EventSource.USER)))
        assert said(SessionManager(session.id)) == ["one"]
        assert sync.build_prompt_from_session(session)[0]["content"] == "one"

    def test_conversations_for_ever_with_ids_of_the_application(self) -> None:
        infinite = sync.InfiniteConversationManager(max_turns_per_segment=1)
        infinite.token_threshold = 50
        session_id = sync.track_conversation("one", "1")

        async def summarise(rows: list[dict[str, Any]]) -> str:
            return "in short"

        after = infinite.process_message(session_id, "two", sync.EventSource.USER, summarise)
        assert after != session_id
        assert infinite.get_session_chain(after)[0].id == session_id

    def test_tools(self) -> None:
        session_id = sync.track_conversation("one", "1")
        processor = sync.SessionAwareToolProcessor.create(session_id, max_retries=0)
        assert processor.max_retries == 0
        assert processor.process_llm_message({"role": "assistant", "content": "no calls"}) == []
        with pytest.raises(sync.SessionNotFound):
            sync.SessionAwareToolProcessor.create("nobody")


class TestStores:
    @everywhere
    def test_a_store_is_opened_and_closed(self, place: Place) -> None:
        with sync.open_store(place.url, sandbox_id=place.sandbox) as store:
            sm = SessionManager(store=store)
            sm.user_says("one")
            assert list(store.list_sessions()) == [sm.session_id]
            exported = list(sync.export_conversation(sm.session_id, store))
            followed = sync.follow(sm.session_id, store, interval=0.01)
            assert next(followed)[1].message == "one"
            SessionManager(sm.session_id, store=store).user_says("two")
            assert next(followed)[1].message == "two"
            followed.close()
            assert store.delete_conversation(sm.session_id) == 1
            assert sync.import_sessions(exported, store) == [sm.session_id]
            assert said(SessionManager(sm.session_id, store=store)) == ["one"]

    def test_the_default_store(self) -> None:
        SessionManager("a").user_says("one")
        backend = sync.get_backend()
        assert backend == sync.get_backend()
        assert isinstance(backend.store, sync.MemoryStore)
        found = backend.store.get("a")
        assert found is not None
        assert found.total_tokens > 0

    def test_a_store_of_the_application(self) -> None:
        class WithTwoMethods:
            def __init__(self) -> None:
                self.kept: dict[str, str] = {}

            async def get(self, session_id: str) -> sync.Session[Any] | None:
                text = self.kept.get(session_id)
                return None if text is None else sync.Session.model_validate_json(text)

            async def save(self, session: sync.Session[Any]) -> None:
                self.kept[session.id] = session.model_dump_json()

        store = WithTwoMethods()
        SessionManager("a", store=store).user_says("one")
        assert said(SessionManager("a", store=store)) == ["one"]

    def test_a_store_of_the_application_that_blocks(self) -> None:
        class WithTwoMethods:
            def __init__(self) -> None:
                self.kept: dict[str, str] = {}

            def get(self, session_id: str) -> sync.Session[Any] | None:
                text = self.kept.get(session_id)
                return None if text is None else sync.Session.model_validate_json(text)

            def save(self, session: sync.Session[Any]) -> None:
                self.kept[session.id] = session.model_dump_json()

        store = WithTwoMethods()
        managers = [SessionManager("a", store=store) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda sm: [sm.user_says(str(number)) for number in range(5)], managers))
        assert sorted(said(managers[0])) == sorted([str(number) for number in range(5)] * 4)
        sync.track_conversation("one", "1", session_id="b", store=store)
        assert set(store.kept) == {"a", "b"}


class TestStreams:
    def test_pieces_come_one_by_one(self) -> None:
        made: list[str] = []

        def model(question: str) -> Iterator[str]:
            for piece in ("a", "b", "c"):
                made.append(piece)
                yield piece

        sm = SessionManager()
        stream = sync.stream_llm_call("q", model, session_manager=sm)
        pieces = iter(stream)
        assert (next(pieces), made, stream.text) == ("a", ["a"], "a")
        assert (list(pieces), stream.text, stream.session_id) == (["b", "c"], "abc", sm.session_id)
        assert said(sm) == ["q", "abc"]

    def test_an_async_generator_keeps_its_context_from_piece_to_piece(self) -> None:
        variable: ContextVar[int] = ContextVar("variable", default=0)

        async def model(question: str) -> AsyncIterator[str]:
            token = variable.set(1)
            yield str(variable.get())
            variable.reset(token)
            yield str(variable.get())

        assert list(sync.stream_llm_call("q", model)) == ["1", "0"]

    @pytest.mark.parametrize("leaving", ["close", "break", "error"])
    def test_a_stream_that_is_left_is_kept_as_far_as_it_came(self, leaving: str) -> None:
        def model(question: str) -> Iterator[str]:
            yield "a"
            if leaving == "error":
                raise ZeroDivisionError
            yield "b"

        sm = SessionManager()
        stream = sync.stream_llm_call("q", model, session_manager=sm)
        if leaving == "error":
            with pytest.raises(ZeroDivisionError):
                list(stream)
        for _ in stream if leaving != "error" else ():
            break
        if leaving == "close":
            stream.close()
        sm.user_says("next")
        assert said(sm) == ["q", "a", "next"]


class TestErrors:
    def test_an_error_is_the_async_one_and_says_where_it_came_from(self) -> None:
        with pytest.raises(sync.SessionNotFound) as caught:
            SessionManager("nobody").get_conversation()
        functions = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert functions[0] == "test_an_error_is_the_async_one_and_says_where_it_came_from"
        assert "get_conversation" in functions
        assert functions[-1] == "_find_or_create"

    @pytest.mark.parametrize("kind", [ZeroDivisionError, SystemExit, KeyboardInterrupt, StopAsyncIteration])
    def test_an_error_of_the_application_comes_back(self, kind: type[BaseException]) -> None:
        def model(question: str) -> str:
            raise kind

        async def unblocking(question: str) -> str:
            raise kind

        for function in (model, unblocking):
            sm = SessionManager()
            with pytest.raises(kind):
                sync.track_llm_call("q", function, session_manager=sm)
            assert said(sm) == ["q"]  # the loop goes on

    def test_an_async_function_cannot_wait_for_the_loop_that_it_runs_in(self) -> None:
        sm = SessionManager()

        async def model(question: str) -> str:
            return str(said(sm)[0])

        with pytest.raises(InvalidSessionOperation, match="make it a plain function"):
            sync.track_llm_call("q", model, session_manager=sm)

        def plain(question: str) -> str:
            return str(said(sm)[0])

        assert sync.track_llm_call("r", plain, session_manager=sm)[0] == "q"

    def test_a_plain_function_that_runs_in_the_loop_learns_what_to_do(self) -> None:
        sm = SessionManager()
        sm.user_says("Hi")
        with pytest.raises(InvalidSessionOperation, match="function of update_state: make the call before"):
            sm.update_state(lambda state: state.update(said=len(said(sm))))
        assert sm.get_state() == {}
        redacting = SessionManager(redact=lambda text: text + str(said(sm)))
        with pytest.raises(InvalidInput) as refused:
            redacting.user_says("Hi")
        assert "In a redact hook" in str(refused.value.__cause__)

    def test_a_call_inside_of_a_call_does_not_wait_for_it(self) -> None:
        sm = SessionManager(token_limit=1000)

        def outer(question: str) -> str:
            return sync.track_llm_call("inner", echo, session_manager=sm)[0]

        assert sync.track_llm_call("outer", outer, session_manager=sm)[0] == "You said: inner"


class TestThreads:
    def test_any_number_of_threads(self) -> None:
        sm = SessionManager("shared")

        def tell(name: int) -> None:
            for number in range(10):
                sm.user_says(f"{name}-{number}")

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(tell, range(16)))
        rows = said(sm)
        assert len(rows) == 160
        for name in range(16):
            mine = [row for row in rows if row.startswith(f"{name}-")]
            assert mine == [f"{name}-{number}" for number in range(10)]
        assert [each.name for each in threading.enumerate()].count("chuk-sync") == 1

    async def test_inside_of_a_running_loop(self) -> None:
        sm = SessionManager("notebook")
        sm.user_says("one")
        await package.SessionManager("notebook").user_says("two")
        assert said(sm) == ["one", "two"]


class TestAsyncBlock:
    async def test_summaries_are_there_at_its_end(self) -> None:
        async def summarise(rows: list[dict[str, Any]]) -> str:
            await asyncio.sleep(2.2)  # longer than a message waits for it
            return "in short"

        async with package.SessionManager(
            "a", infinite_context=True, max_turns_per_segment=2, summary_callback=summarise
        ) as sm:
            for number in range(3):
                await sm.user_says(str(number))
        session = await stored("a")
        assert session.events[-1].message == "in short"

    async def test_an_error_in_it_is_raised_and_a_cancelled_block_ends_at_once(self) -> None:
        async def fail() -> None:
            async with package.SessionManager() as sm:
                await sm.user_says("one")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        never = asyncio.Event()

        async def summarise(rows: list[dict[str, Any]]) -> str:
            await never.wait()
            return ""

        async def work() -> None:
            async with package.SessionManager(
                infinite_context=True, max_turns_per_segment=1, summary_callback=summarise
            ) as sm:
                await sm.user_says("one")
                await sm.user_says("two")
                await never.wait()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work(), 3)


def test_a_class_is_made_once() -> None:
    made: type = blocking_class(package.SessionManager)
    assert made is SessionManager
