"""Three tools for trying things out: a calculator, a made-up weather report and a made-up search.

Importing this module registers them with chuk-tool-processor as "calculator", "weather" and "search".
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

from .session_aware_tool_processor import leaving_no_trace

with leaving_no_trace():
    from chuk_tool_processor import register_tool

__all__ = ["CalculatorTool", "SearchTool", "WeatherTool"]


@register_tool(name="calculator", namespace="default", description="Adds, subtracts, multiplies or divides")
class CalculatorTool:
    """Calculates with two numbers."""

    async def execute(self, operation: str, a: float, b: float) -> dict[str, Any]:
        """Add, subtract, multiply or divide two numbers.

        Args:
            operation: "add", "subtract", "multiply" or "divide".
            a: the first number.
            b: the second number.

        Raises:
            ValueError: the operation is unknown, or divides by zero.
        """
        match operation:
            case "add":
                result = a + b
            case "subtract":
                result = a - b
            case "multiply":
                result = a * b
            case "divide" if b == 0:
                raise ValueError("Cannot divide by zero")
            case "divide":
                result = a / b
            case _:
                raise ValueError(f"Unknown operation: {operation}")
        return {"operation": operation, "a": a, "b": b, "result": result, "timestamp": _now()}


@register_tool(name="weather", namespace="default", description="Makes up the weather of a place")
class WeatherTool:
    """Makes up the weather."""

    async def execute(self, location: str) -> dict[str, Any]:
        """Make up the weather of a place: degrees Celsius, per cent, km/h; different on each call."""
        # S311 is about secrets; this is a demonstration.
        temperature = random.randint(-5, 35)  # noqa: S311
        wind_speed = random.randint(0, 40)  # noqa: S311
        condition = random.choice(["sunny", "cloudy", "rainy", "snowy", "windy"])  # noqa: S311
        return {
            "location": location,
            "temperature": temperature,
            "condition": condition,
            "humidity": random.randint(30, 90),  # noqa: S311
            "wind_speed": wind_speed,
            "description": f"Made up: {condition}, {temperature} °C",
            "feels_like": temperature - wind_speed // 10,
            "timestamp": _now(),
        }


@register_tool(name="search", namespace="default", description="Makes up the results of a search")
class SearchTool:
    """Makes up search results."""

    async def execute(self, query: str, max_results: int = 3) -> dict[str, Any]:
        """Make up search results; they say that they are made up, and link to example.com."""
        results = [
            {
                "title": f"Made-up result {number} for {query}",
                "url": f"https://example.com/search/{number}",
                "snippet": f"No search was made: a text about {query} would stand here.",
            }
            for number in range(1, max_results + 1)
        ]
        return {"query": query, "results_count": len(results), "results": results, "timestamp": _now()}


def _now() -> str:
    return datetime.now(UTC).isoformat()
