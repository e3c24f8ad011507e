"""The command line in this process, and the sessions that its tests start with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from places import Place

from chuk_ai_session_manager import SessionManager

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b5m \u202eback\r hidden"
CANARY = "CANARY-4711"


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def seed(place: Place) -> list[str]:
    """Three sessions: one alone, and a conversation of two segments; the ids of the latter."""
    async with place.store() as store:
        alone = SessionManager("alone", store=store, user_id="ada", system_prompt="Be brief.")
        await alone.user_says(f"Hi {HOSTILE}")
        usage = {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 400},
        }
        await alone.ai_responds("Hello!", model="gpt-4o", provider="openai", usage=usage)
        await alone.tool_used("calculator", {"a": 1}, {"sum": CANARY})
        await alone.ai_responds(
            "Again", model="nobody-knows-it", usage={"input_tokens": 5, "output_tokens": 7}
        )
        long = SessionManager(
            "long", store=store, user_id="grace", infinite_context=True, max_turns_per_segment=2
        )
        for at in range(3):
            await long.user_says(f"Question {at}?")
        await long.wait_for_summaries()
        return await long.get_session_chain()
