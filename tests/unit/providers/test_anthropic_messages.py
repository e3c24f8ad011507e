"""Chat messages for Anthropic's API: what its own SDK's types, and its rules for the order, let pass."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from anthropic.types import Message as AnthropicMessage
from anthropic.types import MessageParam, TextBlock, ToolUseBlock
from chat_rules import is_valid
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.providers.anthropic_messages import for_anthropic as request_for_anthropic
from chuk_ai_session_manager.providers.messages import INTERRUPTED
from chuk_ai_session_manager.session_aware_tool_processor import SessionAwareToolProcessor

# Looked into as JSON, not as what the SDK's types say of it.
for_anthropic: Any = request_for_anthropic

Row = dict[str, Any]

SDK_TYPE = TypeAdapter(list[MessageParam])


def call(call_id: str, arguments: str = "{}") -> Row:
    return {"id": call_id, "type": "function", "function": {"name": "look_up", "arguments": arguments}}


def blocks(message: Row) -> list[Row]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def check(request: Row) -> None:
    """Let pass only what the API does."""
    messages = request["messages"]
    SDK_TYPE.validate_python(messages)
    assert request.get("system", "x").strip()
    roles = [message["role"] for message in messages]
    assert roles == ["user" if at % 2 == 0 else "assistant" for at in range(len(roles))]
    waiting: list[str] = []
    for message in messages:
        kinds = [block["type"] for block in blocks(message)]
        assert kinds
        answered = [block["tool_use_id"] for block in blocks(message) if block["type"] == "tool_result"]
        assert sorted(answered) == sorted(waiting)
        assert kinds[: len(answered)] == ["tool_result"] * len(answered)
        waiting = [block["id"] for block in blocks(message) if block["type"] == "tool_use"]
        for block in blocks(message):
            assert block["type"] != "text" or block["text"].strip()
            assert block["type"] != "tool_use" or isinstance(block["input"], dict)
    assert not waiting


def test_a_conversation_with_tools() -> None:
    request = for_anthropic(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What of a and b?"},
            {"role": "assistant", "content": "I look.", "tool_calls": [call("c1", '{"q": "a"}'), call("c2")]},
            {"role": "tool", "tool_call_id": "c1", "content": "A"},
            {"role": "tool", "tool_call_id": "c2", "content": '{"error": "no such thing"}'},
            {"role": "user", "content": "And?"},
        ]
    )
    assert request == {
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "What of a and b?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "c1", "name": "look_up", "input": {"q": "a"}},
                    {"type": "tool_use", "id": "c2", "name": "look_up", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "A"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "c2",
                        "content": '{"error": "no such thing"}',
                        "is_error": True,
                    },
                    {"type": "text", "text": "And?"},
                ],
            },
        ],
    }
    check(request)


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        ),
        ({"type": "refusal", "refusal": "No."}, {"type": "text", "text": "No."}),
        (
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
        ),
        ("plain", {"type": "text", "text": "plain"}),
    ],
)
def test_parts_of_a_content(part: Any, block: Row) -> None:
    (message,) = for_anthropic([{"role": "user", "content": [part, {"type": "text", "text": "see"}]}])[
        "messages"
    ]
    assert message["content"] == [block, {"type": "text", "text": "see"}]


def test_what_cannot_be_sent_is_said_to_be_there() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    (message,) = for_anthropic([{"role": "user", "content": [audio]}])["messages"]
    assert "input_audio" in message["content"]


def test_an_interrupted_call_and_an_odd_id() -> None:
    request = for_anthropic(
        [
            {"role": "user", "content": "Go"},
            {"role": "assistant", "content": None, "tool_calls": [call("a:1", "no json")]},
            {"role": "tool", "tool_call_id": "a:1", "content": INTERRUPTED},
        ]
    )
    check(request)
    _, asked, answered = request["messages"]
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", asked["content"][0]["id"])
    assert asked["content"] == [
        {
            "type": "tool_use",
            "id": answered["content"][0]["tool_use_id"],
            "name": "look_up",
            "input": {},
        }
    ]
    assert answered["content"][0]["is_error"] is True


def test_a_request_begins_with_the_user_and_ends_without_a_blank() -> None:
    request = for_anthropic([{"role": "assistant", "content": "Hello \n"}])
    check(request)
    assert request["messages"][1] == {"role": "assistant", "content": "Hello"}


@pytest.mark.parametrize("rows", ["text", [{"role": "robot", "content": "x"}], [5]])
def test_what_is_no_chat_message_is_refused(rows: Any) -> None:
    with pytest.raises(InvalidInput):
        for_anthropic(rows)


TEXTS = st.sampled_from(["", " ", "Why?", "好的。", "a\n"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "tool", "system", "lone"]), TEXTS), max_size=12
)


@settings(deadline=None)
@given(STEPS, st.integers(1, 4))
async def test_whatever_was_said_is_accepted(steps: list[tuple[str, str]], max_turns: int) -> None:
    sm = SessionManager(infinite_context=True, max_turns_per_segment=max_turns)
    for number, (kind, text) in enumerate(steps):
        match kind:
            case "user":
                await sm.user_says(text)
            case "assistant":
                await sm.ai_responds(text)
            case "lone":
                await sm.tool_used("look_up", {"q": text}, text)
            case "system":
                await sm.add_messages([{"role": "system", "content": text}])
            case "tool":
                asked = [call(f"c{number}a", json.dumps({"q": text})), call(f"c{number}b")]
                result = {"role": "tool", "tool_call_id": f"c{number}b", "content": text}
                await sm.add_messages([{"role": "assistant", "content": text, "tool_calls": asked}, result])
    check(for_anthropic(await sm.get_messages_for_llm(include_tools=True)))


async def test_real_conversations(chats: list[dict[str, Any]]) -> None:
    for chat in chats:
        sm = SessionManager()
        await sm.add_messages(chat["messages"], model="gpt-4o")
        request = for_anthropic(await sm.get_messages_for_llm(include_tools=True))
        check(request)
        uses = [
            one for message in request["messages"] for one in blocks(message) if one["type"] == "tool_use"
        ]
        assert len(uses) == sum(len(row.get("tool_calls") or []) for row in chat["messages"])


async def test_an_answer_of_anthropic_s_is_accepted_by_both_when_it_is_sent_again() -> None:
    """Recorded by the tool processor, as its SDK gives it."""
    answer = AnthropicMessage(
        id="msg_1",
        model="claude-sonnet-4-5",
        role="assistant",
        type="message",
        content=[
            TextBlock(type="text", text="Let me calculate."),
            ToolUseBlock(
                type="tool_use", id="toolu_1", name="calculator", input={"operation": "add", "a": 1, "b": 2}
            ),
        ],
        stop_reason="tool_use",
        usage={"input_tokens": 5, "output_tokens": 7},
    ).model_dump(mode="json")
    import chuk_ai_session_manager.sample_tools  # noqa: F401

    sm = SessionManager()
    await sm.user_says("1 + 2?")
    thinking = {"type": "thinking", "thinking": "Easy.", "signature": "sig"}
    answer["content"].insert(0, thinking)
    processor = await SessionAwareToolProcessor.create(sm.session_id)
    (result,) = await processor.process_llm_message(answer)
    assert result.result["result"] == 3
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert is_valid(rows)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool"]
    assert rows[1]["content"] == "Let me calculate."
    assert rows[1]["tool_calls"][0]["function"]["name"] == "calculator"
    assert json.loads(rows[1]["tool_calls"][0]["function"]["arguments"]) == {
        "operation": "add",
        "a": 1,
        "b": 2,
    }
    request = for_anthropic(rows)
    check(request)
    assert request["messages"][1]["content"][0] == thinking
    assert [row["content"] for row in await sm.get_messages_for_llm()] == ["1 + 2?", "Let me calculate."]
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["input_tokens"], stats["output_tokens"]) == (1, 5, 7)
    assert stats["estimated_cost"] == pytest.approx((5 * 3 + 7 * 15) / 1e6)  # $3 and $15 a million


SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "SIG"}
REDACTED = {"type": "redacted_thinking", "data": "xyz"}
TEXT = {"type": "text", "text": "Let me look."}
USE = {"type": "tool_use", "id": "t1", "name": "look_up", "input": {"q": 1}}
SEARCH = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
LANGCHAIN: dict[str, tuple[list[Row], list[Row]]] = {
    "whole": ([SIGNED, REDACTED, TEXT, USE], [SIGNED, REDACTED, TEXT, USE]),
    "streamed": (
        [
            SIGNED | {"index": 0},
            TEXT | {"index": 1},
            USE | {"index": 2, "input": {}, "partial_json": '{"q": 1}'},
        ],
        [SIGNED, TEXT, USE],
    ),
    "a call beside the blocks": ([SIGNED, TEXT], [SIGNED, TEXT, USE]),
    "Anthropic's own search": (
        [SIGNED, SEARCH | {"input": {}, "partial_json": '{"query": "x"}', "index": 1}, FOUND, TEXT, USE],
        [SIGNED, SEARCH, FOUND, TEXT, USE],
    ),
    "standard blocks": (
        [
            {"type": "reasoning", "reasoning": "Hm.", "extras": {"signature": "SIG"}},
            {"type": "non_standard", "value": REDACTED},
            TEXT,
            {"type": "tool_call", "id": "t1", "name": "look_up", "args": {"q": 1}},
        ],
        [SIGNED, REDACTED, TEXT, USE],
    ),
    # What has no translation: the text and the call go back, without thinking.
    "a standard block of a search": (
        [SIGNED, {"type": "server_tool_call", "id": "s1", "name": "web_search", "args": {}}, TEXT, USE],
        [TEXT, USE],
    ),
    "thinking without its signature": ([{"type": "thinking", "thinking": "Hm."}, TEXT, USE], [TEXT, USE]),
    "a block that is none": ([SIGNED, 7, TEXT, USE], [TEXT, USE]),  # type: ignore[list-item]
}


@pytest.mark.parametrize("case", LANGCHAIN)
async def test_thinking_that_came_through_langchain_goes_back(case: str) -> None:
    given, expected = LANGCHAIN[case]
    sm = SessionManager()
    await sm.user_says("Where?")
    await sm.get_messages_for_llm(format="anthropic")
    about = {"model_provider": "anthropic", "model_name": "claude-sonnet-4-5", "stop_reason": "tool_use"}
    asked = {"name": "look_up", "args": {"q": 1}, "id": "t1", "type": "tool_call"}
    await sm.ai_responds(
        {"type": "ai", "content": given, "tool_calls": [asked], "response_metadata": about, "id": "run-1"}
    )
    request: Any = await sm.get_messages_for_llm(format="anthropic")
    assert request["messages"][1]["content"] == expected


async def test_thinking_in_a_tool_loop_goes_back_if_langchain_was_given_chat_messages() -> None:
    sm = SessionManager()
    await sm.user_says("Where?")
    await sm.get_messages_for_llm(include_tools=True)
    asked = {"name": "look_up", "args": {"q": 1}, "id": "t1", "type": "tool_call"}
    about = {"model_provider": "anthropic"}
    answer = {"type": "ai", "content": [SIGNED, TEXT, USE], "tool_calls": [asked], "response_metadata": about}
    await sm.ai_responds(answer)
    request: Any = await sm.get_messages_for_llm(format="anthropic")
    assert request["messages"][1]["content"] == [SIGNED, TEXT, USE]
    # LangChain's translation of chat messages is not known, so that later the signature may not hold.
    await sm.ai_responds("Here.")
    await sm.user_says("Thanks")
    request = await sm.get_messages_for_llm(format="anthropic")
    assert request["messages"][1]["content"] == [TEXT, USE]


async def test_thinking_of_another_provider_through_langchain_stays_out() -> None:
    sm = SessionManager()
    await sm.user_says("Where?")
    about = {"model_provider": "bedrock_converse"}
    await sm.ai_responds({"type": "ai", "content": [SIGNED, TEXT], "response_metadata": about})
    request: Any = await sm.get_messages_for_llm(format="anthropic")
    assert request["messages"][1]["content"] == TEXT["text"]
