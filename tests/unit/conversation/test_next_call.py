"""What the next call may see: thinking goes back where all before it is as it was, and nowhere else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from next_calls import TOOLS, Talk, signed, thinking_in
from places import Place
from turns import anthropic_answer, responses_answer

from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.session_manager import SessionManager

PROVIDERS = ["anthropic", "anthropic", "anthropic", "openai", "openai-responses", "google"]
ANSWERS = st.tuples(
    st.just("answer"),
    st.sampled_from(PROVIDERS),
    st.integers(0, 2),
    st.sampled_from(
        [
            {},
            {},
            {"max_tokens": 90},
            {"max_tokens": 200},
            {"max_tokens": 200, "steady": False},
            {"keep_tool_results": 1},
            {"keep_tool_results": 2, "max_tokens": 300, "cache": True},
        ]
    ),
)
STEPS = st.one_of(
    ANSWERS,
    ANSWERS,
    ANSWERS,
    st.tuples(st.sampled_from(["undo", "edit", "retract", "clear", "fork"]), st.integers(0, 9)),
    st.tuples(st.sampled_from(["pin", "pin", "unpin"]), st.integers(0, 9)),
    st.sampled_from([("user",), ("results",), ("results",), ("reopen",), ("prompt",), ("stopped",)]),
)
each_store = pytest.mark.parametrize("place", ["memory", "sqlite", "redis"], indirect=True)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=14), st.booleans())
def test_no_request_is_refused_and_all_thinking_that_may_go_back_does(
    steps: list[tuple[Any, ...]], infinite: bool
) -> None:
    options: dict[str, Any] = {"infinite_context": True, "max_turns_per_segment": 5} if infinite else {}
    asyncio.run(Talk(**options).play(steps))  # which judges every request


# -- one by one -----------------------------------------------------------------------------------


@each_store
async def test_thinking_goes_back_in_another_process_too(place: Place) -> None:
    talk = Talk(place.store)
    await talk.answer("anthropic")
    await talk.answer("anthropic", calls=2)
    await talk.results()
    talk.reopen()
    await talk.answer("anthropic")
    await talk.user()
    assert len(thinking_in(await talk.context("anthropic"))) == 6
    await talk.close()


async def test_from_the_first_change_on_all_earlier_thinking_goes_and_what_comes_after_stays() -> None:
    talk = Talk()
    await talk.answer("anthropic")
    await talk.answer("anthropic")
    await talk.prompt()
    await talk.answer("anthropic")  # which is not given the two before
    await talk.user()
    request = await talk.context("anthropic")
    assert [json.loads(each)["type"] for each in thinking_in(request)] == ["thinking", "redacted_thinking"]
    assert "Answer 2." in json.dumps(request)


async def test_another_provider_in_between_changes_nothing_for_those_before() -> None:
    talk = Talk()
    await talk.answer("anthropic")
    for provider in ("openai", "openai-responses", "google"):
        await talk.answer(provider)
    await talk.user()
    assert len(thinking_in(await talk.context("anthropic"))) == 2


async def test_a_change_of_tools_that_is_told_leaves_thinking_out() -> None:
    talk = Talk()
    await talk.answer("anthropic", tools=talk.tools)
    await talk.user()
    assert thinking_in(await talk.context("anthropic", tools=talk.tools))
    talk.tools = [*TOOLS, TOOLS[0] | {"name": "moon"}]
    assert not thinking_in(await talk.context("anthropic", tools=talk.tools))


async def test_an_answer_without_a_fingerprint_gives_its_thinking_back_in_its_own_loop_only() -> None:
    sm = SessionManager()
    await sm.user_says("When?")
    await sm.ai_responds(anthropic_answer("Let me look.", [("call_1", "tide", {})]))
    await sm.tool_used("tide", {}, "noon", tool_call_id="call_1")
    assert thinking_in(await sm.get_messages_for_llm(format="anthropic"))
    await sm.user_says("And tomorrow?")
    assert not thinking_in(await sm.get_messages_for_llm(format="anthropic"))


async def test_a_context_that_was_handed_out_to_another_task_is_not_this_one_s() -> None:
    talk = Talk()
    await talk.user()
    request = await talk.sm.get_messages_for_llm(format="anthropic")
    mine = talk.anthropic(dict(request), "Mine.", [])

    async def another() -> dict[str, Any]:
        await talk.user()
        return talk.anthropic(dict(await talk.sm.get_messages_for_llm(format="anthropic")), "Theirs.", [])

    theirs = await asyncio.create_task(another())
    await talk.sm.ai_responds(mine | {"id": "msg_mine"})
    await talk.sm.ai_responds(theirs | {"id": "msg_theirs"})
    await talk.user()
    await talk.context("anthropic")  # which is judged


async def test_a_loop_outlives_a_roll_over() -> None:
    talk = Talk(infinite_context=True, max_turns_per_segment=2)
    await talk.answer("anthropic")
    for _ in range(5):
        await talk.answer("anthropic", calls=1)
        await talk.results()
    request = await talk.context("anthropic")
    assert len(await talk.sm.get_session_chain()) > 3
    assert len(thinking_in(request)) == 10  # of the loop; a segment was opened before it


@pytest.mark.parametrize("reopens", [False, True])
async def test_a_summary_that_a_model_was_sent_stays(reopens: bool) -> None:
    go_on = asyncio.Event()

    async def callback(messages: list[dict[str, Any]]) -> str:
        await go_on.wait()
        return "The callback's."

    talk = Talk(infinite_context=True, max_turns_per_segment=4, summary_callback=callback)
    await talk.answer("anthropic")
    await talk.answer("anthropic")
    await talk.user()  # which waits for the callback, for two seconds
    await talk.answer("anthropic", calls=1)
    before = await talk.context("anthropic")
    go_on.set()
    await talk.sm.wait_for_summaries()
    await talk.results()
    if reopens:
        talk.reopen()
    request = await talk.context("anthropic")
    assert request["messages"][0] == before["messages"][0]
    assert len(thinking_in(request)) == 2
    for _ in range(3):  # the next segment is told of the callback's
        await talk.answer("anthropic")
    await talk.sm.wait_for_summaries()
    await talk.user()
    assert "The callback's." in str((await talk.context("anthropic"))["messages"][0])


# -- compaction -----------------------------------------------------------------------------------


def compacting(talk: Talk, request: Any) -> dict[str, Any]:
    """An answer of Anthropic's that compacts first."""
    answer = talk.anthropic(request, "After.", [])
    content = [{"type": "compaction", "content": "A summary."}, *unsigned(answer["content"])]
    return answer | {"id": "msg_compacted", "content": signed(talk.body(request), content)}


def unsigned(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: each[key] for key in each if key not in {"signature", "data"}} for each in content]


async def test_a_context_begins_with_anthropic_s_newest_compaction() -> None:
    talk = Talk()
    await talk.answer("anthropic")
    await talk.user()
    await talk.sm.ai_responds(compacting(talk, await talk.context("anthropic")))
    await talk.answer("anthropic")
    await talk.user()
    request = await talk.context("anthropic")
    assert request["messages"][0]["content"][0] == {"type": "compaction", "content": "A summary."}
    assert len(thinking_in(request)) == 4  # its own too: it is bound to the compaction
    assert "Question 1" in json.dumps(await talk.context("google"))


async def test_a_compaction_opens_a_segment() -> None:
    talk = Talk(infinite_context=True, max_turns_per_segment=6)
    for _ in range(2):
        await talk.answer("anthropic")
    await talk.user()
    await talk.sm.ai_responds(compacting(talk, await talk.context("anthropic")))
    assert len(await talk.sm.get_session_chain()) == 2
    await talk.answer("anthropic")
    await talk.user()
    assert len(await talk.sm.get_session_chain()) == 2  # five messages since then
    request = await talk.context("anthropic")
    assert request["messages"][0]["content"][0]["type"] == "compaction"
    assert len(thinking_in(request)) == 4
    contents = await talk.context("google")
    assert "<earlier_conversation>" in json.dumps(contents)
    assert "A summary." not in json.dumps(contents)


async def test_a_compaction_that_failed_replaces_nothing() -> None:
    talk = Talk()
    await talk.user()
    answer = talk.anthropic(await talk.context("anthropic"), "Yes.", [])
    answer["content"] = [{"type": "compaction", "content": None}, *answer["content"]]
    await talk.sm.ai_responds(answer)
    await talk.user()
    request: Any = await talk.sm.get_messages_for_llm(format="anthropic")
    assert [row["role"] for row in request["messages"]] == ["user", "assistant", "user"]


async def test_responses_begin_with_the_newest_compaction_after_the_system_prompt() -> None:
    talk = Talk()
    await talk.answer("openai-responses")
    await talk.user()
    await talk.context("openai-responses")
    compaction = {"type": "compaction", "id": "cmp_1", "encrypted_content": "C"}
    answer = responses_answer("After.", [], number=9) | {"id": "resp_9"}
    await talk.sm.ai_responds(answer | {"output": [compaction, *answer["output"]]})
    await talk.user()
    items = await talk.context("openai-responses")
    assert [item.get("type", item.get("role")) for item in items] == [
        "system", "compaction", "reasoning", "message", "user",
    ]  # fmt: skip
    request: Any = await talk.sm.get_messages_for_llm(format="openai-responses", server_state=True)
    assert request["previous_response_id"] == "resp_9"
    assert "Question 1" in json.dumps(await talk.context("anthropic"))


# -- state that a server holds ----------------------------------------------------------------------


@each_store
async def test_only_what_is_new_is_sent_where_the_server_holds_the_rest(place: Place) -> None:
    talk = Talk(place.store)
    await talk.answer("openai-responses", calls=1)
    await talk.results()
    for reopens in (False, True):
        if reopens:
            talk.reopen()
        request: Any = await talk.sm.get_messages_for_llm(format="openai-responses", server_state=True)
        assert request["previous_response_id"] == "resp_2"
        assert [item["type"] for item in request["input"]] == ["function_call_output"]
    await talk.sm.ai_responds(responses_answer("Noon.", [], number=7) | {"id": "resp_7"})
    await talk.user()
    request = await talk.sm.get_messages_for_llm(format="openai-responses", server_state=True)
    assert request["previous_response_id"] == "resp_7"
    assert len(request["input"]) == 1
    await talk.prompt()
    request = await talk.sm.get_messages_for_llm(format="openai-responses", server_state=True)
    assert "previous_response_id" not in request
    assert len(request["input"]) > 4
    await talk.close()


async def test_what_another_provider_answered_is_new_to_the_server() -> None:
    talk = Talk()
    await talk.answer("openai-responses")
    await talk.answer("google")
    await talk.user()
    request: Any = await talk.sm.get_messages_for_llm(format="openai-responses", server_state=True)
    assert request["previous_response_id"] == "resp_2"
    assert [item["role"] for item in request["input"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("beside", "held"),
    [({"store": False}, {}), ({"conversation": {"id": "conv_1"}}, {"conversation": "conv_1"})],
)
async def test_the_state_is_named_as_the_response_says(beside: dict[str, Any], held: dict[str, Any]) -> None:
    talk = Talk()
    await talk.user()
    await talk.context("openai-responses")
    await talk.sm.ai_responds(responses_answer("Noon.", []) | beside)
    await talk.user()
    request: Any = await talk.sm.get_messages_for_llm(format="openai-responses", server_state=True)
    assert {key: request[key] for key in request if key != "input"} == held
    assert len(request["input"]) == (1 if held else 5)


async def test_server_state_is_for_responses_only() -> None:
    with pytest.raises(InvalidInput, match="server_state"):
        await SessionManager().get_messages_for_llm(format="anthropic", server_state=True)  # type: ignore[call-overload]


@pytest.mark.parametrize("infinite", [False, True])
@pytest.mark.parametrize("options", [{}, {"max_tokens": 4_000}, {"max_tokens": 4_000, "steady": False}])
async def test_a_loop_goes_on_in_a_conversation_that_begins_with_instructions_and_no_question(
    options: dict[str, Any], infinite: bool
) -> None:
    sm = SessionManager("s", "Be brief.", infinite_context=infinite)
    await sm.ai_responds("Good morning.")
    (first,) = [row["event_id"] for row in await sm.get_conversation(with_ids=True)]
    await sm.retract(first)
    await sm.add_messages([{"role": "system", "content": "Look first."}])
    await sm.ai_responds(anthropic_answer("Let me look.", [("call_1", "look", {})]))
    await sm.tool_used("look", {}, "noon", tool_call_id="call_1")
    request: Any = await sm.get_messages_for_llm(format="anthropic", **options)
    assert request["system"] == "Be brief.\n\nLook first."
    _, answer, result = request["messages"]
    assert answer["content"][0]["signature"] == "SIG-A"
    assert result["content"][0]["content"] == "noon"
