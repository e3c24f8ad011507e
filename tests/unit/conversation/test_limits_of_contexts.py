"""A context is never longer than was asked: with definitions, a reserve, and what goes around messages."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from random import Random
from typing import Any

import pytest
from counting import o200k_tokens
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.accounts.pricing import context_window, load_prices, remove_price, set_price
from chuk_ai_session_manager.exceptions import InvalidInput, TokenLimitExceeded
from chuk_ai_session_manager.providers.formats import FORMATS, Format
from chuk_ai_session_manager.stores import MemoryStore

MODEL = "gpt-4o"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "tide",
            "description": "When is high water?",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string", "description": "Where.", "enum": ["a", "b"]}},
            },
        },
    }
]


def by_the_cookbook(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> int:
    """https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken, for gpt-4o."""
    total = 3
    for message in messages:
        total += 3
        for key, value in message.items():
            total += o200k_tokens(value if isinstance(value, str) else said_in(value)) + (key == "name")
    for tool in tools:
        function = tool["function"]
        total += 7 + o200k_tokens(f"{function['name']}:{function['description']}")
        properties = function["parameters"]["properties"]
        total += 3 if properties else 0
        for name, about in properties.items():
            total += 3 + o200k_tokens(f"{name}:{about['type']}:{about['description'].rstrip('.')}")
            total += -3 + sum(3 + o200k_tokens(each) for each in about["enum"])
    return total + (12 if tools else 0)


def said_in(calls: Any) -> str:
    """What the rule says nothing of: calls, as their names and arguments."""
    return "\n".join(f"{each['function']['name']}\n{each['function']['arguments']}" for each in calls or ())


async def talk(seed: int, exchanges: int = 12, steps: int = 0) -> SessionManager:
    random = Random(seed)  # noqa: S311  (no secrets)
    sm = SessionManager(store=MemoryStore(), model=MODEL, system_prompt="Be brief.")
    for number in range(exchanges):
        who: dict[str, Any] = {"name": f"user_{number % 3}"} if number % 2 else {}
        await sm.user_says(f"Question {number}? " + "word " * random.randrange(30), **who)
        for at in range(random.randrange(3)):
            call = {"id": f"call_{number}_{at}", "type": "function"}
            call["function"] = {"name": "tide", "arguments": '{"place": "a"}'}  # type: ignore[assignment]
            await sm.add_messages(
                [
                    {"role": "assistant", "content": None, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": call["id"], "content": "noon " * random.randrange(20)},
                ]
            )
        await sm.ai_responds(f"Answer {number}. " + "word " * random.randrange(30))
    await sm.add_messages([{"role": "system", "content": "Now be <even> briefer."}])
    await sm.user_says("And now?")
    for number in range(steps):
        call = {"id": f"step_{number}", "type": "function"}
        call["function"] = {"name": "tide", "arguments": "{}"}  # type: ignore[assignment]
        text = f"Step {number}. " + "word " * random.randrange(30)
        answer: dict[str, Any] = {"role": "assistant", "content": text}
        if random.random() < 0.5:
            await sm.add_messages([answer])
            continue
        result = {"role": "tool", "tool_call_id": call["id"], "content": f"high at {number}"}
        await sm.add_messages([answer | {"tool_calls": [call]}, result])
    return sm


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    steps=st.sampled_from([0, 12, 40]),
    limit=st.integers(60, 1_200),
    reserve=st.integers(0, 200),
    with_tools=st.booleans(),
    steady=st.booleans(),
    keep=st.sampled_from([None, None, 1, 3]),
    pinned=st.lists(st.integers(0, 100), max_size=2),
)
async def test_a_chat_is_never_longer_by_openais_rule(
    seed: int,
    steps: int,
    limit: int,
    reserve: int,
    *,
    with_tools: bool,
    steady: bool,
    keep: int | None,
    pinned: list[int],
) -> None:
    sm = await talk(seed, steps=steps)
    rows = await sm.get_conversation(with_ids=True, include_tools=True)
    for at in pinned:
        await sm.pin(rows[at % len(rows)]["event_id"])
    tools = TOOLS if with_tools else []
    get: Any = sm.get_messages_for_llm
    options = {"max_tokens": limit, "reserve": reserve, "tools": tools, "steady": steady}
    options["keep_tool_results"] = keep
    try:
        messages = await get(format="openai", include_tools=True, **options)
    except TokenLimitExceeded as error:
        refused: TokenLimitExceeded | None = error
    else:
        refused = None
    if refused is not None:
        assert refused.limit in {limit, limit // 2}  # half of it for pins
        assert (refused.actual or 0) > refused.limit
        return
    assert by_the_cookbook(messages, tools) + reserve <= limit
    said = [message["content"] or "" for message in messages]
    for row in (rows[at % len(rows)] for at in pinned):
        # An instruction becomes a user's message, or stands before the words of one.
        assert row["role"] == "system" or any(row["content"] in text for text in said)


@pytest.mark.parametrize("steady", [False, True])
@pytest.mark.parametrize("format_name", [None, *FORMATS])
@pytest.mark.parametrize("at", [0, 4])
async def test_a_pin_inside_an_exchange_that_is_longer_than_the_window_stays(
    format_name: Format | None, at: int, *, steady: bool
) -> None:
    sm = await talk(1)
    for number in range(12):
        await sm.ai_responds(f"Step {number}. " + "word " * 20, model=MODEL)
    rows = await sm.get_conversation(with_ids=True)
    pinned = next(row for row in rows if row["content"].startswith(f"Step {at}."))
    await sm.pin(pinned["event_id"])
    get: Any = sm.get_messages_for_llm
    for has_tools in (False, True):
        request = await get(format=format_name, max_tokens=150, steady=steady, include_tools=has_tools)
        text = json.dumps(request)
        assert pinned["content"].strip() in text
        assert "Step 11." in text
        assert "Step 1. " not in text
    with pytest.raises(TokenLimitExceeded, match=r"(?i)pin"):
        await get(format=format_name, max_tokens=52, steady=steady)


@pytest.mark.parametrize("format_name", FORMATS)
async def test_all_texts_of_a_context_count_in_every_format(format_name: Format) -> None:
    get: Any = (await talk(3, 30)).get_messages_for_llm
    for limit in (150, 400, 800):
        request = await get(format=format_name, max_tokens=limit, include_tools=True)
        said = [text for text in texts_of(request) if text not in {"user", "assistant", "model", "tool"}]
        assert sum(map(o200k_tokens, said)) + 3 <= limit


def texts_of(value: Any) -> list[str]:
    """What is said in a request, whatever its form: its texts but for types and roles."""
    if isinstance(value, dict):
        return [text for key, each in value.items() if key not in {"type", "role"} for text in texts_of(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts_of(each)]
    return [value] if isinstance(value, str) else []


async def test_definitions_and_the_reserve_take_room() -> None:
    get: Any = (await talk(5, 30)).get_messages_for_llm

    class Answer(BaseModel):
        """When."""

        at: str

    plain = await get(format="openai", max_tokens=800, steady=False)
    for options in (
        {"reserve": 300},
        {"tools": TOOLS * 5},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": Answer.model_json_schema()}}},
        {"response_format": Answer},
    ):
        assert len(await get(format="openai", max_tokens=800, steady=False, **options)) < len(plain)
    with_tools = [await get(format=each, max_tokens=800, tools=TOOLS) for each in ("openai", "anthropic")]
    assert len(with_tools[1]["messages"]) < len(with_tools[0])  # Anthropic's own prompt for tools


@pytest.mark.parametrize(
    "wrong", [{"model": 5}, {"tools": "tide"}, {"tools": {"name": "tide"}}, {"tools": 5}, {"tools": b"tide"}]
)
async def test_models_and_tools_of_a_wrong_type_are_refused(wrong: dict[str, Any]) -> None:
    sm = SessionManager(store=MemoryStore())
    await sm.user_says("Hello")
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        await sm.get_messages_for_llm(max_tokens=1_000, **wrong)


async def test_a_limit_without_room_is_refused_with_each_figure() -> None:
    sm = SessionManager(store=MemoryStore(), model=MODEL, system_prompt="word " * 50)
    await sm.user_says("word " * 30)
    get: Any = sm.get_messages_for_llm
    with pytest.raises(TokenLimitExceeded) as refused:
        await get(format="openai", max_tokens=200, reserve=100, tools=TOOLS)
    definitions = sum(o200k_tokens(json.dumps(tool)) for tool in TOOLS)
    text = str(refused.value)
    for part in (
        "The context needs at least: ",
        "beginning of the answer 3",
        "reserve 100",
        f"definitions {definitions}",
        "system prompt ",
        "newest exchange ",
        f"{refused.value.actual} > 200",
    ):
        assert part in text
    with pytest.raises(TokenLimitExceeded):
        await get(format="openai", max_tokens=100, reserve=100)


async def test_auto_is_the_models_window() -> None:
    sm = SessionManager(store=MemoryStore(), system_prompt="Be brief.")
    for number in range(40):
        await sm.user_says(f"Question {number}? " + "word " * 20)
        await sm.ai_responds("word " * 20)
    get: Any = sm.get_messages_for_llm
    with pytest.raises(InvalidInput, match="name the model"):
        await get(max_tokens="auto")
    with pytest.raises(InvalidInput, match=r"set_price\('my-model', input=..., output=..., context_window"):
        await get(max_tokens="auto", model="my-model")
    with pytest.raises(InvalidInput, match="max_tokens"):
        await get(max_tokens="all")
    with pytest.raises(InvalidInput, match="reserve"):
        await get(reserve=10)
    with pytest.raises(InvalidInput, match="reserve"):
        await get(max_tokens=100, reserve=-1)
    set_price("my-model", input=1, output=1, context_window=1_000)
    try:
        short = await get(max_tokens="auto", model="my-model", format="openai")
        assert short == await get(max_tokens=1_000, model="my-model", format="openai")
        less = await get(max_tokens="auto", reserve=400, model="my-model", format="openai")
        assert len(less) < len(short) < 81
    finally:
        remove_price("my-model")
    await load_prices()
    assert (context_window("gpt-4o") or 0) > 100_000
    assert len(await get(max_tokens="auto", model="gpt-4o")) == 81


async def test_an_image_counts_in_a_window_as_when_it_was_recorded() -> None:
    image = b64encode(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 640, 480)).decode()
    said = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}]
    for model, tokens in ((None, 425), ("gpt-4o", 425), ("gpt-4o-mini", 14_167)):
        sm = SessionManager(store=MemoryStore(), model=model)
        await sm.user_says(said)
        assert (await sm.get_stats())["total_tokens"] == tokens
        assert len(await sm.get_messages_for_llm(max_tokens=tokens)) == 1
        with pytest.raises(TokenLimitExceeded):
            await sm.get_messages_for_llm(max_tokens=tokens - 1)
