"""Conversations of any known form go in without anybody naming the form."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from chat_exports import node, of_chatgpt, of_claude, zipped
from places import Place, in_memory_too

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.api.importing import import_conversations
from chuk_ai_session_manager.api.transfer import export_conversation
from chuk_ai_session_manager.exceptions import InvalidInput, SessionAlreadyExists
from chuk_ai_session_manager.stores import EventStore, MemoryStore


async def rows_of(store: EventStore, session_id: str) -> list[tuple[str, Any]]:
    rows = await SessionManager(session_id, store=store).get_conversation(include_tools=True)
    return [(row["role"], row["content"]) for row in rows]


@in_memory_too
class TestDataExports:
    async def test_chatgpt(self, place: Place) -> None:
        async with place.store() as store:
            assert await import_conversations(json.dumps([of_chatgpt()]), store) == ["0f7a-chatgpt"]
        async with place.store() as store:
            assert await rows_of(store, "0f7a-chatgpt") == [
                ("user", "What is 3+3?"),
                ("assistant", "Let me see."),
                ("assistant", ""),
                ("tool", "6"),
                ("assistant", "6."),
                ("user", "[image: file-service://file-1]\nAnd this?\n[file: sums.pdf]"),
                ("assistant", "A cat."),
            ]
            sm = SessionManager("0f7a-chatgpt", store=store)
            rows = await sm.get_conversation(with_ids=True, include_tools=True)
            assert [row["event_id"] for row in rows] == ["q2", "a3", "call", "result", "a4", "q3", "a5"]
            assert rows[0]["timestamp"] == "2023-11-14T22:13:23.250000+00:00"
            assert (rows[1]["metadata"]["model"], rows[1]["metadata"]["provider"]) == ("o3", "openai")
            assert rows[3]["arguments"] == {"input": "print(3+3)"}
            variants = [(row["content"], row["is_chosen"]) for row in await sm.variants("q2")]
            assert variants == [("What is 2+2?", False), ("What is 3+3?", True)]
            assert [row["is_chosen"] for row in await sm.variants("a3")] == [False, True]
            stats = await sm.get_stats()
            assert (stats["total_messages"], stats["llm_calls"], stats["estimated_cost"]) == (6, 0, 0.0)
            await sm.choose("q1")
            assert (await rows_of(store, sm.session_id)) == [("user", "What is 2+2?"), ("assistant", "4")]
            await sm.user_says("And 4+4?")
            assert (await sm.get_stats())["total_messages"] == 3
            session = await store.get(sm.session_id)
            assert session is not None
            assert session.metadata.properties == {"imported_from": "chatgpt", "title": "Sums"}
            assert session.metadata.created_at.isoformat() == "2023-11-14T22:13:20.250000+00:00"

    @pytest.mark.parametrize("with_parents", [True, False])
    async def test_claude(self, place: Place, *, with_parents: bool) -> None:
        content = json.dumps([of_claude(with_parents=with_parents)], indent=2)
        async with place.store() as store:
            assert await import_conversations(content, store) == ["c1a9-claude"]
            rows = await rows_of(store, "c1a9-claude")
            answer = [("assistant", "Sorry?")] if not with_parents else []
            assert rows == [
                ("user", "Read this.\n\nnotes.txt:\nsix"),
                *answer,
                ("assistant", "I look."),
                ("tool", "six"),
                ("assistant", "It says six."),
                ("user", "Thanks.\n\n[file: cat.png]"),
            ]
            sm = SessionManager("c1a9-claude", store=store)
            variants = [row["content"] for row in await sm.variants("m2")]
            assert variants == (["Sorry?", "I look."] if with_parents else ["Sorry?"])
            messages = (await sm.get_messages_for_llm(format="anthropic"))["messages"]
            assert messages[1 if with_parents else 2]["role"] == ("assistant" if with_parents else "user")

    async def test_many_of_both_in_a_zip_file(self, place: Place) -> None:
        async with place.store() as store:
            content = zipped(of_chatgpt(), of_claude())
            assert await import_conversations(content, store) == ["0f7a-chatgpt", "c1a9-claude"]
            with pytest.raises(SessionAlreadyExists):
                await import_conversations(content, store)
            for session_id in ("0f7a-chatgpt", "c1a9-claude"):
                await store.delete(session_id)
            numbered = zipped(of_claude(), name="export/conversations-000.json")
            assert await import_conversations(numbered, store) == ["c1a9-claude"]


CHAT: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
ANTHROPIC: dict[str, Any] = {
    "id": "claude-chat",
    "model": "claude-sonnet-4-5",
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": "The time?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "clock", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "12:30"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "12:30"}]},
    ],
}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"id": "chat", "messages": CHAT}),
        json.dumps({"id": "chat", "messages": CHAT}, indent=1),
        json.dumps([{"id": "chat", "messages": CHAT}]),
        json.dumps({"conversations": [{"id": "chat", "messages": CHAT}]}),
        "\n\n" + json.dumps({"id": "chat", "model": "gpt-4o", "messages": CHAT}) + "\n",
        json.dumps(CHAT),
        "\n".join(map(json.dumps, CHAT)),
        json.dumps(CHAT).encode(),
    ],
    ids=["line", "indented", "list", "named", "lines", "bare", "messages", "bytes"],
)
async def test_chats_in_openai_s_format(content: str | bytes) -> None:
    store = MemoryStore()
    (session_id,) = await import_conversations(content, store)
    assert await rows_of(store, session_id) == [("user", "Hi"), ("assistant", "Hello")]


async def test_a_chat_in_anthropic_s_format() -> None:
    store = MemoryStore()
    assert await import_conversations(json.dumps(ANTHROPIC), store) == ["claude-chat"]
    sm = SessionManager("claude-chat", store=store)
    request = await sm.get_messages_for_llm(format="anthropic")
    assert (request["system"], request["messages"]) == ("Be brief.", ANTHROPIC["messages"])
    assert (await sm.get_stats())["tool_calls"] == 1


async def test_our_own_lines_and_others_in_one_file() -> None:
    there, here = MemoryStore(), MemoryStore()
    async with SessionManager("talk", store=there, infinite_context=True, max_turns_per_segment=2) as sm:
        for number in range(5):
            await sm.user_says(str(number))
    lines = [line async for line in export_conversation("talk", there)]
    content = "\n".join(
        [*reversed(lines), json.dumps(of_claude()), json.dumps({"id": "c", "messages": CHAT})]
    )
    ids = await import_conversations(content, here)
    assert ids == [*await there.segment_ids("talk"), "c1a9-claude", "c"]
    again = [json.loads(line) async for line in export_conversation("talk", here)]
    assert again == [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    "content", [json.dumps([CHAT, CHAT]), json.dumps([CHAT, CHAT], indent=1), f"{json.dumps(CHAT)}\n" * 2]
)
async def test_lists_of_messages_are_a_chat_each(content: str) -> None:
    store = MemoryStore()
    names = await import_conversations(content, store)
    assert len(set(names)) == 2
    assert [await rows_of(store, name) for name in names] == [[("user", "Hi"), ("assistant", "Hello")]] * 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda talk: talk.pop("chat_messages"),
            "conversation 2 has no known form. Known are exported sessions",
        ),
        (lambda talk: talk.update(uuid=""), "conversation 2: the conversation has no id"),
        (lambda talk: talk["chat_messages"][0].update(uuid="a\nb"), "conversation 2: an event id must not"),
        (
            lambda talk: talk.update(uuid="0f7a-chatgpt"),
            "conversation 2: session 0f7a-chatgpt is there twice",
        ),
    ],
)
async def test_what_cannot_be_is_named_and_nothing_is_stored(
    change: Callable[[dict[str, Any]], Any], problem: str
) -> None:
    store, broken = MemoryStore(), of_claude()
    change(broken)
    with pytest.raises(InvalidInput, match=problem):
        await import_conversations(json.dumps([of_chatgpt(), broken]), store)
    assert list(await store.list_sessions()) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("hello", "the file is not a JSON object"),
        ("[1]", "conversation 1 is not a JSON object"),
        ('{"messages": []}\nhello', "line 2 is not a JSON object"),
        ('{"a": 1}', "line 1 has no known form"),
        (zipped(of_claude(), name="other.json"), "the ZIP file has no conversations.json"),
        (zipped(of_claude())[:90], "the ZIP file cannot be read"),
    ],
    ids=["text", "number", "line", "unknown", "other-zip", "cut-zip"],
)
async def test_files_of_other_kinds(content: str | bytes, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        await import_conversations(content, MemoryStore())


async def test_a_file_with_nothing_in_it() -> None:
    assert await import_conversations(" \n", MemoryStore()) == []
    assert await import_conversations("[]", MemoryStore()) == []


async def test_odd_trees_end() -> None:
    """A circle, a missing parent, a child that its parent does not name, no current message, odd times."""
    talk = of_chatgpt()
    talk["mapping"]["a5"]["children"] = ["q3"]
    talk["mapping"]["lost"] = node("lost", "nobody", [], "user", "Hello?") | {"children": None}
    talk["mapping"]["lost"]["message"]["create_time"] = "soon"
    talk["mapping"]["odd"] = node("odd", "lost", [], "user", None, 7, {"content_type": "audio_asset_pointer"})
    talk |= {"current_node": "nobody", "create_time": None, "title": None}
    store = MemoryStore()
    await import_conversations(json.dumps([talk]), store)
    assert await rows_of(store, "0f7a-chatgpt") == [("user", "Hello?"), ("user", "[audio]")]


ODD_VALUES = ([1], {"a": 1}, 5, True, "else", None)


@pytest.mark.parametrize(
    "path",
    [
        ("current_node",),
        ("create_time",),
        ("mapping", "q3", "parent"),
        ("mapping", "q2", "children"),
        ("mapping", "q3", "message"),
        ("mapping", "q3", "message", "author"),
        ("mapping", "q3", "message", "author", "role"),
        ("mapping", "q3", "message", "content"),
        ("mapping", "q3", "message", "content", "content_type"),
        ("mapping", "q3", "message", "content", "parts"),
        ("mapping", "q3", "message", "metadata"),
        ("mapping", "q3", "message", "metadata", "attachments"),
    ],
    ids=".".join,
)
@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
async def test_a_damaged_field_of_chatgpt_s_export_loses_no_other_message(
    path: tuple[str, ...], value: Any
) -> None:
    talk = of_chatgpt()
    put(talk, path, value)
    store = MemoryStore()
    assert await import_conversations(json.dumps([talk]), store) == ["0f7a-chatgpt"]
    assert {"q1", "a1", "q2", "a2", "a3", "a4", "a5"} <= await event_ids(store, "0f7a-chatgpt")


@pytest.mark.parametrize(
    "path",
    [
        ("current_leaf_message_uuid",),
        ("chat_messages", 3, "parent_message_uuid"),
        ("chat_messages", 3, "content"),
        ("chat_messages", 3, "attachments"),
        ("chat_messages", 3, "files"),
        ("chat_messages", 3, "created_at"),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
async def test_a_damaged_field_of_claude_s_export_loses_no_message(
    path: tuple[str | int, ...], value: Any
) -> None:
    talk = of_claude()
    put(talk, path, value)
    store = MemoryStore()
    assert await import_conversations(json.dumps([talk]), store) == ["c1a9-claude"]
    assert {"m1", "m2", "m4"} <= await event_ids(store, "c1a9-claude")


def put(record: Any, path: Sequence[str | int], value: Any) -> None:
    *above, last = path
    for key in above:
        record = record[key]
    record[last] = value


async def event_ids(store: EventStore, session_id: str) -> set[str]:
    session = await store.get(session_id)
    assert session is not None
    return {event.id for event in session.events}
