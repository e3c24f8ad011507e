"""Responses of pydantic-ai, and results of its runs: dataclasses with the fields of pydantic-ai-slim 2.68."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from places import place_on
from recorded_runs import recorded_run

from chuk_ai_session_manager import SessionManager, track_llm_call
from chuk_ai_session_manager.providers import read_answer
from chuk_ai_session_manager.stores import MemoryStore


@dataclass
class Part:
    part_kind: str
    content: Any = None
    tool_name: str | None = None
    args: Any = None
    tool_call_id: str | None = None
    signature: str | None = None


@dataclass
class RequestUsage:
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_reasoning_tokens: int = 0
    details: dict[str, int] = field(default_factory=dict)
    cost: Decimal | None = None


@dataclass
class ModelResponse:
    parts: list[Part]
    usage: RequestUsage = field(default_factory=RequestUsage)
    model_name: str | None = "claude-sonnet-4-5"
    provider_name: str | None = "anthropic"
    provider_response_id: str | None = None
    finish_reason: str | None = "stop"
    kind: str = "response"

    @property
    def text(self) -> str:
        return "".join(part.content for part in self.parts if part.part_kind == "text")

    @property
    def tool_calls(self) -> list[Part]:
        return [part for part in self.parts if part.part_kind == "tool-call"]


@dataclass
class ModelRequest:
    parts: list[Part]
    kind: str = "request"


@dataclass
class AgentRunResult:
    output: Any
    messages: list[Any]

    def new_messages(self) -> list[Any]:
        return self.messages


def text(words: str, **usage: Any) -> ModelResponse:
    return ModelResponse([Part("text", words)], RequestUsage(**usage))


def call(name: str, args: Any, call_id: str = "c1", **usage: Any) -> ModelResponse:
    return ModelResponse([Part("tool-call", None, name, args, call_id)], RequestUsage(**usage))


def result(name: str, content: Any, call_id: str = "c1") -> ModelRequest:
    return ModelRequest([Part("tool-return", content, name, None, call_id)])


THOUGHT = ModelResponse(
    [
        Part("thinking", "Tides.", signature="sig"),
        Part("text", "I look it up."),
        Part("tool-call", None, "tide", {"port": "Lisbon"}, "c1"),
    ],
    RequestUsage(550, 20, 400, 50, 7),
    provider_response_id="msg_1",
)


@pytest.mark.parametrize("response", [THOUGHT, asdict(THOUGHT)], ids=["object", "dumped"])
def test_a_response(response: Any) -> None:
    answer = read_answer(response)
    assert answer.text == "I look it up."
    function = {"name": "tide", "arguments": '{"port": "Lisbon"}'}
    assert answer.tool_calls == [{"id": "c1", "type": "function", "function": function}]
    assert (answer.model, answer.provider, answer.response_id) == (
        "claude-sonnet-4-5",
        "anthropic",
        "msg_1",
    )
    assert answer.usage == {
        "input_tokens": 550, "output_tokens": 20, "cache_read_tokens": 400, "cache_write_tokens": 50,
        "reasoning_tokens": 7,
    }  # fmt: skip
    assert answer.native is not None
    assert answer.native["format"] == "pydantic-ai"
    thinking = {"part_kind": "thinking", "content": "Tides.", "signature": "sig"}
    assert answer.native["message"]["parts"][0] == thinking


def test_the_cost_that_it_computed_is_the_bill_and_a_usage_of_zeros_was_not_reported() -> None:
    usage = read_answer(text("Noon.", input_tokens=10, output_tokens=2, cost=Decimal("0.25"))).usage
    assert usage is not None
    assert usage["cost_usd"] == 0.25
    assert read_answer(text("Noon.")).usage is None


STEPS = [
    ModelRequest([Part("user-prompt", "When is high water?")]),
    call("tide", '{"port": "Lisbon"}', input_tokens=100, output_tokens=10),
    result("tide", {"high": "12:00"}),
    text("At noon.", input_tokens=150, output_tokens=5),
]


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
async def test_a_run_is_recorded_with_its_steps_on_every_store(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:

    async def run(_: Any) -> AgentRunResult:
        return AgentRunResult("At noon.", STEPS)

    rows, counts = await recorded_run(place_on(kind, request, tmp_path), run)
    assert rows[2] == {"role": "tool", "tool_call_id": "c1", "content": '{"high": "12:00"}'}
    assert counts == (2, 250, 15)


def test_a_structured_output_is_the_text_and_no_call_that_waits() -> None:
    steps = [*STEPS[:3], call("final_result", {"high": "12:00"}, "c2"), result("final_result", "Done.", "c2")]
    answer = read_answer(AgentRunResult({"high": "12:00"}, steps))
    assert (answer.text, answer.tool_calls) == ('{"high": "12:00"}', [])
    assert len(answer.before) == 2


async def test_a_retry_is_the_result_of_its_call() -> None:
    retry = ModelRequest([Part("retry-prompt", "Name a port.", "tide", None, "c1")])
    sm = SessionManager(store=MemoryStore())
    await sm.user_says("When is high water?")
    await sm.ai_responds(AgentRunResult("At noon.", [STEPS[1], retry, STEPS[3]]))
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert rows[2]["content"] == "Name a port."


async def test_the_package_itself() -> None:
    agents = pytest.importorskip("pydantic_ai")
    models = pytest.importorskip("pydantic_ai.models.test")
    agent = agents.Agent(models.TestModel())

    @agent.tool_plain  # type: ignore[untyped-decorator]
    def tide(port: str) -> str:
        return f"Noon at {port}."

    sm = SessionManager(store=MemoryStore())
    await track_llm_call("When is high water?", agent.run, session_manager=sm)
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "assistant"]
    assert rows[2]["content"].startswith("Noon at ")
