"""Each context begins with the bytes of the one before, in all formats, until a window's start moves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.providers.formats import FORMATS, Format
from chuk_ai_session_manager.stores import MemoryStore

Row = dict[str, Any]


def made(seed: int) -> list[Row]:
    """A conversation with several calls at a time."""
    random = Random(seed)  # noqa: S311  (no secrets)
    rows: list[Row] = [{"role": "system", "content": "Be brief."}]
    for number in range(25):
        rows.append({"role": "user", "content": f"Question {number}? " + "word " * random.randrange(40)})
        for step in range(random.randrange(3)):
            ids = [f"call_{number}_{step}_{at}" for at in range(random.randint(1, 3))]
            calls = [
                {"id": each, "type": "function", "function": {"name": "look", "arguments": '{"b": 1}'}}
                for each in ids
            ]
            rows.append({"role": "assistant", "content": random.choice([None, "Hm."]), "tool_calls": calls})
            rows += [
                {"role": "tool", "tool_call_id": each, "content": "found " * random.randrange(30)}
                for each in ids
            ]
        rows.append({"role": "assistant", "content": f"Answer {number}. " + "word " * random.randrange(40)})
    return rows


def recorded() -> Iterator[list[Row]]:
    """Real conversations, where there is a file of them."""
    path = Path(os.environ.get("CHATS", "nowhere"))
    if path.exists():
        chats = [json.loads(line)["messages"] for line in path.read_text("utf-8").splitlines()[:4]]
        yield [chats[0][0], *(row for chat in chats for row in chat if row["role"] != "system")]


CONVERSATIONS = [made(1), made(2), *recorded()]


def serialised(request: Any, format_name: Format | None) -> list[str]:
    """The parts of a request in the order in which they are sent, each as JSON."""
    if format_name in {"anthropic", "bedrock"}:
        parts = [request.get("system")]
        for message in request["messages"]:
            content = message["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            parts += [(message["role"], block) for block in blocks]
    elif format_name == "google":
        parts = [request.get("system_instruction")]
        parts += [(content["role"], part) for content in request["contents"] for part in content["parts"]]
    else:
        parts = request
    return [json.dumps(part) for part in parts]


async def contexts(rows: list[Row], format_name: Format | None, **options: Any) -> list[list[str]]:
    """What each answer's call is sent; results are recorded in another order than that of their calls."""
    random = Random(7)  # noqa: S311  (no secrets)
    sm = SessionManager(store=MemoryStore(), model="gpt-4o")
    get: Any = sm.get_messages_for_llm
    sent: list[list[str]] = []
    results: list[Row] = []
    for row in rows:
        if row["role"] == "tool":
            results.append(row)
            continue
        for each in random.sample(results, len(results)):
            await sm.add_messages([each])
        results = []
        if row["role"] == "assistant":
            request = await get(format=format_name, include_tools=True, **options)
            sent.append(serialised(request, format_name))
        await sm.add_messages([row])
    return sent


def beginnings(sent: list[list[str]]) -> int:
    """How many of the contexts do not begin as the one before."""
    return sum(later[: len(one)] != one for one, later in pairwise(sent))


@pytest.mark.parametrize("rows", CONVERSATIONS, ids=lambda rows: f"{len(rows)} rows")
@pytest.mark.parametrize("format_name", [None, *FORMATS])
async def test_contexts_begin_as_the_one_before(rows: list[Row], format_name: Format | None) -> None:
    sent = await contexts(rows, format_name)
    assert beginnings(sent) == 0
    limit = 1_500 if len(rows[0]["content"]) < 1_000 else 4_000  # the prompt
    windows = await contexts(rows, format_name, max_tokens=limit)
    assert 1 <= beginnings(windows) <= len(windows) / 5
    assert beginnings(await contexts(rows, format_name, max_tokens=limit, steady=False)) > beginnings(windows)


@pytest.mark.parametrize("format_name", [None, *FORMATS])
async def test_results_stand_in_the_order_of_their_calls(format_name: Format | None) -> None:
    ids = ["call_a", "call_b", "call_c"]
    calls = [{"id": each, "type": "function", "function": {"name": each, "arguments": "{}"}} for each in ids]
    given = []
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        sm = SessionManager(store=MemoryStore())
        await sm.add_messages(
            [
                {"role": "user", "content": "Look."},
                {"role": "assistant", "content": None, "tool_calls": calls},
                *({"role": "tool", "tool_call_id": ids[at], "content": f"found {at}"} for at in order),
            ]
        )
        get: Any = sm.get_messages_for_llm
        given.append(serialised(await get(format=format_name, include_tools=True), format_name))
    assert given[0] == given[1] == given[2]
    texts = "".join(given[0])
    assert texts.index("found 0") < texts.index("found 1") < texts.index("found 2")
