"""`SessionManager` with infinite context: segments and their summaries."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from default_store import stored
from told_apart import apart

from chuk_ai_session_manager import SessionManager, TokenUsage
from chuk_ai_session_manager.exceptions import SessionNotFound, StorageError
from chuk_ai_session_manager.models import EventType, Session, SessionEvent
from chuk_ai_session_manager.session_storage import get_backend
from chuk_ai_session_manager.stores import MemoryStore


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

    async def test_dates_cover_the_whole_conversation(self) -> None:
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
    async def test_the_callback_makes_the_summary(self, kind: str) -> None:
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

    async def test_the_callback_may_use_its_manager(self) -> None:
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
