"""The tools with which a model looks up what was said, and recall over all conversations of a user."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletionToolParam
from openai.types.responses import FunctionToolParam
from pydantic import TypeAdapter

from chuk_ai_session_manager import SessionManager, TokenUsage, recall_user
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.stores import EventStore, MemoryStore, open_store

FORMATS: list[Any] = [None, "openai", "openai-responses", "anthropic", "google"]


def manager(session_id: str = "talk", **options: Any) -> SessionManager:
    options.setdefault("store", MemoryStore())
    return SessionManager(
        session_id, infinite_context=True, max_turns_per_segment=6, model="gpt-4o", **options
    )


async def told(sm: SessionManager) -> list[str]:
    await sm.user_says("My dog Rex loves carrots.", name="Ann")
    for number in range(12):
        await sm.ai_responds(f"It rains in town {number}.", model="gpt-4o", provider="openai")
        await sm.user_says(f"How is the weather in town {number + 1}?")
    return [row["event_id"] for row in await sm.get_conversation(include_all_segments=True, with_ids=True)]


def search(query: Any) -> dict[str, Any]:
    return {"name": "search_history", "arguments": {"query": query}}


def read(event_id: Any, **options: Any) -> dict[str, Any]:
    return {"name": "read_history", "arguments": {"event_id": event_id, **options}}


@pytest.mark.parametrize("format_name", FORMATS)
def test_definitions_are_what_providers_take_and_the_same_from_call_to_call(format_name: Any) -> None:
    tools = manager().tools(format_name)
    assert json.dumps(tools) == json.dumps(manager("other").tools(format=format_name))
    tools[0].clear()  # what an application does to them changes nothing
    tools = manager().tools(format_name)
    match format_name:
        case "anthropic":
            assert [each["input_schema"]["type"] for each in tools] == ["object", "object"]
        case "google":
            types = pytest.importorskip("google.genai.types")
            functions = types.Tool.model_validate(tools[0]).function_declarations
            assert [each.name for each in functions] == ["search_history", "read_history"]
        case "openai-responses":
            TypeAdapter(list[FunctionToolParam]).validate_python(tools)
        case _:
            TypeAdapter(list[ChatCompletionToolParam]).validate_python(tools)
    with pytest.raises(InvalidInput):
        manager().tools("klingon")  # type: ignore[arg-type]


def forms_of(name: str, arguments: dict[str, Any]) -> list[Any]:
    text = json.dumps(arguments)
    return [
        {"id": "c", "type": "function", "function": {"name": name, "arguments": text}},
        {"type": "function_call", "call_id": "c", "name": name, "arguments": text},
        {"type": "tool_use", "id": "c", "name": name, "input": arguments},
        {"function_call": {"name": name, "args": arguments}},
        {"functionCall": {"name": name, "args": arguments}},
        {"name": name, "arguments": arguments},
    ]


async def test_calls_of_every_provider_are_run() -> None:
    from anthropic.types import ToolUseBlock
    from chuk_tool_processor.models.tool_call import ToolCall
    from google.genai.types import Part
    from openai.types.chat import ChatCompletionMessageFunctionToolCall
    from openai.types.responses import ResponseFunctionToolCall

    sm = manager()
    await told(sm)
    calls = forms_of("search_history", {"query": "What does Rex love?"})
    calls.append(ChatCompletionMessageFunctionToolCall.model_validate(calls[0]))
    calls.append(ResponseFunctionToolCall.model_validate(calls[1]))
    calls.append(ToolUseBlock.model_validate(calls[2]))
    part = Part.model_validate(calls[3])
    calls += [part, part.function_call]
    calls.append({"toolUse": {"toolUseId": "c", **calls[2]}})
    calls.append(ToolCall(tool="search_history", arguments=calls[5]["arguments"]))
    results = {await sm.run_tool(call) for call in calls}
    assert len(results) == 1
    assert "Ann: My dog Rex loves carrots." in results.pop()


async def test_a_search_gives_dates_and_event_ids_that_can_be_read() -> None:
    sm = manager()
    ids = await told(sm)
    found = await sm.run_tool(search("Which dog loves carrots?"))
    assert f"({ids[0]}) Ann: My dog Rex loves carrots." in found
    assert found.startswith("[")
    assert "My dog Rex loves carrots." in await sm.run_tool(read(ids[0]))
    near = await sm.run_tool(read(ids[4], around=1))
    assert [f"({each})" in near for each in ids[2:7]] == [False, True, False, True, False]
    assert near.index(ids[3]) < near.index("> ") < near.index(ids[5])


async def test_a_long_result_is_read_page_by_page_or_where_a_text_stands() -> None:
    sm = manager()
    await sm.user_says("Go.")
    whole = " ".join(f"item-{number}" for number in range(3_000)) + " the zeppelin"
    await sm.tool_used("look_up", {"q": 1}, whole)
    rows = await sm.get_conversation(with_ids=True, include_tools=True)
    event_id = rows[-1]["event_id"]
    pages, asked = "", event_id
    while asked:
        page = await sm.run_tool(read(asked))
        assert len(page) < 7_000
        head, _, text = page.partition("\n")
        pages += text
        asked = head.partition('Next page: event_id "')[2].partition('"')[0]
    assert pages == whole
    assert "item-2999 the zeppelin" in await sm.run_tool(read(event_id, find="The Zeppelin"))
    assert "does not occur in it" in await sm.run_tool(read(event_id, find="parrot"))
    assert "no page 99" in await sm.run_tool(read(f"{event_id}#99"))


async def test_event_ids_of_an_application_may_contain_the_mark_of_a_page() -> None:
    sm = manager()
    said = [{"role": "user", "content": text} for text in ("A zebra.", "A lion.", "A long tale. " * 1_000)]
    await sm.add_messages(said, event_id="list")  # the others get the ids list#2 and list#1
    await sm.user_says("A tiger.", event_id=" spaced ")
    assert "A zebra." in await sm.run_tool(read("list#2"))
    assert "A lion." in await sm.run_tool(read("list#1"))
    assert "A tiger." in await sm.run_tool(read(" spaced "))
    first = await sm.run_tool(read("list"))
    assert 'event_id "list##2"' in first
    assert "Characters 6,000 to 12,000 of 13,000" in await sm.run_tool(read("list##2"))
    assert "Characters 12,000 to 13,000 of 13,000" in await sm.run_tool(read(" list#3"))


async def test_a_text_is_found_behind_letters_that_are_two_without_their_case() -> None:
    sm = manager()
    await sm.user_says("Maß " * 2_000 + "A Needle." + " Maß" * 2_000, event_id="long")
    for wanted in ("needle", "MASS A NEEDLE"):
        assert "A Needle." in await sm.run_tool(read("long", find=wanted))


async def test_what_a_search_gives_is_bounded() -> None:
    sm = manager()
    for number in range(200):
        await sm.user_says(f"The boat {number} is in the harbour. {'Very far away. ' * 30}")
    found = await sm.run_tool(search("boat in the harbour"))
    assert await TokenUsage.count_tokens(found, "gpt-4o") <= 4_100


@pytest.mark.parametrize(
    "call",
    [search(""), search(7), search(None), read(""), read("no-such-id"), read(7), read("x#y", around="many"),
     {"name": "search_history", "arguments": "no JSON"}, {"name": "read_history", "arguments": [1]},
     {"name": "search_history"}, search("zeppelin")],
)  # fmt: skip
async def test_what_a_model_asks_wrongly_is_told_to_it(call: dict[str, Any]) -> None:
    sm = manager()
    await told(sm)
    assert 10 < len(await sm.run_tool(call)) < 200


@pytest.mark.parametrize(
    "call", [None, 7, "search_history", {}, {"name": "tide"}, {"function": {"name": 7}}, []]
)
async def test_what_is_no_call_of_the_tools_is_refused(call: Any) -> None:
    sm = manager()
    await told(sm)
    with pytest.raises(InvalidInput):
        await sm.run_tool(call)


async def test_what_the_tools_gave_is_not_found_again() -> None:
    sm = manager()
    await told(sm)
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "search_history", "arguments": '{"query": "Rex"}'},
    }
    result = await sm.run_tool(call)
    await sm.add_messages(
        [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": result},
        ]
    )
    found = await sm.recall("Rex carrots")
    assert [turn.speaker for turn in found if "Rex" in turn.text] == ["Ann"]


async def test_what_was_taken_back_cannot_be_read() -> None:
    sm = manager()
    ids = await told(sm)
    await sm.retract(ids[0])
    assert "carrots" not in await sm.run_tool(read(ids[0]))
    assert "carrots" not in await sm.run_tool(read(ids[1], around=3))
    assert "carrots" not in await sm.run_tool(search("Which dog loves carrots?"))


async def stores_of(tmp_path: Any) -> list[EventStore]:
    return [MemoryStore(), open_store(f"sqlite:///{tmp_path}/a.db")]


async def test_recall_of_a_user_is_over_all_conversations_of_that_user_alone(tmp_path: Any) -> None:
    for store in await stores_of(tmp_path):
        for user, name, animal in (("ann", "a1", "dog"), ("ann", "a2", "cat"), ("bob", "b1", "parrot")):
            sm = manager(name, store=store, user_id=user)
            await sm.user_says(f"My {animal} is called Rex, the {animal}.")
            for number in range(8):
                await sm.user_says(f"{animal}: filler {number}")
        nobody = manager("n1", store=store)
        await nobody.user_says("Nobody's dog is called Rex.")
        found = await recall_user("ann", "Who is called Rex?", store=store)
        named = {turn.text: turn.session_id for turn in found if "Rex" in turn.text}
        assert named == {"My dog is called Rex, the dog.": "a1", "My cat is called Rex, the cat.": "a2"}
        assert found.tokens <= 2_000
        assert "parrot" not in (await recall_user("ann", "parrot", store=store)).text
        assert not await recall_user("nobody", "Rex", store=store)
        await manager("a3", store=store, user_id="ann").user_says("My zeppelin is called Max.")
        assert (await recall_user("ann", "zeppelin", store=store, limit=1)).turns[0].session_id == "a3"
        await store.delete_conversation("a1")
        texts = [turn.text for turn in await recall_user("ann", "Rex", store=store)]
        assert not any("dog" in text for text in texts)
        await manager("a2", store=store, user_id="ann").clear()
        assert "cat" not in (await recall_user("ann", "Rex", store=store)).text
        assert (await recall_user("ann", "zeppelin", store=store)).turns[0].session_id == "a3"
        await store.close()


async def test_the_tools_search_all_of_a_user_where_the_application_says_so() -> None:
    store = MemoryStore()
    ids = await told(manager("other", store=store, user_id="ann"))
    sm = manager(store=store, user_id="ann")
    await sm.user_says("Hello.")
    assert "Rex" not in await sm.run_tool(search("Rex"))
    assert "No message" in await sm.run_tool(read(ids[0]))
    assert "Rex" in await sm.run_tool(search("Rex"), of_user=True)
    assert "Rex" in await sm.run_tool(read(ids[0], around=2), of_user=True)
    stranger = manager("third", store=store, user_id="bob")
    await stranger.user_says("Hello.")
    assert "Rex" not in await stranger.run_tool(search("Rex"), of_user=True)
    nobodys = manager("fourth", store=store)
    await nobodys.user_says("Hello.")
    with pytest.raises(InvalidInput):
        await nobodys.run_tool(search("Rex"), of_user=True)


@pytest.mark.parametrize(
    "options", [{"user_id": ""}, {"query": " "}, {"limit": 0}, {"max_tokens": 0}, {"model": ""}]
)
async def test_bad_input_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await recall_user(options.pop("user_id", "ann"), options.pop("query", "dog"), **options)


@pytest.mark.parametrize("format_name", FORMATS)
async def test_a_summary_names_the_tool_where_it_is_offered(format_name: Any) -> None:
    sm = manager()
    await told(sm)
    await sm.wait_for_summaries()
    own = [{"type": "function", "function": {"name": "tide", "parameters": {}}}]
    for tools, is_named in ((None, False), (own, False), (sm.tools(format_name), True)):
        context = await sm.get_messages_for_llm(format=format_name, tools=tools)
        text = json.dumps(context)
        assert "earlier_conversation" in text
        assert ("search_history" in text) == is_named
