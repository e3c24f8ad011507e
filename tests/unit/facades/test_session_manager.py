"""`SessionManager`: ids, what is written, metadata and the system prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from default_store import stored

from chuk_ai_session_manager import SessionManager, TokenUsage
from chuk_ai_session_manager.exceptions import InvalidInput, SessionManagerError, SessionNotFound
from chuk_ai_session_manager.models import EventSource, EventType, Session
from chuk_ai_session_manager.session_storage import get_backend
from chuk_ai_session_manager.stores import MemoryStore


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
            (lambda sm: sm.ai_responds(["x"]), "list is not a known response"),
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
            ({"session_id": 5}, "a session id must be a text"),
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
    async def test_metadata_become_the_session_s_properties(self) -> None:
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
    async def test_the_system_prompt_goes_first(self) -> None:
        sm = SessionManager(system_prompt="Be brief")
        await sm.user_says("hello")
        assert (await sm.get_messages_for_llm())[0] == {"role": "system", "content": "Be brief"}
        assert await sm.get_messages_for_llm(include_system=False) == [{"role": "user", "content": "hello"}]

    @pytest.mark.parametrize("prompt", [None, "", "  \n"])
    async def test_a_blank_one_stays_out(self, prompt: str | None) -> None:
        sm = SessionManager(system_prompt=prompt)
        await sm.user_says("hello")
        assert await sm.get_messages_for_llm() == [{"role": "user", "content": "hello"}]

    async def test_the_system_prompt_is_found_again(self) -> None:
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


async def test_errors_of_the_library_are_of_one_family() -> None:
    with pytest.raises(SessionManagerError):
        await SessionManager("nobody").get_stats()


async def test_a_redact_hook_gets_each_text_once() -> None:
    seen: list[str] = []

    def redact(text: str) -> str:
        seen.append(text)
        return text.replace("secret", "***")

    sm = SessionManager(store=MemoryStore(), redact=redact)
    await sm.user_says("one secret " * 9)
    await sm.ai_responds("two", model="gpt-4o")
    assert (seen.count("one secret " * 9), seen.count("two")) == (1, 1)
    shorter = SessionManager(store=MemoryStore())
    await shorter.user_says("one *** " * 9)
    await shorter.ai_responds("two", model="gpt-4o")
    assert (await sm.get_stats())["total_tokens"] == (await shorter.get_stats())["total_tokens"]
