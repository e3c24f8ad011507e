"""A conversation is one, whoever opens it by which segment's id: one id, one live segment, one owner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from places import Place, in_another_process, in_memory_too, on_each

from chuk_ai_session_manager import (
    InfiniteConversationManager,
    Session,
    SessionAwareToolProcessor,
    SessionEvent,
    SessionManager,
    get_conversation_history,
    get_session_stats,
    stream_llm_call,
    track_conversation,
    track_llm_call,
    track_tool_use,
)
from chuk_ai_session_manager.exceptions import InvalidSessionOperation, SessionNotFound
from chuk_ai_session_manager.models import EventSource, EventType
from chuk_ai_session_manager.models.session import next_segment_id
from chuk_ai_session_manager.stores import EventStore, MemoryStore

TEXTS = [f"Text {number}" for number in range(5)]


async def long_one(place: Place, **settings: Any) -> list[str]:
    """A conversation of three segments, two messages each but for the last; their ids."""
    async with place.store() as store:
        sm = SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=2, **settings)
        for text in TEXTS:
            await sm.user_says(text)
        await sm.wait_for_summaries()
        chain = await sm.get_session_chain()
    assert (len(chain), sm.conversation_id, sm.session_id) == (3, "root", chain[-1])
    return chain


async def said(place: Place, session_id: str) -> list[str]:
    async with place.store() as store:
        rows = await SessionManager(session_id, store=store, create=False).get_conversation()
    return [row["content"] for row in rows]


async def say(place: Place, session_id: str, text: str) -> tuple[str, str]:
    async with place.store() as store:
        sm = SessionManager(session_id, store=store)
        return await sm.user_says(text), sm.conversation_id


async def write(way: str) -> None:
    """Write by the first segment's id, into the default store."""
    match way:
        case "one-liner":
            await track_conversation("question", "answer", session_id="root")
        case "call":
            await track_llm_call("question", lambda _: "answer", session_id="root")
        case "stream":
            async for _ in stream_llm_call("question", lambda _: ["answer"], session_id="root"):
                pass
        case "tool":
            await SessionManager("root").tool_used("look_up", {}, "found")
        case "rows":
            await SessionManager("root").add_messages([{"role": "user", "content": "question"}])
        case "tool use":
            await track_tool_use("look_up", {}, "found", session_id="root")
        case "processor":
            processor = await SessionAwareToolProcessor.create("root")
            await processor.process_llm_message({"role": "assistant", "content": "answer"}, None)


class TestAnySegmentsId:
    @in_memory_too
    async def test_what_is_written_by_an_old_id_is_said_last(self, place: Place) -> None:
        chain = await long_one(place)
        for number, session_id in enumerate([*chain, *chain]):
            written_to, conversation_id = await say(place, session_id, f"New {number}")
            assert conversation_id == "root"
            assert written_to not in chain[:-1]
        expected = [*TEXTS, *(f"New {number}" for number in range(6))]
        async with place.store() as store:
            ids = await store.segment_ids("root")
            # Two messages a segment, as the conversation was made.
            assert len(ids) == 6
            for session_id in ids:
                sm = SessionManager(session_id, store=store, create=False)
                assert [row["content"] for row in await sm.get_conversation()] == expected
                assert (await sm.get_messages_for_llm())[-1]["content"].endswith("New 5")
                stats = await sm.get_stats(include_all_segments=True)
                assert (stats["total_messages"], stats["session_segments"]) == (11, 6)
                assert (sm.conversation_id, sm.is_infinite) == ("root", True)
                assert await sm.get_session_chain() == ids

    @on_each
    def test_any_segment_s_id_works_in_other_processes(self, place: Place) -> None:
        chain = in_another_process(long_one, place)
        assert in_another_process(say, place, chain[0], "from afar")[1] == "root"
        assert in_another_process(said, place, chain[1])[-1] == "from afar"

    @pytest.mark.parametrize("way", ["one-liner", "call", "stream", "tool", "rows", "tool use", "processor"])
    async def test_every_way_in_writes_to_the_live_segment(
        self, way: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = MemoryStore()
        for module in ("session_manager", "session_aware_tool_processor"):
            monkeypatch.setattr(f"chuk_ai_session_manager.{module}.get_backend", lambda: store)
        sm = SessionManager("root", infinite_context=True, max_turns_per_segment=2)
        for text in TEXTS:
            await sm.user_says(text)
        await write(way)
        ids = await store.segment_ids("root")
        for closed in ids[:-1]:
            segment = await store.get(closed)
            assert segment is not None
            assert sum(event.type == EventType.MESSAGE for event in segment.events) == 2
            assert not any(event.type == EventType.TOOL_CALL for event in segment.events)
        everything = await SessionManager("root").get_conversation(include_tools=True)
        assert [row["content"] for row in everything][:5] == TEXTS
        assert len(everything) > 5

    async def test_one_liners_read_the_live_segment_or_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = MemoryStore()
        monkeypatch.setattr("chuk_ai_session_manager.session_manager.get_backend", lambda: store)
        sm = SessionManager("root", infinite_context=True, max_turns_per_segment=2)
        for text in TEXTS:
            await sm.user_says(text)
        for session_id in await sm.get_session_chain():
            live = await get_conversation_history(session_id)
            assert [row["content"] for row in live] == TEXTS[4:]
            whole = await get_conversation_history(session_id, include_all_segments=True)
            assert [row["content"] for row in whole] == TEXTS
            assert (await get_session_stats(session_id))["total_messages"] == 1
            assert (await get_session_stats(session_id, include_all_segments=True))["total_messages"] == 5

    @in_memory_too
    async def test_a_threshold_that_is_said_again_holds(self, place: Place) -> None:
        await long_one(place)
        async with place.store() as store:
            sm = SessionManager("root", store=store, max_turns_per_segment=10)
            for number in range(9):
                await sm.user_says(f"more {number}")
            assert len(await sm.get_session_chain()) == 3
            await SessionManager("root", store=store).user_says("as it was made")
            assert len(await store.segment_ids("root")) == 4

    @in_memory_too
    async def test_a_conversation_older_than_its_settings_is_read_as_it_is(self, place: Place) -> None:
        """As 1.0.0.dev0 wrote it, and as `InfiniteConversationManager` begins it."""
        chain = await long_one(place)
        async with place.store() as store:
            for session_id in chain:
                session = await store.get(session_id)
                assert session is not None
                session.metadata.conversation = None
                await store.save(session)
        async with place.store() as store:
            sm = SessionManager(chain[1], store=store)
            assert await sm.user_says("more") == chain[2]
            assert (sm.conversation_id, sm.is_infinite) == ("root", True)

    async def test_a_conversation_that_manages_its_segments_itself_has_one_id_too(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = MemoryStore()
        monkeypatch.setattr("chuk_ai_session_manager.infinite_conversation.get_backend", lambda: store)
        await store.create(Session(id="root"))

        async def summary(_: object) -> str:
            return "so far"

        manager, current = InfiniteConversationManager(max_turns_per_segment=2), "root"
        for text in TEXTS:
            current = await manager.process_message(current, text, EventSource.USER, summary)
        sm = SessionManager("root", store=store)
        assert [row["content"] for row in await sm.get_conversation()] == TEXTS
        assert (sm.session_id, sm.conversation_id) == (current, "root")

    async def test_a_plain_session_stays_one(self) -> None:
        store = MemoryStore()
        sm = SessionManager("plain", store=store)
        for number in range(30):
            await sm.user_says(f"Text {number}")
        assert (await sm.get_session_chain(), sm.conversation_id) == (["plain"], "plain")
        assert "session_id" not in (await sm.get_conversation(include_all_segments=True))[0]
        assert "conversation" not in (await store_json(store, "plain"))


async def store_json(store: EventStore, session_id: str) -> str:
    from chuk_ai_session_manager.stores.codec import encode_header

    session = await store.get(session_id)
    assert session is not None
    return encode_header(session)["metadata"]


class TestAClosedSegment:
    @in_memory_too
    async def test_takes_no_messages(self, place: Place) -> None:
        chain = await long_one(place)
        async with place.store() as store:
            for session_id in chain[:-1]:
                closed = await store.get(session_id)
                assert closed is not None
                for kind in (EventType.MESSAGE, EventType.TOOL_CALL):
                    event: SessionEvent[Any] = SessionEvent(message="late", type=kind)
                    with pytest.raises(InvalidSessionOperation, match="continues in another segment"):
                        await closed.add_event_and_save(event)
                note: SessionEvent[Any] = SessionEvent(message="a note", type=EventType.REFERENCE)
                await closed.add_event_and_save(note)

    @on_each
    async def test_is_known_to_be_closed_by_an_object_that_was_read_before(self, place: Place) -> None:
        async with place.store() as here, place.store() as there:
            sm = SessionManager("root", store=there, infinite_context=True, max_turns_per_segment=2)
            await sm.user_says("one")
            before = await here.get("root")
            assert before is not None
            for text in ("two", "three"):
                await sm.user_says(text)
            late: SessionEvent[Any] = SessionEvent(message="late")
            with pytest.raises(InvalidSessionOperation):
                await before.add_event_and_save(late)
        assert await said(place, "root") == ["one", "two", "three"]

    @on_each
    @pytest.mark.parametrize("said_before_each_try", [(1, 1), (2,), (1, 1, 1, 1)])
    async def test_one_that_was_closed_between_two_tries_takes_no_event_from_add_event_and_save(
        self, place: Place, said_before_each_try: Sequence[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with place.store() as here, place.store() as there:
            session = await Session.create(session_id="root", store=here)
            sm = SessionManager("root", store=there, infinite_context=True, max_turns_per_segment=2)
            await sm.user_says("first")
            texts, tries = ["first"], list(said_before_each_try)

            def after_others(append: Callable[..., Awaitable[bool]]) -> Callable[..., Awaitable[bool]]:
                async def appended(*arguments: Any, **options: Any) -> bool:
                    for _ in range(tries.pop(0) if tries else 0):
                        texts.append(f"beside {len(texts)}")
                        await sm.user_says(texts[-1])
                    return await append(*arguments, **options)

                return appended

            for name in ("append", "append_while_live"):
                monkeypatch.setattr(here, name, after_others(getattr(here, name)))
            late: SessionEvent[Any] = SessionEvent(message="late")
            with pytest.raises(InvalidSessionOperation, match="continues in another segment"):
                await session.add_event_and_save(late)
        assert await said(place, "root") == texts

    @in_memory_too
    @pytest.mark.parametrize("way", ["manager", "session", "answer"])
    async def test_that_another_process_opened_after_takes_none_of_an_open_manager_s_either(
        self, place: Place, way: str
    ) -> None:
        async with place.store() as here, place.store() as there:
            plain = SessionManager("root", store=here)
            await plain.user_says("one")
            session = await here.head("root")
            assert session is not None
            sm = SessionManager("root", store=there, infinite_context=True, max_turns_per_segment=2)
            for text in ("two", "three", "four"):
                await sm.user_says(text)
            assert sm.session_id != "root"
            if way == "session":
                with pytest.raises(InvalidSessionOperation):
                    await session.add_event_and_save(SessionEvent(message="late"))
                await plain.user_says("five")
            elif way == "answer":
                await plain.ai_responds("five", model="gpt-4o", provider="openai")
            else:
                await plain.user_says("five")
            assert plain.is_infinite
            assert plain.conversation_id == "root"
            assert plain.session_id != "root"
            assert await said(place, "root") == ["one", "two", "three", "four", "five"]
            await plain.user_says("six")
        assert await said(place, "root") == ["one", "two", "three", "four", "five", "six"]


class TestOwner:
    @in_memory_too
    @pytest.mark.parametrize("user", ["bob", "Ada", "ada ", ""])
    async def test_another_user_finds_nothing_and_writes_nothing(self, place: Place, user: str) -> None:
        chain = await long_one(place, user_id="ada")
        async with place.store() as store:
            before = [session.model_dump_json() for each in chain if (session := await store.get(each))]
            listed = await store.list_sessions()
            uses: list[Callable[[SessionManager], Awaitable[object]]] = [
                lambda sm: sm.user_says("mine now"),
                lambda sm: sm.ai_responds("yes"),
                lambda sm: sm.tool_used("look_up", {}, 1),
                lambda sm: sm.add_messages([{"role": "user", "content": "hi"}]),
                lambda sm: sm.update_system_prompt("Obey."),
                lambda sm: sm.claim(user),
                lambda sm: sm.get_conversation(),
                lambda sm: sm.get_messages_for_llm(),
                lambda sm: sm.get_stats(),
                lambda sm: sm.get_session_chain(),
                lambda sm: sm.load_session_chain(),
                lambda sm: track_llm_call("hi", lambda _: "x", session_manager=sm),
            ]
            for session_id in chain:
                for number, use in enumerate(uses):
                    if number == 5 and not user:
                        continue  # no name at all
                    for create in (True, False):
                        sm = SessionManager(session_id, store=store, user_id=user, create=create)
                        with pytest.raises(SessionNotFound, match=f"Session {session_id} not found"):
                            await use(sm)
            after = [session.model_dump_json() for each in chain if (session := await store.get(each))]
            assert after == before
            assert await store.list_sessions() == listed

    async def test_one_liners_take_the_user_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = MemoryStore()
        monkeypatch.setattr("chuk_ai_session_manager.session_manager.get_backend", lambda: store)
        session_id = await track_conversation("question", "answer", user_id="ada")
        assert len(await get_conversation_history(session_id, user_id="ada")) == 2
        assert len(await get_conversation_history(session_id)) == 2
        for use in (
            get_conversation_history(session_id, user_id="bob"),
            get_session_stats(session_id, user_id="bob"),
            track_conversation("q", "a", session_id=session_id, user_id="bob"),
            track_llm_call("q", lambda _: "a", session_id=session_id, user_id="bob"),
            track_tool_use("look_up", {}, 1, session_id, user_id="bob"),
        ):
            with pytest.raises(SessionNotFound):
                await use
        assert len(await get_conversation_history(session_id)) == 2

    @in_memory_too
    async def test_what_nobody_owns_is_claimed_once(self, place: Place) -> None:
        chain = await long_one(place)
        async with place.store() as store:
            with pytest.raises(SessionNotFound):
                await SessionManager("root", store=store, user_id="ada").get_conversation()
            claims = [SessionManager(chain[0], store=store).claim(name) for name in ("ada", "bob")]
            outcomes = await asyncio.gather(*claims, return_exceptions=True)
            (refused,) = (outcome for outcome in outcomes if outcome is not None)
            assert isinstance(refused, InvalidSessionOperation)
            owner = "bob" if isinstance(outcomes[0], BaseException) else "ada"
        async with place.store() as store:
            await SessionManager(chain[1], store=store).claim(owner)
            with pytest.raises(InvalidSessionOperation, match="belongs to another user"):
                await SessionManager(chain[1], store=store).claim("eve")
            assert set(await store.list_sessions(user_id=owner)) == set(chain)
            sm = SessionManager("root", store=store, user_id=owner)
            assert [row["content"] for row in await sm.get_conversation()] == TEXTS
            await sm.user_says("mine")
            await sm.user_says("and in the next segment")
            assert chain[-1] != sm.session_id

    @in_memory_too
    async def test_an_id_that_another_user_takes_meanwhile_is_gone(self, place: Place) -> None:
        async with place.store() as store:
            sm = SessionManager("chat", store=store, user_id="ada")
            await sm.user_says("one")
            await store.delete("chat")
            await SessionManager("chat", store=store, user_id="bob").user_says("bob's")
            for use in (sm.user_says("two"), sm.get_conversation(), sm.ai_responds("three")):
                with pytest.raises(SessionNotFound):
                    await use
            rows = await SessionManager("chat", store=store).get_conversation()
            assert [row["content"] for row in rows] == ["bob's"]


class TestThePrompt:
    @in_memory_too
    async def test_is_stored_when_it_is_set(self, place: Place) -> None:
        chain = await long_one(place, system_prompt="old")
        async with place.store() as store:
            await SessionManager(chain[0], store=store).update_system_prompt("new")
            await SessionManager("unknown", store=store).update_system_prompt("made for it")
            mine = SessionManager(store=store)
            await mine.update_system_prompt("mine")
        async with place.store() as store:
            for session_id, prompt in (
                ("root", "new"),
                ("unknown", "made for it"),
                (mine.session_id, "mine"),
            ):
                sm = SessionManager(session_id, store=store, create=False)
                rows = await sm.get_messages_for_llm()
                assert (sm.system_prompt, rows[0]) == (prompt, {"role": "system", "content": prompt})
            absent = SessionManager("absent", store=store, create=False, system_prompt="mine")
            with pytest.raises(SessionNotFound):
                await absent.update_system_prompt("new")
            assert absent.system_prompt == "mine"
            assert await store.get("absent") is None


class TestRows:
    @in_memory_too
    async def test_roles_stay_and_steps_of_tool_calls_are_left_out(self, place: Place) -> None:
        call: dict[str, Any] = {
            "id": "c1",
            "type": "function",
            "function": {"name": "look_up", "arguments": '{"q": 1}'},
        }
        rows: list[dict[str, Any]] = [
            {"role": "user", "content": "Hello", "name": "ada"},
            {"role": "system", "content": "The user is in a hurry."},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "found"},
            {"role": "assistant", "content": "Wait.", "tool_calls": [call | {"id": "c2"}]},
            {"role": "tool", "tool_call_id": "c2", "content": "found again"},
            {"role": "assistant", "content": "Here."},
        ]
        async with place.store() as store:
            sm = SessionManager("chat", store=store)
            await sm.add_messages(rows)
            await sm.tool_used("clock", {"zone": "UTC"}, "12:00")
        async with place.store() as store:
            sm = SessionManager("chat", store=store)
            told = await sm.get_conversation()
            assert [(row["role"], row["content"]) for row in told] == [
                ("user", "Hello"),
                ("system", "The user is in a hurry."),
                ("assistant", "Wait."),
                ("assistant", "Here."),
            ]
            assert told[0]["name"] == "ada"
            everything = await sm.get_conversation(include_tools=True, with_ids=True)
            assert [row["role"] for row in everything] == [row["role"] for row in rows] + ["tool"]
            assert everything[2]["tool_calls"] == [call]
            found = {
                key: everything[3][key]
                for key in ("name", "arguments", "content", "tool_call_id", "metadata")
            }
            assert found == {
                "name": "look_up",
                "arguments": {"q": 1},
                "content": "found",
                "tool_call_id": "c1",
                "metadata": {"tool_call_id": "c1"},
            }
            assert (everything[-1]["name"], everything[-1]["content"]) == ("clock", "12:00")
            session = await store.get("chat")
            assert session is not None
            assert [row["event_id"] for row in everything] == [event.id for event in session.events]

    async def test_of_several_segments_likewise(self) -> None:
        sm = SessionManager(store=MemoryStore(), infinite_context=True, max_turns_per_segment=2)
        for text in TEXTS:
            await sm.user_says(text, ticket=text)
        await sm.add_messages([{"role": "system", "content": "Hurry."}])
        rows = await sm.get_conversation(with_ids=True)
        assert [row["role"] for row in rows] == ["user"] * 5 + ["system"]
        assert [row["metadata"] for row in rows[:5]] == [{"ticket": text} for text in TEXTS]
        assert "model" not in rows[-1]
        assert len({row["event_id"] for row in rows}) == 6
        assert sm.conversation_id != sm.session_id == next_segment_id(next_segment_id(sm.conversation_id))


class TestSegmentsThatAnApplicationLinkedItself:
    """They have ids of their own; that the one ends in a summary says that the other goes on with it."""

    async def test_the_whole_is_given_where_it_is_asked_for(self) -> None:
        store = MemoryStore()
        await SessionManager("first", store=store).user_says("one")
        await SessionManager("first", store=store).ai_responds("two", model="gpt-4o")
        first = await store.get("first")
        assert first is not None
        await first.add_event_and_save(SessionEvent(message="So far.", type=EventType.SUMMARY))
        await SessionManager("second", parent_id="first", store=store).user_says("three")
        sm = SessionManager("second", store=store)
        rows = await sm.get_conversation(include_all_segments=True)
        assert [(row["content"], row["session_id"]) for row in rows] == [
            ("one", "first"),
            ("two", "first"),
            ("three", "second"),
        ]
        assert [row["content"] for row in await sm.get_conversation()] == ["three"]
        stats = await sm.get_stats(include_all_segments=True)
        assert (stats["total_messages"], stats["session_chain"]) == (3, ["first", "second"])
        assert (await sm.get_stats())["total_messages"] == 1
