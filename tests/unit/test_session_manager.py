from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest
from contexts import apart
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager import SessionManager, TokenUsage
from chuk_ai_session_manager.accounts.pricing import set_price
from chuk_ai_session_manager.exceptions import (
    InvalidInput,
    SessionManagerError,
    SessionNotFound,
    StorageError,
    TokenLimitExceeded,
)
from chuk_ai_session_manager.models import EventSource, EventType, Session, SessionEvent
from chuk_ai_session_manager.session_storage import get_backend
from chuk_ai_session_manager.stores import MemoryStore


async def stored(session_id: str) -> Session[Any]:
    session = await get_backend().get(session_id)
    assert session is not None
    return session


class TestIds:
    async def test_a_new_one_is_a_uuid_and_stays(self) -> None:
        sm = SessionManager()
        before = sm.session_id
        assert len(before) == 36
        assert await sm.user_says("hello") == before == sm.session_id

    async def test_writing_to_an_unknown_id_makes_it(self) -> None:
        assert await SessionManager("mine-not-found").user_says("hello") == "mine-not-found"
        assert len((await stored("mine-not-found")).events) == 1

    async def test_unless_told_otherwise(self) -> None:
        sm = SessionManager("mine", create=False)
        with pytest.raises(SessionNotFound, match="Session mine not found"):
            await sm.user_says("hello")
        await SessionManager("mine").user_says("hello")
        assert await sm.user_says("now it is there") == "mine"
        assert await SessionManager(create=False).user_says("an id made here is no unknown one")

    @pytest.mark.parametrize(
        "read",
        [
            lambda sm: sm.get_stats(),
            lambda sm: sm.get_conversation(),
            lambda sm: sm.get_messages_for_llm(),
        ],
    )
    async def test_reading_an_unknown_id_makes_nothing(self, read: Callable[[SessionManager], Any]) -> None:
        for infinite in (False, True):
            with pytest.raises(ValueError, match="Session nobody not found"):
                await read(SessionManager("nobody", infinite_context=infinite))
        assert await get_backend().list_sessions() == []

    async def test_many_first_calls_open_it_once(self) -> None:
        sm, other = SessionManager("mine"), SessionManager("mine")
        await asyncio.gather(*(one.user_says("hello") for one in (sm, other) for _ in range(5)))
        assert len((await stored("mine")).events) == 10

    async def test_ten_managers_in_parallel(self) -> None:
        managers = [SessionManager() for _ in range(10)]
        await asyncio.gather(*(sm.user_says(f"{at}-{n}") for at, sm in enumerate(managers) for n in range(5)))
        assert len({sm.session_id for sm in managers}) == 10
        for at, sm in enumerate(managers):
            assert [row["content"] for row in await sm.get_conversation()] == [f"{at}-{n}" for n in range(5)]

    async def test_ten_managers_on_one_session(self) -> None:
        managers = [SessionManager("mine") for _ in range(10)]
        await asyncio.gather(*(sm.user_says(f"{at}-{n}") for at, sm in enumerate(managers) for n in range(5)))
        said = [row["content"] for row in await managers[0].get_conversation()]
        assert len(set(said)) == 50
        for at in range(10):  # each manager's in the order of its calls
            assert [text for text in said if text.startswith(f"{at}-")] == [f"{at}-{n}" for n in range(5)]

    async def test_many_first_readings_open_it_once(self) -> None:
        class CountingStore(MemoryStore):
            created = 0

            async def create(self, session: Session[Any]) -> None:
                self.created += 1
                await asyncio.sleep(0.01)
                await super().create(session)

        store = CountingStore()
        sm = SessionManager(store=store)
        await asyncio.gather(*(sm.get_stats() for _ in range(5)), sm.user_says("hello"))
        assert store.created == 1

    async def test_a_parent_is_entered_and_an_unknown_one_kept(self) -> None:
        parent = SessionManager()
        await parent.user_says("hello")
        child = SessionManager(parent_id=parent.session_id)
        await child.user_says("hi")
        assert (await stored(parent.session_id)).child_ids == [child.session_id]
        await SessionManager("orphan", parent_id="nowhere").user_says("hi")
        assert (await stored("orphan")).parent_id == "nowhere"

    async def test_recovery_of_an_id_made_here(self) -> None:
        sm = SessionManager()
        await sm.user_says("one")
        await get_backend().delete(sm.session_id)
        sm._session, sm._initialized = None, False
        await sm._ensure_initialized()
        await sm.user_says("two")
        assert (await sm.get_stats())["total_messages"] == 1

    async def test_recovery_of_a_session_that_is_still_there(self) -> None:
        sm = SessionManager()
        await sm.user_says("one")
        sm._session, sm._initialized = None, False
        await sm.user_says("two")
        assert (await sm.get_stats())["total_messages"] == 2

    async def test_a_session_that_was_deleted_meanwhile_is_not_found(self) -> None:
        sm = SessionManager("mine")
        await sm.user_says("one")
        await get_backend().delete("mine")
        for again in (sm.user_says("two"), sm.get_stats(), sm.get_conversation()):
            with pytest.raises(SessionNotFound):
                await again


class TestWriting:
    async def test_events_as_applications_know_them(self) -> None:
        sm = SessionManager()
        await sm.user_says("question", mood="curious")
        await sm.ai_responds("answer", model="gpt-4", provider="openai", latency=0.5)
        await sm.tool_used("calculator", {"a": 5}, {"result": 8})
        await sm.tool_used("calculator", {"a": 5}, None, error="broken")
        said, answered, used, failed = (await stored(sm.session_id)).events
        assert (said.source, said.type, said.metadata) == (
            EventSource.USER,
            EventType.MESSAGE,
            {"mood": "curious"},
        )
        assert (answered.source, answered.message) == (EventSource.LLM, "answer")
        assert answered.metadata["latency"] == 0.5
        assert (answered.metadata["model"], answered.metadata["provider"]) == ("gpt-4", "openai")
        datetime.fromisoformat(answered.metadata["timestamp"])
        assert (used.source, used.type, used.token_usage) == (EventSource.SYSTEM, EventType.TOOL_CALL, None)
        assert used.message == {
            "tool": "calculator",
            "arguments": {"a": 5},
            "result": {"result": 8},
            "error": None,
            "success": True,
        }
        assert (failed.message["error"], failed.message["success"]) == ("broken", False)

    async def test_metadata_may_override_the_timestamp(self) -> None:
        sm = SessionManager()
        await sm.ai_responds("answer", timestamp="2020-01-01T00:00:00")
        assert (await stored(sm.session_id)).events[0].metadata["timestamp"] == "2020-01-01T00:00:00"

    async def test_results_that_are_no_json_are_kept_readably(self) -> None:
        sm = SessionManager()
        await sm.tool_used("clock", {"zone": {"UTC"}}, object, tool_call_id="call_1")
        await sm.tool_used("clock", {"zone": "\ud800"}, "\ud800", error="\ud800")
        assert "\\ud800" in (await stored(sm.session_id)).model_dump_json()
        event = (await stored(sm.session_id)).events[0]
        assert event.message["result"] == str(object)
        assert event.message["arguments"] == {"zone": ["UTC"]}
        assert event.metadata["tool_call_id"] == "call_1"

    async def test_values_that_resist_are_kept_readably(self) -> None:
        class Mute:
            def __str__(self) -> str:
                raise RuntimeError

        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        sm = SessionManager()
        for value in (deep, Mute(), 10**5000, {"n": 10**5000, "s": {1}}):
            await sm.tool_used("t", value, value)
        session = await stored(sm.session_id)
        assert Session.model_validate_json(session.model_dump_json()).events == session.events
        with pytest.raises(InvalidInput, match="too many digits"):
            await sm.user_says("x", number=10**5000)

    async def test_calls_at_once_keep_their_order(self) -> None:
        sm = SessionManager()
        long_text = "many words " * 20_000  # counted in a thread
        texts = ["one", long_text, "three", "four", "five"]
        await asyncio.gather(*(sm.user_says(text) for text in texts))
        assert [row["content"] for row in await sm.get_conversation()] == texts

    @pytest.mark.parametrize("text", ["", "<|endoftext|>", "nul \x00", "👩‍👩‍👧‍👦", "שלום"])
    async def test_odd_text_is_kept_as_it_is(self, text: str) -> None:
        sm = SessionManager()
        await sm.user_says(text)
        await sm.ai_responds(text, model="gpt-4")
        assert [row["content"] for row in await sm.get_conversation()] == [text, text]
        assert ((await sm.get_stats())["total_tokens"] > 0) == bool(text)

    @pytest.mark.parametrize(
        ("call", "says"),
        [
            (lambda sm: sm.user_says(b"bytes"), "message must be text"),
            (lambda sm: sm.user_says(None), "message must be text"),
            (lambda sm: sm.user_says("half \ud800"), "half of a surrogate pair"),
            (lambda sm: sm.user_says("x", tag=["\ud800"]), "half of a surrogate pair"),
            (lambda sm: sm.user_says("x", tag={1}), "metadata must be JSON"),
            (lambda sm: sm.ai_responds(["x"]), "list is no known response"),
            (lambda sm: sm.ai_responds("x", model=""), "model must not be empty"),
            (lambda sm: sm.ai_responds("x", model=None), "model must be text"),
            (lambda sm: sm.ai_responds("x", provider=3), "provider must be text"),
            (lambda sm: sm.ai_responds("x", usage={"prompt_tokens": -1}), "at least 0"),
            (lambda sm: sm.ai_responds("x", usage={"watts": 5}), "none of the known names"),
            (lambda sm: sm.ai_responds("x", when=datetime.max), "metadata must be JSON"),
            (lambda sm: sm.tool_used("", {}, 1), "tool_name must not be empty"),
            (lambda sm: sm.tool_used("x", {}, 1, tool_call_id=""), "tool_call_id must not be empty"),
            (lambda sm: sm.tool_used("x", {}, 1, at=datetime.max), "metadata must be JSON"),
            (lambda sm: sm.add_messages("x"), "messages must be a list"),
            (lambda sm: sm.add_messages([{"role": "user", "content": "x"}, {"role": "?"}]), r"messages\[1\]"),
            (lambda sm: sm.add_messages([], model=""), "model must not be empty"),
            (lambda sm: sm.update_system_prompt(5), "prompt must be text"),
        ],
    )  # fmt: skip
    async def test_bad_input_is_refused_before_anything_is_written(
        self, call: Callable[[SessionManager], Any], says: str
    ) -> None:
        sm = SessionManager("mine")
        with pytest.raises(InvalidInput, match=says):
            await call(sm)
        assert await get_backend().list_sessions() == []

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ({"session_id": ""}, "not empty"),
            ({"session_id": "x" * 256}, "at most 255"),
            ({"session_id": "a\nb"}, "control"),
            ({"session_id": 5}, "a session id is a text"),
            ({"parent_id": ""}, "not empty"),
            ({"token_threshold": 0}, "token_threshold"),
            ({"max_turns_per_segment": 0}, "max_turns_per_segment"),
            ({"token_limit": 0}, "token_limit"),
            ({"cost_limit": -0.1}, "cost_limit"),
            ({"summary_max_tokens": 0}, "summary_max_tokens"),
            ({"summary_timeout": -1}, "summary_timeout"),
            ({"model": ""}, "model must not be empty"),
            ({"metadata": {"x": {1}}}, "metadata must be JSON"),
            ({"metadata": ["x"]}, "metadata must be a dict"),
            ({"system_prompt": 5}, "system_prompt must be text"),
            ({"user_id": 5}, "user_id must be text"),
        ],
    )
    def test_bad_arguments_are_refused_at_once(self, arguments: dict[str, Any], says: str) -> None:
        with pytest.raises(InvalidInput, match=says):
            SessionManager(**arguments)

    async def test_errors_and_reprs_say_nothing_of_what_was_said(self) -> None:
        sm = SessionManager(system_prompt="hunter2", metadata={"k": "hunter2"})
        await sm.user_says("hunter2")
        assert "hunter2" not in repr(sm)
        with pytest.raises(InvalidInput) as caught:
            await sm.user_says("hunter2", secret={"hunter2"})
        assert "hunter2" not in str(caught.value)

    async def test_cancelled_is_wholly_there_or_wholly_absent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        counting, go_on = asyncio.Event(), asyncio.Event()

        async def slow(text: str, model: str) -> int:
            counting.set()
            await go_on.wait()
            return 1

        sm = SessionManager()
        await sm.user_says("one")
        monkeypatch.setattr(TokenUsage, "count_tokens", staticmethod(slow))
        writing = asyncio.create_task(sm.user_says("two"))
        await counting.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        go_on.set()
        await sm.user_says("three")
        assert [row["content"] for row in await sm.get_conversation()] == ["one", "three"]

    def test_a_manager_may_be_used_in_one_loop_after_another(self) -> None:
        sm = SessionManager()
        for text in ("one", "two"):
            asyncio.run(sm.user_says(text))
        assert len(asyncio.run(sm.get_conversation())) == 2


class TestMetadata:
    async def test_it_becomes_the_session_s_properties(self) -> None:
        given_metadata = {"topic": "maths", "created_at": "yesterday", "system_prompt": "ignored"}
        sm = SessionManager(metadata=given_metadata, system_prompt="Be brief", user_id="ada")
        await sm.user_says("hello")
        assert (await stored(sm.session_id)).metadata.properties == {
            "topic": "maths",
            "created_at": "yesterday",
            "system_prompt": "Be brief",
            "user_id": "ada",
        }
        await sm.update_system_prompt("Be briefer")
        assert given_metadata["system_prompt"] == "ignored"

    async def test_a_prompt_in_the_metadata_is_the_prompt(self) -> None:
        sm = SessionManager(metadata={"system_prompt": "x"})
        await sm.user_says("hello")
        assert sm.system_prompt == "x"

    async def test_what_an_application_does_to_its_own_reaches_nothing_stored(self) -> None:
        metadata: dict[str, Any] = {"tags": ["a"]}
        arguments: dict[str, Any] = {"list": [1]}
        rows: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
        sm = SessionManager(metadata=metadata)
        await sm.add_messages(rows)
        await sm.user_says("hello", **metadata)
        await sm.tool_used("t", arguments, arguments)
        before = (await stored(sm.session_id)).model_dump_json()
        metadata["tags"].append("b")
        arguments["list"].append(2)
        rows[0]["content"].clear()
        for out in (await sm.get_messages_for_llm(include_tools=True), await sm.get_conversation()):
            out[0]["content"].clear()
        assert (await stored(sm.session_id)).model_dump_json() == before


class TestSystemPrompt:
    async def test_it_goes_first(self) -> None:
        sm = SessionManager(system_prompt="Be brief")
        await sm.user_says("hello")
        assert (await sm.get_messages_for_llm())[0] == {"role": "system", "content": "Be brief"}
        assert await sm.get_messages_for_llm(include_system=False) == [{"role": "user", "content": "hello"}]

    @pytest.mark.parametrize("prompt", [None, "", "  \n"])
    async def test_a_blank_one_stays_out(self, prompt: str | None) -> None:
        sm = SessionManager(system_prompt=prompt)
        await sm.user_says("hello")
        assert await sm.get_messages_for_llm() == [{"role": "user", "content": "hello"}]

    async def test_it_is_found_again(self) -> None:
        await SessionManager("mine", system_prompt="Be brief").user_says("hello")
        again = SessionManager("mine")
        await again.get_messages_for_llm()
        assert again.system_prompt == "Be brief"
        told = SessionManager("mine", system_prompt="Be long")
        assert (await told.get_messages_for_llm())[0]["content"] == "Be long"
        assert (await stored("mine")).metadata.properties["system_prompt"] == "Be brief"

    async def test_an_update_while_the_session_is_made_is_kept(self) -> None:
        class SlowStore(MemoryStore):
            async def create(self, session: Session[Any]) -> None:
                await super().create(session)
                await asyncio.sleep(0.02)

        sm = SessionManager(system_prompt="old", store=SlowStore())
        saying = asyncio.create_task(sm.user_says("hello"))
        await asyncio.sleep(0.005)
        await sm.update_system_prompt("new")
        await saying
        assert (await sm.get_messages_for_llm())[0]["content"] == "new"

    async def test_another_manager_s_update_is_seen(self) -> None:
        sm, other = SessionManager("mine", system_prompt="one"), SessionManager("mine")
        await sm.user_says("hello")
        await other.user_says("hello")
        await other.update_system_prompt("two")
        assert (await sm.get_messages_for_llm())[0]["content"] == "two"

    async def test_updates_before_and_after_are_kept(self) -> None:
        sm = SessionManager("mine")
        await sm.update_system_prompt("one")
        assert sm.system_prompt == "one"
        await sm.user_says("hello")
        assert (await stored("mine")).metadata.properties["system_prompt"] == "one"
        await sm.update_system_prompt("two")
        assert (await stored("mine")).metadata.properties["system_prompt"] == "two"
        other = SessionManager("mine")
        await other.update_system_prompt("three")
        await other.get_messages_for_llm()
        assert (await stored("mine")).metadata.properties["system_prompt"] == "three"


class TestLedgers:
    @pytest.mark.usefixtures("exact_counting")
    async def test_content_tokens_are_the_model_s_count_of_each_message_once(self) -> None:
        sm = SessionManager(system_prompt="Be brief")
        await sm.user_says("hello world")
        await sm.ai_responds("hello world", model="gpt-4")
        said, answered = (await stored(sm.session_id)).events
        assert said.token_usage is not None
        assert answered.token_usage is not None
        assert (said.token_usage.prompt_tokens, answered.token_usage.completion_tokens) == (2, 2)
        assert not answered.token_usage.estimated
        assert (await sm.get_stats())["total_tokens"] == 4

    @pytest.mark.usefixtures("exact_counting")
    async def test_without_usage_the_input_is_what_would_have_been_sent(self) -> None:
        sm = SessionManager(system_prompt="hello world")
        for _ in range(2):
            await sm.user_says("hello world")
            await sm.ai_responds("hello world", model="gpt-4")
        stats = await sm.get_stats()
        # Two and four messages with three tokens around each, and the answer's beginning.
        around = (2 * 3 + 3) + (4 * 3 + 3)
        assert stats["input_tokens"] == (2 + 2) + (2 + 6) + around
        assert stats["output_tokens"] == 4
        assert (stats["llm_calls"], stats["usage_source"]) == (2, "estimated")
        assert stats["estimated_cost"] == pytest.approx((12 + around) * 30e-6 + 4 * 60e-6)

    async def test_the_provider_s_figures_win(self) -> None:
        sm = SessionManager()
        await sm.user_says("hello")
        usage = {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 400},
        }
        await sm.ai_responds("hi", model="gpt-4o", provider="openai", usage=usage)
        stats = await sm.get_stats()
        assert (stats["input_tokens"], stats["output_tokens"], stats["cache_read_tokens"]) == (1000, 100, 400)
        assert stats["usage_source"] == "reported"
        assert stats["estimated_cost"] == pytest.approx(600 * 2.5e-6 + 400 * 1.25e-6 + 100 * 10e-6)
        assert stats["total_tokens"] < 20
        await sm.ai_responds("hi", model="gpt-4o")
        assert (await sm.get_stats())["usage_source"] == "mixed"

    async def test_anthropic_s_cache_is_billed_once(self) -> None:
        sm = SessionManager()
        usage = {
            "input_tokens": 100,
            "output_tokens": 50,
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 600,
        }
        await sm.ai_responds("hi", model="claude-3-5-sonnet-20241022", provider="anthropic", usage=usage)
        stats = await sm.get_stats()
        assert (stats["input_tokens"], stats["cache_read_tokens"], stats["cache_write_tokens"]) == (
            1000,
            600,
            300,
        )
        dollars = (100 * 3 + 300 * 3.75 + 600 * 0.3 + 50 * 15) / 1e6
        assert stats["estimated_cost"] == pytest.approx(dollars)

    async def test_unknown_models_are_unpriced_and_counted(self) -> None:
        sm = SessionManager()
        await sm.ai_responds("hi", model="my-local-model", usage={"input_tokens": 10, "output_tokens": 1})
        await sm.ai_responds("hi")
        event = (await stored(sm.session_id)).events[0]
        assert event.usage is not None
        assert event.token_usage is not None
        assert event.usage.cost_usd is None
        assert event.token_usage.estimated_cost_usd is None
        stats = await sm.get_stats()
        assert (stats["unpriced_calls"], stats["llm_calls"], stats["estimated_cost"]) == (2, 2, 0.0)
        assert isinstance(stats["estimated_cost"], float)
        set_price("my-local-model", input=100, output=100)
        await sm.ai_responds("hi", model="my-local-model", usage={"input_tokens": 10, "output_tokens": 1})
        stats = await sm.get_stats()
        assert stats["estimated_cost"] == pytest.approx(11 * 100e-6)
        assert stats["unpriced_calls"] == 2

    @given(
        st.lists(
            st.tuples(st.sampled_from(["gpt-4", "gpt-4o", "unknown", "nobody"]), st.integers(0, 5000)),
            max_size=12,
        )
    )
    def test_there_is_one_number_for_the_bill(self, calls: list[tuple[str, int]]) -> None:
        async def bill() -> None:
            sm = SessionManager(store=MemoryStore())
            await sm.user_says("hello")
            for model, sent in calls:
                usage = {"input_tokens": sent, "output_tokens": 7} if sent % 2 else None
                await sm.ai_responds("hi", model=model, usage=usage)
            stats = await sm.get_stats()
            _, session = await sm._conversation.current()
            costs = [event.usage.cost_usd for event in session.events if event.usage]
            assert stats["estimated_cost"] == session.total_cost
            assert session.total_cost == pytest.approx(sum(cost or 0 for cost in costs))
            assert stats["unpriced_calls"] == costs.count(None)

        asyncio.run(bill())

    async def test_the_manager_s_model_is_the_default(self) -> None:
        sm = SessionManager(model="gpt-4")
        await sm.user_says("hello")
        await sm.ai_responds("hi")
        await sm.ai_responds("hi", model="gpt-4o")
        said, first, second = (await stored(sm.session_id)).events
        assert [event.token_usage.model for event in (said, first, second) if event.token_usage] == [
            "gpt-4",
            "gpt-4",
            "gpt-4o",
        ]
        assert first.metadata["model"] == "gpt-4"

    async def test_every_count_goes_through_the_hook(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[tuple[str, str]] = []

        async def count(text: str, model: str) -> int:
            seen.append((text, model))
            return 10

        monkeypatch.setattr(TokenUsage, "count_tokens", staticmethod(count))
        sm = SessionManager(system_prompt="p")
        await sm.user_says("q")
        await sm.ai_responds("a", model="gpt-4")
        await sm.ai_responds("b", model="gpt-4")
        assert seen == [("q", "gpt-4o-mini"), ("a", "gpt-4"), ("p", "gpt-4"), ("b", "gpt-4")]
        assert (await sm.get_stats())["total_tokens"] == 30


class TestLimits:
    async def test_tokens(self) -> None:
        sm = SessionManager(token_limit=20)
        await sm.user_says("hello there")
        before = await sm.get_stats()
        with pytest.raises(TokenLimitExceeded, match="> 20") as caught:
            await sm.user_says("many words " * 50)
        assert (caught.value.limit, (caught.value.actual or 0) > 20) == (20, True)
        assert await sm.get_stats() == before
        await sm.user_says("ok")

    async def test_a_question_is_refused_where_the_limit_is_reached_also_one_without_tokens(self) -> None:
        length = await TokenUsage.count_tokens("hello there", "gpt-4o-mini")
        sm = SessionManager(token_limit=length)
        await sm.user_says("hello there")
        with pytest.raises(TokenLimitExceeded, match="Token limit reached"):
            await sm.user_says("")

    async def test_dollars(self) -> None:
        """The last call may cross the limit: what a call costs is known when it is over."""
        sm = SessionManager(cost_limit=0.10)
        usage = {"input_tokens": 1000, "output_tokens": 0}  # 0.03 USD
        for _ in range(4):
            await sm.user_says("q")
            await sm.ai_responds("a", model="gpt-4", usage=usage)
        before = await sm.get_stats()
        assert (before["llm_calls"], before["estimated_cost"]) == (4, pytest.approx(0.12))
        with pytest.raises(TokenLimitExceeded, match=r"Cost limit exceeded: 0\.12.* USD of 0\.1 USD"):
            await sm.user_says("q")
        await sm.ai_responds("of a call that was made already", model="gpt-4", usage=usage)
        assert (await sm.get_stats())["llm_calls"] == 5

    async def test_no_dollars_at_all_lets_what_costs_nothing_pass(self) -> None:
        sm = SessionManager(cost_limit=0)
        for model in ("my-local-model", "gpt-4"):
            await sm.user_says("q")
            await sm.ai_responds("a", model=model)
        with pytest.raises(TokenLimitExceeded):
            await sm.user_says("q")

    @pytest.mark.parametrize("infinite", [False, True])
    @pytest.mark.parametrize("limit", [{"token_limit": 20}, {"cost_limit": 1e-7}])
    async def test_an_answer_and_a_result_are_kept_whatever_they_come_to(
        self, infinite: bool, limit: dict[str, Any]
    ) -> None:
        sm = SessionManager(infinite_context=infinite, model="gpt-4", **limit)
        await sm.user_says("q")
        await sm.ai_responds("word " * 50)
        await sm.tool_used("look_up", {}, "word " * 50)
        await sm.add_messages([{"role": "tool", "tool_call_id": "c", "content": "word " * 50}])
        before = await sm.get_stats()
        assert (before["llm_calls"], before["tool_calls"], before["ai_messages"]) == (1, 2, 1)
        assert before["estimated_cost"] > 0
        with pytest.raises(TokenLimitExceeded):
            await sm.user_says("q")
        assert await sm.get_stats() == before

    @pytest.mark.parametrize("infinite", [False, True])
    @pytest.mark.parametrize("limit", [{"token_limit": 20}, {"cost_limit": 1e-7}])
    async def test_of_a_list_what_has_happened_is_kept_and_the_question_at_its_end_refused(
        self, infinite: bool, limit: dict[str, Any]
    ) -> None:
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        rows: list[dict[str, Any]] = [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "word " * 50, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "found"},
        ]
        sm = SessionManager(infinite_context=infinite, model="gpt-4", **limit)
        with pytest.raises(TokenLimitExceeded):
            await sm.add_messages([*rows, {"role": "user", "content": "and?"}])
        assert await sm.get_messages_for_llm(include_tools=True) == rows
        stats = await sm.get_stats()
        assert (stats["llm_calls"], stats["user_messages"]) == (1, 1)
        assert stats["estimated_cost"] > 0

    async def test_the_system_prompt_does_not_count(self) -> None:
        sm = SessionManager(token_limit=10)
        await sm.add_messages(
            [{"role": "system", "content": "word " * 50}, {"role": "user", "content": "hi"}]
        )
        assert (await sm.get_stats())["total_tokens"] <= 3

    async def test_no_question_is_taken_once_the_money_is_spent(self) -> None:
        sm = SessionManager(cost_limit=0.03)
        await sm.ai_responds("a", model="gpt-4", usage={"input_tokens": 1000, "output_tokens": 0})
        with pytest.raises(TokenLimitExceeded):
            await sm.user_says("one more?")

    async def test_a_list_of_messages_is_refused_whole(self) -> None:
        sm = SessionManager("mine", token_limit=20)
        await sm.user_says("hello")
        with pytest.raises(TokenLimitExceeded):
            await sm.add_messages([{"role": "user", "content": "five more words for you"}] * 10)
        assert (await sm.get_stats())["total_messages"] == 1

    async def test_they_hold_for_all_segments(self) -> None:
        sm = SessionManager(infinite_context=True, max_turns_per_segment=1, token_limit=10)
        with pytest.raises(TokenLimitExceeded):
            await asyncio.gather(*(sm.user_says("hello there") for _ in range(20)))
        assert (await sm.get_stats())["total_tokens"] <= 10


class TestWholeConversations:
    async def test_real_ones_come_out_as_they_went_in(self, chats: list[dict[str, Any]]) -> None:
        messages = tools = 0
        for chat in chats:
            sm = SessionManager(chat["id"])
            await sm.add_messages(chat["messages"], model=chat["model"], provider="openai")
            assert await sm.get_messages_for_llm(include_tools=True) == chat["messages"]
            stats = await sm.get_stats()
            assert stats["unpriced_calls"] == 0
            assert stats["estimated_cost"] > 0
            tools += stats["tool_calls"]
            messages += stats["total_messages"] + stats["tool_calls"] + (sm.system_prompt is not None)
        assert (len(await get_backend().list_sessions()), messages, tools) == (20, 610, 123)

    @pytest.mark.usefixtures("exact_counting")
    async def test_content_tokens_are_tiktoken_s(self, chats: list[dict[str, Any]]) -> None:
        import tiktoken

        encoding = tiktoken.encoding_for_model("gpt-4o")

        def length(row: dict[str, Any]) -> int:
            texts = [row["content"]]
            for call in row.get("tool_calls", []):
                texts += [call["function"]["name"], call["function"]["arguments"]]
            return len(encoding.encode_ordinary("\n".join(filter(None, texts))))

        for chat in chats:
            sm = SessionManager()
            await sm.add_messages(chat["messages"], model="gpt-4o")
            expected = sum(length(row) for row in chat["messages"][1:])  # the first is the system prompt
            assert (await sm.get_stats())["total_tokens"] == expected

    async def test_a_leading_system_message_is_the_prompt(self) -> None:
        rows = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "hello"}]
        sm = SessionManager()
        await sm.add_messages(rows)
        assert sm.system_prompt == "Be brief"
        assert await sm.get_messages_for_llm() == rows
        again = SessionManager(sm.session_id)
        assert await again.get_messages_for_llm() == rows

    async def test_later_system_messages_stay_where_they_were(self) -> None:
        rows = [
            {"role": "user", "content": "hello"},
            {"role": "system", "content": "The user is in a hurry."},
            {"role": "developer", "content": "So am I."},
        ]
        sm = SessionManager(system_prompt="Be brief")
        await sm.add_messages(rows)
        full = await sm.get_messages_for_llm(include_tools=True)
        assert full == [{"role": "system", "content": "Be brief"}, *rows]
        assert await sm.get_messages_for_llm(include_tools=True, include_system=False) == rows[:1]

    async def test_added_bit_by_bit_is_added_whole(self) -> None:
        rows: list[dict[str, Any]] = [
            {"role": "user", "content": "sum?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "3"},
            {"role": "assistant", "content": "3"},
        ]
        sm = SessionManager("mine")
        for row in rows:
            await SessionManager("mine").add_messages([row])
        assert await sm.get_messages_for_llm(include_tools=True) == rows
        event = (await stored("mine")).events[2]
        assert event.message["tool"] == "add"
        assert await sm.get_messages_for_llm() == [rows[0], rows[3]]
        assert (await sm.get_stats())["llm_calls"] == 2

    @pytest.mark.usefixtures("exact_counting")
    async def test_each_answer_is_billed_for_all_before_it(self) -> None:
        sm = SessionManager()
        rows = [{"role": role, "content": "hello world"} for role in ("user", "assistant") * 3]
        await sm.add_messages(
            [{"role": "system", "content": "hello"}, *rows], model="gpt-4o", provider="openai"
        )
        session = await stored(sm.session_id)
        bills = [event.usage for event in session.events if event.usage]
        around = [2 * 3 + 3, 4 * 3 + 3, 6 * 3 + 3]  # the messages, and the answer's beginning
        contents = [1 + 2, 1 + 6, 1 + 10]
        assert [bill.input_tokens for bill in bills] == list(map(sum, zip(contents, around, strict=True)))
        assert {(bill.model, bill.provider) for bill in bills} == {("gpt-4o", "openai")}
        assert session.events[1].metadata["provider"] == "openai"

    async def test_what_a_limit_refuses_is_not_even_begun(self) -> None:
        rows = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "many words " * 50}]
        for infinite in (False, True):
            sm = SessionManager(f"new-{infinite}", token_limit=20, infinite_context=infinite)
            with pytest.raises(TokenLimitExceeded):
                await sm.add_messages(rows)
            assert await get_backend().list_sessions() == []
            sm = SessionManager(f"old-{infinite}", token_limit=110, infinite_context=infinite)
            await sm.user_says("many words " * 5)
            with pytest.raises(TokenLimitExceeded):
                await sm.add_messages(rows)
            session = await stored(sm.session_id)
            assert (len(session.events), session.metadata.properties) == (1, {})
            await get_backend().delete(sm.session_id)

    async def test_an_empty_list_adds_nothing(self) -> None:
        sm = SessionManager()
        await sm.add_messages([])
        assert (await sm.get_stats())["total_events"] == 0

    async def test_no_more_tokens_than_asked_for(self) -> None:
        sm = SessionManager(system_prompt="Be brief", model="gpt-4o")
        for number in range(20):
            await sm.user_says(f"question {number} " + "word " * 20)
            await sm.ai_responds(f"answer {number} " + "word " * 20)
        rows = await sm.get_messages_for_llm(max_tokens=120)
        lengths = [await TokenUsage.count_tokens(row["content"], "gpt-4o") for row in rows]
        assert sum(lengths) <= 120
        assert [row["role"] for row in rows[:2]] == ["system", "user"]
        assert rows[-1]["content"].startswith("answer 19")
        with pytest.raises(TokenLimitExceeded):
            await sm.get_messages_for_llm(max_tokens=5)


class TestReading:
    async def test_conversation_rows(self) -> None:
        sm = SessionManager()
        await sm.user_says("q")
        await sm.ai_responds("a", model="gpt-4", provider="openai")
        await sm.tool_used("t", {}, 1)
        rows = await sm.get_conversation()
        assert [(row["role"], row["content"]) for row in rows] == [("user", "q"), ("assistant", "a")]
        assert set(rows[0]) == {"role", "content", "timestamp"}
        assert await sm.get_conversation(include_all_segments=True) == rows

    async def test_stats_of_a_session_with_nothing_in_it(self) -> None:
        stats = await SessionManager().get_stats()
        counts = [
            value for name, value in stats.items() if isinstance(value, int) and name != "infinite_context"
        ]
        assert sum(counts) == 1  # the segment
        assert stats["usage_source"] == "none"
        for name in ("created_at", "last_update"):
            assert datetime.fromisoformat(stats[name]).tzinfo is not None

    async def test_stats_without_infinite_context_are_of_one_segment(self) -> None:
        sm = SessionManager()
        await sm.user_says("hello")
        stats = await sm.get_stats(include_all_segments=True)
        assert (stats["session_segments"], stats["infinite_context"]) == (1, False)
        assert "session_chain" not in stats
        assert await sm.get_session_chain() == [sm.session_id]
        assert datetime.fromisoformat(stats["last_update"]) >= datetime.fromisoformat(stats["created_at"])


class TestInfiniteContext:
    async def test_segments_open_when_full(self) -> None:
        sm = SessionManager(infinite_context=True, max_turns_per_segment=2)
        assert await sm.get_session_chain() == []
        first = await sm.user_says("What is the answer to everything?")
        assert await sm.ai_responds("42") == first
        second = await sm.user_says("Why?")
        assert second != first
        assert sm.session_id == second
        assert await sm.get_session_chain() == [first, second]
        assert (await stored(second)).parent_id == first
        assert (await stored(first)).child_ids == [second]

    async def test_tokens_fill_a_segment_too(self) -> None:
        sm = SessionManager(infinite_context=True, token_threshold=10)
        first = await sm.user_says("these are more words than ten tokens can ever hold, I should think")
        assert await sm.ai_responds("indeed") != first

    async def test_the_summary_reaches_the_model(self) -> None:
        sm = SessionManager(infinite_context=True, max_turns_per_segment=2, system_prompt="Be brief")
        for topic in ("What is the speed of light?", "Who discovered penicillin?", "How high is Everest?"):
            await sm.user_says(topic)
            await sm.ai_responds("Well.")
        rows = apart(await sm.get_messages_for_llm())
        assert [row["role"] for row in rows] == ["system", "earlier", "user", "assistant"]
        assert rows[1]["content"] == ("User discussed: What is the speed of light; Who discovered penicillin")
        assert rows[2]["content"] == "How high is Everest?"

    async def test_what_belongs_to_the_conversation_goes_along(self) -> None:
        sm = SessionManager(
            infinite_context=True,
            max_turns_per_segment=1,
            system_prompt="p",
            metadata={"k": 1},
            user_id="ada",
        )
        for _ in range(3):
            await sm.user_says("hello")
        assert (await stored(sm.session_id)).metadata.properties == {
            "k": 1,
            "user_id": "ada",
            "system_prompt": "p",
        }

    async def test_an_answer_brings_its_question(self) -> None:
        sm = SessionManager(infinite_context=True, max_turns_per_segment=1)
        await sm.user_says("What time is it?")
        await sm.ai_responds("Noon.")
        await sm.ai_responds("And a bit.")
        rows = [row for row in apart(await sm.get_messages_for_llm()) if row["role"] != "earlier"]
        assert [row["content"] for row in rows] == ["What time is it?", "And a bit."]

    async def test_a_long_run_without_a_question_stays_bounded(self) -> None:
        sm = SessionManager(infinite_context=True, max_turns_per_segment=4)
        await sm.user_says("Do the job.")
        for number in range(100):
            await sm.ai_responds(f"step {number}", model="gpt-4o")
        rows = apart(await sm.get_messages_for_llm())
        assert rows[1] == {"role": "user", "content": "Do the job."}
        assert len(rows) <= 6

    async def test_a_result_brings_its_call(self) -> None:
        sm = SessionManager(infinite_context=True, max_turns_per_segment=2)
        call = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
        await sm.add_messages(
            [
                {"role": "user", "content": "What time is it?"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "noon"},
                {"role": "assistant", "content": "Noon."},
            ]
        )
        rows = apart(await sm.get_messages_for_llm(include_tools=True))
        assert [row["role"] for row in rows] == ["earlier", "user", "assistant"]
        assert (await sm.get_stats())["tool_calls"] == 1

    async def test_deleted_means_deleted(self) -> None:
        sm = SessionManager("mine", infinite_context=True, max_turns_per_segment=2)
        await sm.user_says("one")
        await sm.user_says("two")
        await get_backend().delete("mine")
        with pytest.raises(SessionNotFound):
            await sm.user_says("three")
        assert await get_backend().list_sessions() == []

    async def test_one_summary_however_many_find_the_segment_full(self) -> None:
        calls = 0

        async def callback(messages: list[dict[str, Any]]) -> str:
            nonlocal calls
            calls += 1
            return "s"

        managers = [
            SessionManager("root", infinite_context=True, max_turns_per_segment=2, summary_callback=callback)
            for _ in range(5)
        ]
        long_text = "word " * 2_000  # counted in a thread, so that all of them wait
        await managers[0].user_says("one")
        await managers[0].user_says("two")
        await asyncio.gather(*(sm.user_says(long_text) for sm in managers))
        chain = await managers[0].get_session_chain()
        segments = [await stored(session_id) for session_id in chain]
        assert [segment.totals.messages for segment in segments] == [2, 2, 2, 1]
        summaries = [sum(event.type == EventType.SUMMARY for event in one.events) for one in segments]
        assert summaries == [1, 1, 1, 0]
        assert calls == 3

    async def test_any_segment_opens_the_whole(self) -> None:
        sm = SessionManager("root", infinite_context=True, max_turns_per_segment=2)
        for number in range(5):
            await sm.user_says(f"q{number}")
            await sm.ai_responds(f"a{number}", model="gpt-4", provider="openai")
            await sm.tool_used("t", {}, 1)
        chain = await sm.get_session_chain()
        assert len(chain) == 5
        for session_id in (chain[0], chain[2], chain[-1]):
            again = SessionManager(session_id, infinite_context=True, max_turns_per_segment=2)
            assert await again.get_stats() == await sm.get_stats()
            assert await again.get_conversation() == await sm.get_conversation()
            assert await again.get_messages_for_llm() == await sm.get_messages_for_llm()
        await SessionManager(chain[0], infinite_context=True).user_says("to the end")
        rows = await sm.get_conversation()
        assert [row["content"] for row in rows[-2:]] == ["a4", "to the end"]
        assert rows[1] == rows[1] | {"model": "gpt-4", "provider": "openai", "session_id": "root"}
        assert "model" not in rows[0]

    async def test_stats_of_all_and_of_one(self) -> None:
        sm = SessionManager(infinite_context=True, max_turns_per_segment=2)
        for _ in range(3):
            await sm.user_says("q")
            await sm.ai_responds("a", model="gpt-4")
        of_all, of_one = await sm.get_stats(), await sm.get_stats(include_all_segments=False)
        assert (of_all["total_messages"], of_one["total_messages"]) == (6, 2)
        assert (of_all["session_segments"], of_one["session_segments"]) == (3, 3)
        assert of_all["session_chain"] == await sm.get_session_chain()
        assert "session_chain" not in of_one
        assert len(await sm.get_conversation(include_all_segments=False)) == 2

    async def test_dates_are_those_of_the_whole_conversation(self) -> None:
        sm = SessionManager("root", infinite_context=True, max_turns_per_segment=1)
        for _ in range(3):
            await sm.user_says("hello")
        stats = await sm.get_stats()
        assert stats["created_at"] == (await stored("root")).metadata.created_at.isoformat()
        segments = [await stored(one) for one in stats["session_chain"]]
        newest = max(segment.last_update_time for segment in segments)
        assert stats["last_update"] == newest.isoformat()

    async def test_tools_go_where_the_conversation_is(self) -> None:
        sm, other = (SessionManager("root", infinite_context=True, max_turns_per_segment=2) for _ in range(2))
        await sm.user_says("one")
        for text in ("two", "three"):
            await other.user_says(text)
        assert await sm.tool_used("clock", {}, "noon") == other.session_id
        assert (await stored("root")).totals.tool_calls == 0

    async def test_parents_in_a_circle_end(self) -> None:
        await get_backend().save(Session(id="a", parent_id="b"))
        await get_backend().save(Session(id="b", parent_id="a"))
        sm = SessionManager("a", infinite_context=True)
        async with asyncio.timeout(20):
            await sm.ai_responds("hello")
            assert await sm.get_session_chain() == ["a"]
            assert (await sm.get_messages_for_llm())[-1]["content"] == "hello"

    async def test_a_thousand_segments_without_a_summary(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def never(*arguments: Any, **options: Any) -> None: ...

        monkeypatch.setattr("chuk_ai_session_manager.conversation.closing.close_segment", never)
        sm = SessionManager(infinite_context=True, max_turns_per_segment=1, summary_max_tokens=50)
        for number in range(1_100):
            await sm.user_says(f"What is number {number} good for?")
        rows = apart(await sm.get_messages_for_llm())
        assert len(rows) == 2
        assert "number 1098" in rows[0]["content"]

    async def test_an_outage_after_the_message_was_stored_is_no_reason_to_say_it_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class FailingStore(MemoryStore):
            fails = False

            async def append(
                self,
                session: Session[Any],
                events: Sequence[SessionEvent[Any]],
                *,
                only_if_current: bool = False,
            ) -> bool:
                if self.fails:
                    raise StorageError("down")
                return await super().append(session, events, only_if_current=only_if_current)

        store = FailingStore()

        async def callback(messages: list[dict[str, Any]]) -> str:
            store.fails = True
            return "secret"

        sm = SessionManager(
            "root", store=store, infinite_context=True, max_turns_per_segment=2, summary_callback=callback
        )
        for number in range(5):
            store.fails = False
            await sm.user_says(f"m{number}")
        store.fails = False
        assert [row["content"] for row in await sm.get_conversation()] == [
            f"m{number}" for number in range(5)
        ]
        assert "was not stored: StorageError" in caplog.text
        assert "secret" not in caplog.text

    async def test_many_writers_open_one_next_segment(self) -> None:
        managers = [SessionManager("root", infinite_context=True, max_turns_per_segment=3) for _ in range(5)]
        await asyncio.gather(*(sm.user_says(f"{at}-{n}") for at, sm in enumerate(managers) for n in range(8)))
        said = [row["content"] for row in await managers[0].get_conversation()]
        assert sorted(said) == sorted(f"{at}-{n}" for at in range(5) for n in range(8))
        for session_id in await managers[0].get_session_chain():
            assert len((await stored(session_id)).child_ids) <= 1

    async def test_an_application_may_make_the_segments_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[Session[Any]] = []

        async def create(**fields: Any) -> Session[Any]:
            fields.pop("store")
            fields["session_id"] = None
            session: Session[Any] = Session(
                id=f"segment-{len(made) + 1}", parent_id=fields["parent_id"], metadata=fields["metadata"]
            )
            made.append(session)
            return session

        monkeypatch.setattr(Session, "create", create)
        sm = SessionManager(infinite_context=True, max_turns_per_segment=2)
        for _ in range(3):
            await sm.user_says("hello")
        assert await sm.get_session_chain() == ["segment-1", "segment-2"]
        assert len(made) == 2


class TestSummaryCallback:
    @staticmethod
    async def after_a_segment(callback: Any, **options: Any) -> tuple[SessionManager, dict[str, Any]]:
        sm = SessionManager(
            infinite_context=True, max_turns_per_segment=2, summary_callback=callback, **options
        )
        for text in ("Where is my very lost parcel?", "one more"):
            await sm.user_says(text)
            await sm.ai_responds("Let me see.")
        first = await stored((await sm.get_session_chain())[0])
        summary = first.events[-1]
        assert summary.type is EventType.SUMMARY
        return sm, {"text": summary.message, **summary.metadata}

    @pytest.mark.parametrize("kind", ["async", "sync", "lambda", "object"])
    async def test_it_makes_the_summary(self, kind: str) -> None:
        seen: list[Any] = []

        async def asynchronous(messages: list[dict[str, Any]]) -> str:
            seen.extend(messages)
            return "A parcel."

        def synchronous(messages: list[dict[str, Any]]) -> str:
            assert threading.current_thread() is not threading.main_thread()
            seen.extend(messages)
            return "A parcel."

        class Model:
            async def __call__(self, messages: list[dict[str, Any]]) -> str:
                return await asynchronous(messages)

        callback = {
            "async": asynchronous,
            "sync": synchronous,
            "lambda": lambda messages: asynchronous(messages),  # noqa: PLW0108  (a lambda it is to be)
            "object": Model(),
        }[kind]
        sm, summary = await self.after_a_segment(callback)
        assert summary.pop("covered")["tokens"] == 0
        assert summary == {
            "text": "A parcel.", "made_by": "callback", "rolling": True
        }  # fmt: skip
        assert seen == [
            {"role": "user", "content": "Where is my very lost parcel?"},
            {"role": "assistant", "content": "Let me see."},
        ]
        assert apart(await sm.get_messages_for_llm())[0]["content"] == "A parcel."

    @pytest.mark.parametrize(
        ("outcome", "failure"),
        [
            ("raises", "ZeroDivisionError"),
            ("hangs", "TimeoutError"),
            ("none", "NoneType"),
            ("bytes", "bytes"),
            ("blank", "blank"),
        ],
    )  # fmt: skip
    async def test_when_it_fails_the_built_in_one_steps_in(self, outcome: str, failure: str) -> None:
        async def callback(messages: list[dict[str, Any]]) -> Any:
            if outcome == "hangs":
                await asyncio.sleep(3600)
            return {"none": None, "bytes": b"x", "blank": "  "}.get(outcome) if outcome != "raises" else 1 / 0

        sm, summary = await self.after_a_segment(callback, summary_timeout=0.05)
        assert summary["text"] == "User discussed: Where is my very lost parcel"
        assert summary["made_by"] == "built-in"
        assert failure in summary["callback_failure"]
        assert (await sm.get_stats())["total_messages"] == 4

    async def test_a_megabyte_is_cut_to_its_bound(self) -> None:
        sm, summary = await self.after_a_segment(lambda messages: "word " * 200_000, summary_max_tokens=50)
        assert 20 < await TokenUsage.count_tokens(summary["text"], "gpt-4o-mini") <= 50
        assert len(apart(await sm.get_messages_for_llm())) == 3

    async def test_it_may_use_the_manager_that_calls_it(self) -> None:
        sm = SessionManager(infinite_context=True, max_turns_per_segment=2)

        async def callback(messages: list[dict[str, Any]]) -> str:
            await sm.tool_used("summarizer", {}, "x")
            return f"{len(messages)} messages, {(await sm.get_stats())['total_messages']} in all"

        await sm.set_summary_callback(callback)
        async with asyncio.timeout(20):
            for text in ("one", "two", "three"):
                await sm.user_says(text)
        assert apart(await sm.get_messages_for_llm())[0]["content"].endswith("2 messages, 3 in all")

    async def test_a_slow_one_holds_up_nobody_else(self) -> None:
        began, go_on = asyncio.Event(), asyncio.Event()

        async def callback(messages: list[dict[str, Any]]) -> str:
            began.set()
            await go_on.wait()
            return "slow"

        sm = SessionManager(infinite_context=True, max_turns_per_segment=2)
        sm.set_summary_callback(callback)
        await sm.user_says("A question that is long enough?")
        await sm.user_says("two")
        crossing = asyncio.create_task(sm.user_says("three"))
        await began.wait()
        await sm.ai_responds("four")
        rows = apart(await sm.get_messages_for_llm())
        assert "User discussed: A question that is long enough" in rows[0]["content"]
        assert [row["content"] for row in rows[1:]] == ["three", "four"]
        go_on.set()
        await crossing
        assert apart(await sm.get_messages_for_llm())[0]["content"].endswith("slow")

    async def test_the_private_names_that_subclasses_use(self) -> None:
        sm = SessionManager(infinite_context=True, max_turns_per_segment=1)
        await sm.user_says("What is a monad, please?")
        assert await sm._create_summary() == "User discussed: What is a monad, please"

        async def callback(messages: list[dict[str, Any]]) -> str:
            return f"{len(messages)} rows"

        assert await sm._create_summary(callback) == "1 rows"


async def test_errors_of_the_library_are_of_one_family() -> None:
    with pytest.raises(SessionManagerError):
        await SessionManager("nobody").get_stats()
