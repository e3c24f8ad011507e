"""The sample tools, run as a model's calls are."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from chuk_tool_processor import ensure_registrations, get_default_registry

from chuk_ai_session_manager.models import Session
from chuk_ai_session_manager.sample_tools import CalculatorTool, SearchTool, WeatherTool
from chuk_ai_session_manager.session_aware_tool_processor import SessionAwareToolProcessor
from chuk_ai_session_manager.stores import MemoryStore


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ("add", 10),
        ("subtract", 6),
        ("multiply", 16),
        ("divide", 4),
    ],
)
async def test_calculator(operation: str, result: float) -> None:
    answer = await CalculatorTool().execute(operation, 8, 2)
    datetime.fromisoformat(answer.pop("timestamp"))
    assert answer == {"operation": operation, "a": 8, "b": 2, "result": result}


async def test_calculator_refuses() -> None:
    with pytest.raises(ValueError, match=r"^Cannot divide by zero$"):
        await CalculatorTool().execute("divide", 1, 0)
    with pytest.raises(ValueError, match=r"^Unknown operation: modulo$"):
        await CalculatorTool().execute("modulo", 1, 0)


async def test_weather() -> None:
    answer = await WeatherTool().execute("London")
    assert answer.keys() == {
        "location",
        "temperature",
        "condition",
        "humidity",
        "wind_speed",
        "description",
        "feels_like",
        "timestamp",
    }
    assert answer["location"] == "London"
    datetime.fromisoformat(answer["timestamp"])


@pytest.mark.parametrize(("options", "count"), [({}, 3), ({"max_results": 1}, 1), ({"max_results": 0}, 0)])
async def test_search(options: dict[str, Any], count: int) -> None:
    answer = await SearchTool().execute("tea", **options)
    datetime.fromisoformat(answer["timestamp"])
    assert (answer["query"], answer["results_count"], len(answer["results"])) == ("tea", count, count)
    for result in answer["results"]:
        assert result.keys() == {"title", "url", "snippet"}
        assert result["url"].startswith("https://example.com/")
        assert "Made-up" in result["title"]


async def test_sample_tools_are_registered_under_default() -> None:
    await ensure_registrations()
    registry = await get_default_registry()
    names = {info.name for info in await registry.list_tools("default")}
    assert {"calculator", "weather", "search"} <= names


async def test_a_model_can_call_them(capsys: pytest.CaptureFixture[str]) -> None:
    store = MemoryStore()
    await Session.create("s", store=store)
    wanted = {
        "calculator": '{"operation": "multiply", "a": 6, "b": 7}',
        "weather": '{"location": "Oslo"}',
        "search": '{"query": "tea", "max_results": 2}',
    }
    calls = [
        {"id": name, "type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments in wanted.items()
    ]
    results = await SessionAwareToolProcessor("s", store=store).process_llm_message(
        {"role": "assistant", "content": None, "tool_calls": calls}
    )
    assert [result.error for result in results] == [None, None, None]
    assert results[0].result["result"] == 42
    assert results[2].result["results_count"] == 2
    assert capsys.readouterr().out == ""
