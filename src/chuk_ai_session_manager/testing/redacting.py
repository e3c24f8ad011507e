"""Tests of redacting: the text of one event is removed for good, and nothing else changes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from ..exceptions import InvalidInput, SessionNotFound
from ..providers.formats import Format
from ..session_manager import SessionManager
from ..stores.base import EventStore
from .base import Contract, Stores, in_a_loop
from .checks import check_totals
from .readings import read_session
from .samples import user_message

MARKER = "marker-7f3a"
FORMATS: list[Format | None] = [None, "openai", "openai-responses", "anthropic", "google", "bedrock"]
_CALL = {
    "id": "call_0",
    "type": "function",
    "function": {"name": "look", "arguments": f'{{"who": "{MARKER}"}}'},
}
_ANSWERS: dict[str, Any] = {
    "a text": f"It is {MARKER}.",
    "a response": {
        "model": "gpt-4o",
        "choices": [
            {"message": {"role": "assistant", "content": f"It is {MARKER}.", "reasoning_content": MARKER}}
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    },
    "a tool call": {
        "model": "gpt-4o",
        "choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [_CALL]}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    },
}


def _manager(store: EventStore, session_id: str = "talk", **options: Any) -> SessionManager:
    return SessionManager(session_id, store=store, infinite_context=True, max_turns_per_segment=4, **options)


async def _talk(
    store: EventStore, exchanges: int, marked: int, answer: Any = "Fine."
) -> tuple[SessionManager, str]:
    """A conversation with the marker in one exchange, and the event of that exchange's question."""
    manager, event_id = _manager(store, model="gpt-4o"), ""
    for number in range(exchanges):
        said = f"My name is {MARKER}." if number == marked else f"question-{number}?"
        await manager.user_says(said)
        rows = await manager.get_conversation(with_ids=True)
        event_id = rows[-1]["event_id"] if number == marked else event_id
        await manager.ai_responds(answer if number == marked else f"answer-{number}.")
    await manager.wait_for_summaries()
    return manager, event_id


async def _told(store: EventStore, session_id: str, *managers: SessionManager) -> str:
    """The contents of all segments of a conversation, and of its contexts, as one text."""
    ids = await store.segment_ids(session_id)
    told: list[Any] = [(await read_session(store, each)).model_dump(mode="json") for each in ids]
    for manager in (*managers, _manager(store, session_id)):
        told += [await manager.get_messages_for_llm(format=form, include_tools=True) for form in FORMATS]
        told.append(await manager.get_conversation(include_tools=True, include_all_segments=True))
    return json.dumps(told)


async def _ledger(manager: SessionManager) -> dict[str, Any]:
    stats = await manager.get_stats(include_all_segments=True)
    return {name: stats[name] for name in ("total_tokens", "estimated_cost", "total_messages", "llm_calls")}


class Redacting(Contract):
    """Tests of redacting: the text of one event is removed for good, and nothing else changes."""

    @pytest.mark.parametrize("marked", [0, 2, 5])
    @in_a_loop
    async def test_words_go_from_the_event_and_from_all_summaries_after_it(
        self, stores: Stores, marked: int
    ) -> None:
        store = stores.open()
        manager, event_id = await _talk(store, 6, marked)
        other = _manager(stores.open())  # this manager has the background of earlier segments in memory
        for reader in (manager, other):
            assert MARKER in json.dumps(await reader.get_messages_for_llm())
        before = await _ledger(manager)
        receipt = await manager.redact(event_id)
        assert (receipt.events, receipt.copies, receipt.conversations) == (1, 0, ("talk",))
        assert MARKER not in await _told(stores.open(), "talk", manager, other)
        assert await _ledger(manager) == await _ledger(_manager(stores.open())) == before
        for each in await store.segment_ids("talk"):
            check_totals(await read_session(store, each))
        rows = await manager.get_conversation(include_all_segments=True, with_ids=True)
        assert [row["content"] for row in rows if row["event_id"] == event_id] == ["[redacted]"]
        assert len(rows) == 12
        await manager.user_says("It goes on.")
        assert (await manager.redact(event_id)).events == 1  # the second time changes nothing more
        assert MARKER not in await _told(stores.open(), "talk", manager, other)

    @pytest.mark.parametrize("kind", _ANSWERS)
    @in_a_loop
    async def test_an_answer_loses_text_native_form_and_arguments(self, stores: Stores, kind: str) -> None:
        store = stores.open()
        manager = _manager(store, model="gpt-4o")
        await manager.user_says("Who is it?")
        await manager.ai_responds(_ANSWERS[kind])
        rows = await manager.get_conversation(with_ids=True, include_tools=True)
        answer_id = rows[-1]["event_id"]
        if kind == "a tool call":
            await manager.tool_used("look", {"who": MARKER}, "was found", tool_call_id="call_0")
        before = await _ledger(manager)
        await manager.redact(answer_id)
        told = await _told(stores.open(), "talk", manager)
        assert MARKER not in told
        assert ("was found" in told) == (kind == "a tool call")
        assert await _ledger(manager) == before

    @in_a_loop
    async def test_a_tool_s_result_goes_with_the_arguments_that_its_call_has(self, stores: Stores) -> None:
        store = stores.open()
        manager = _manager(store, model="gpt-4o")
        await manager.user_says("Who is it?")
        await manager.ai_responds(_ANSWERS["a tool call"])
        await manager.tool_used("look", {"who": MARKER}, {"found": MARKER}, tool_call_id="call_0")
        rows = await manager.get_conversation(with_ids=True, include_tools=True)
        await manager.redact(rows[-1]["event_id"])
        assert MARKER not in await _told(stores.open(), "talk", manager)
        openai: Any = await manager.get_messages_for_llm(format="openai", include_tools=True)
        assert [row["role"] for row in openai] == ["user", "assistant", "tool"]
        assert openai[1]["tool_calls"][0]["id"] == openai[2]["tool_call_id"] == "call_0"

    @in_a_loop
    async def test_a_result_that_comes_later_brings_no_redacted_arguments_back(self, stores: Stores) -> None:
        store = stores.open()
        manager = _manager(store, model="gpt-4o")
        calls = [_CALL | {"id": f"call_{number}"} for number in range(3)]
        await manager.add_messages(
            [
                {"role": "user", "content": "Who is it?"},
                {"role": "assistant", "content": None, "tool_calls": calls},
                {"role": "tool", "tool_call_id": "call_0", "content": "nobody"},
            ]
        )
        # Looked for in the whole log, of which the open calls are remembered then.
        await manager.add_messages([{"role": "tool", "tool_call_id": "call of nobody", "content": "nobody"}])
        rows = await manager.get_conversation(with_ids=True, include_tools=True)
        await manager.redact(rows[1]["event_id"])
        await manager.add_messages([{"role": "tool", "tool_call_id": "call_2", "content": "nobody"}])
        assert MARKER not in await _told(stores.open(), "talk", manager)

    @in_a_loop
    async def test_copies_in_forks_and_the_original_are_redacted_from_either_side(
        self, stores: Stores
    ) -> None:
        store = stores.open()
        manager, event_id = await _talk(store, 5, 4)
        fork = await manager.fork(session_id="fork")
        branch = await fork.fork(session_id="branch")
        await branch.user_says("Own words.")
        copies = await branch.get_conversation(with_ids=True)
        (copy_id,) = [row["event_id"] for row in copies if MARKER in row["content"]]
        receipt = await branch.redact(copy_id)
        assert set(receipt.conversations) == {"talk", "fork", "branch"}
        assert (receipt.events, receipt.copies) == (1, 2)
        for each, its_manager in (("talk", manager), ("fork", fork), ("branch", branch)):
            assert MARKER not in await _told(stores.open(), each, its_manager)
        rows = await manager.get_conversation(with_ids=True)
        assert [row["content"] for row in rows if row["event_id"] == event_id] == ["[redacted]"]
        assert "Own words." in await _told(stores.open(), "branch")

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_managers_forget_a_pinned_message(self, stores: Stores, *, infinite: bool) -> None:
        store = stores.open()
        options: dict[str, Any] = {"infinite_context": infinite, "max_turns_per_segment": 4}
        manager = SessionManager("talk", store=store, **options)
        await manager.user_says(f"My name is {MARKER}.")
        (event_id,) = [row["event_id"] for row in await manager.get_conversation(with_ids=True)]
        await manager.pin(event_id)
        other = SessionManager("talk", store=stores.open(), **options)
        for number in range(6):
            await manager.user_says(f"question-{number}?")
            await manager.ai_responds(f"answer-{number}.")
        for reader in (manager, other):
            assert MARKER in json.dumps(await reader.get_messages_for_llm())
        await manager.redact(event_id)
        for number in range(6):  # over the end of the segment that was the live one
            await manager.user_says(f"more-{number}?")
        for reader in (manager, other):
            assert MARKER not in json.dumps(await reader.get_messages_for_llm())

    @in_a_loop
    async def test_the_summary_that_a_fork_begins_with_is_made_anew(self, stores: Stores) -> None:
        store = stores.open()
        manager, event_id = await _talk(store, 6, 1)
        fork = await manager.fork(session_id="fork")
        branch = await fork.fork(session_id="branch")
        for each in (fork, branch):
            assert MARKER in json.dumps(await each.get_messages_for_llm())
        await manager.redact(event_id)
        for name, its_manager in (("fork", fork), ("branch", branch)):
            told = await _told(stores.open(), name, its_manager)
            assert MARKER not in told
            assert "First request: question-0?" in told

    @in_a_loop
    async def test_writers_that_go_on_meanwhile_lose_nothing(self, stores: Stores) -> None:
        store = stores.open()
        manager, event_id = await _talk(store, 3, 1)

        async def write(name: str) -> None:
            writer = _manager(stores.open())
            for number in range(5):
                await writer.user_says(f"{name} {number}")

        await asyncio.gather(manager.redact(event_id), write("one"), write("two"))
        await manager.wait_for_summaries()
        await manager.redact(event_id)  # a summary may have been in the making
        told = await _told(stores.open(), "talk", manager)
        assert MARKER not in told
        assert all(f"{name} {number}" in told for name in ("one", "two") for number in range(5))

    @in_a_loop
    async def test_what_cannot_be_redacted_is_refused(self, stores: Stores) -> None:
        store = stores.open()
        manager, event_id = await _talk(store, 3, 0)
        elsewhere = _manager(store, "another")
        await elsewhere.user_says("words")
        (foreign,) = [row["event_id"] for row in await elsewhere.get_conversation(with_ids=True)]
        first = await read_session(store, (await store.segment_ids("talk"))[0])
        before = await _told(store, "talk")
        for wrong in ("nobody", foreign, first.events[-1].id, ""):  # the last one is a summary
            with pytest.raises(InvalidInput):
                await manager.redact(wrong)
        with pytest.raises(InvalidInput):
            await SessionManager(store=store).redact(event_id)
        with pytest.raises(SessionNotFound):
            await _manager(store, "new").redact(event_id)
        assert await _told(store, "talk") == before
        assert await store.get("new") is None

    @in_a_loop
    async def test_a_hook_of_a_manager_sees_all_before_it_is_written(self, stores: Stores) -> None:
        store = stores.open()
        seen: list[str] = []

        async def hidden(text: str) -> str:
            seen.append(text)
            await asyncio.sleep(0)
            return text.replace(MARKER, "[name]")

        manager = _manager(store, redact=hidden, model="gpt-4o")
        await manager.user_says(f"My name is {MARKER}.")
        await manager.ai_responds(_ANSWERS["a response"])
        await manager.user_says([{"type": "text", "text": MARKER}, _picture()])
        await manager.ai_responds(_ANSWERS["a tool call"])
        await manager.tool_used(
            "look", {"who": MARKER}, {"found": [MARKER]}, tool_call_id="call_0", note=MARKER
        )
        await manager.add_messages([{"role": "user", "content": f"Still {MARKER}."}])
        rows = await manager.get_conversation(with_ids=True)
        await manager.edit(rows[-1]["event_id"], f"{MARKER}, I said.")
        await manager.wait_for_summaries()
        told = await _told(stores.open(), "talk", manager)
        assert MARKER not in told
        assert "My name is [name]." in told
        assert _picture()["image_url"]["url"] in told
        assert "call_0" in told
        assert not any("base64" in text or text == "call_0" for text in seen)

    @in_a_loop
    async def test_a_hook_sees_all_fields_of_arguments_and_results(self, stores: Stores) -> None:
        store = stores.open()
        names = ("data", "detail", "status", "said", "customer_id", "id", "model", "name", "object", "index")
        fields: dict[str, Any] = {name: f"{MARKER} of {name}" for name in names}
        picture = {
            "type": "image",
            "data": _picture()["image_url"]["url"].split(",")[1] * 2,
            "mimeType": "image/png",
        }
        manager = _manager(store, redact=lambda text: text.replace(MARKER, "[name]"), model="gpt-4o")
        await manager.tool_used("look", fields, {"content": [fields, picture], "rows": {"more": fields}})
        call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": json.dumps(fields)}}
        await manager.add_messages(
            [
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": json.dumps(fields)},
            ]
        )
        await manager.user_says("Hello", data=MARKER, detail=MARKER, paid=MARKER, deep={"said": MARKER})
        told = await _told(stores.open(), "talk", manager)
        assert MARKER not in told
        assert all(told.count(f"[name] of {name}") >= 2 for name in names)
        assert picture["data"] in told

    @in_a_loop
    async def test_a_hook_sees_keys_of_objects(self, stores: Stores) -> None:
        store = stores.open()
        keyed: dict[str, Any] = {MARKER: 1, f"{MARKER}@example.com": {f"of {MARKER}": [{MARKER: None}]}}
        called = json.dumps(keyed)
        manager = _manager(store, redact=lambda text: text.replace(MARKER, "[name]"), model="gpt-4o")
        await manager.tool_used("look", keyed, {"rows": [keyed, {"type": "text", "text": MARKER}]})
        call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": called}}
        await manager.add_messages(
            [
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": called},
            ]
        )
        odd: dict[str, Any] = {f"{MARKER} said": 1}
        await manager.user_says("Hello", contacts=keyed, **odd)
        response = {
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [{"type": "tool_use", "id": "t", "name": "look", "input": keyed}],
        }
        await manager.ai_responds(response)
        told = await _told(stores.open(), "talk", manager)
        assert MARKER not in told
        rows = await manager.get_conversation(include_tools=True, with_ids=True)
        found = {"[name]": 1, "[name]@example.com": {"of [name]": [{"[name]": None}]}}
        assert rows[0]["arguments"] == rows[3]["metadata"]["contacts"] == found
        assert rows[3]["metadata"]["[name] said"] == 1
        assert json.loads(rows[-1]["tool_calls"][0]["function"]["arguments"]) == found

    @in_a_loop
    async def test_keys_that_a_hook_makes_equal_are_told_apart(self, stores: Stores) -> None:
        manager = _manager(stores.open(), redact=lambda _: "[gone]")
        parts = [{"type": "text", "text": "words"}, _picture()]
        await manager.tool_used("look", {"one": 1, "two": 2, "three": {"one": "deep"}}, parts)
        (row,) = await manager.get_conversation(include_tools=True, with_ids=True)
        assert row["arguments"] == {"[gone]": 1, "[gone] (2)": 2, "[gone] (3)": {"[gone]": "[gone]"}}
        assert row["content"] == [{"type": "text", "text": "[gone]"}, _picture()]

    @pytest.mark.parametrize("answer", [ValueError(MARKER), None, 3])
    @in_a_loop
    async def test_a_hook_that_fails_refuses_before_anything_is_written(
        self, stores: Stores, answer: Any
    ) -> None:
        store = stores.open()
        await _talk(store, 1, 0)
        before = await _told(store, "talk")

        def failing(text: str) -> Any:
            if "second" not in text:
                return text
            if isinstance(answer, Exception):
                raise answer
            return answer

        manager = _manager(store, redact=failing)
        with pytest.raises(InvalidInput) as refused:
            await manager.add_messages(
                [{"role": "user", "content": "first"}, {"role": "assistant", "content": "second"}]
            )
        assert MARKER not in str(refused.value)
        assert await _told(store, "talk") == before

    @in_a_loop
    async def test_a_hook_of_a_store_sees_what_goes_in_by_any_way(self, stores: Stores) -> None:
        if not self.calls_redact_hooks:
            pytest.skip("the store calls no hook")
        store = stores.open()
        store.redact = lambda text: text.replace(MARKER, "[name]")
        manager, _ = await _talk(store, 4, 0, _ANSWERS["a response"])
        session = await read_session(store, "talk")
        live = await read_session(store, (await store.segment_ids("talk"))[-1])
        await live.add_event_and_save(user_message({"role": "user", "content": MARKER}))
        session.state["kept"] = 1
        session.events[0] = session.events[0].model_copy(update={"message": f"Edited, {MARKER}."})
        await store.save(session)
        assert MARKER not in await _told(stores.open(), "talk", manager)
        assert "Edited, [name]." in await _told(stores.open(), "talk")


def _picture() -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64,aWJhc2U2NA=="}}
