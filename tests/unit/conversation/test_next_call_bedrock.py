"""Signed reasoning in Converse is sent only behind what it was made with, whatever happened since."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from random import Random
from typing import Any

import pytest
from bedrock_rules import check_converse

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput, SessionNotFound, TokenLimitExceeded
from chuk_ai_session_manager.stores import MemoryStore


def flat(request: Any) -> list[str]:
    """The system prompt, the roles and the blocks of a request, without cache marks."""
    parts = [json.dumps([block for block in request.get("system", []) if "cachePoint" not in block])]
    for turn in request["messages"]:
        parts.append(turn["role"])
        parts += [json.dumps(block) for block in turn["content"] if "cachePoint" not in block]
    return parts


def signature_of(parts: list[str]) -> str:
    return sha256(json.dumps(parts).encode()).hexdigest()


def check_signatures(request: Any) -> int:
    """Refuse reasoning that is signed for another beginning; return how many blocks are signed."""
    parts, count = flat(request), 0
    for at, part in enumerate(parts):
        if part.startswith('{"reasoningContent"'):
            begins = max(before for before in range(at) if parts[before] == "assistant")
            said = json.loads(part)["reasoningContent"]["reasoningText"]
            assert said["signature"] == signature_of(parts[:begins])
            count += 1
    return count


class Talk:
    """A conversation in which each answer is signed for its request."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  (no secrets)
        options: dict[str, Any] = {"infinite_context": True, "max_turns_per_segment": 6} if seed % 2 else {}
        self.sm = SessionManager("s", "Be brief.", store=MemoryStore(), model="gpt-4o", **options)
        self.signed = 0

    async def call(self, text: str, call_id: str = "") -> None:
        options: dict[str, Any] = {
            "max_tokens": self.random.choice([None, None, 300, 600]),
            "keep_tool_results": self.random.choice([None, None, 1]),
            "cache": self.random.random() < 0.3,
        }
        request: Any = await self.sm.get_messages_for_llm(format="bedrock", **options)
        check_converse(request)
        self.signed += check_signatures(request)
        said = {"text": "Hm.", "signature": signature_of(flat(request))}
        content: list[Any] = [{"reasoningContent": {"reasoningText": said}}, {"text": text}]
        content += [{"toolUse": {"toolUseId": call_id, "name": "look", "input": {}}}] if call_id else []
        usage = {"inputTokens": 5, "outputTokens": 5, "totalTokens": 10}
        message = {"role": "assistant", "content": content}
        await self.sm.ai_responds({"output": {"message": message}, "stopReason": "end_turn", "usage": usage})

    async def step(self, number: int) -> None:
        await self.sm.user_says(f"Question {number}? " + "word " * self.random.randint(1, 30))
        for call in range(self.random.randint(0, 3)):
            call_id = f"call_{number}_{call}"
            await self.call(f"Look {call}.", call_id)
            await self.sm.tool_used("look", {}, "found " * self.random.randint(1, 40), tool_call_id=call_id)
        await self.call(f"Answer {number}.")
        rows = await self.sm.get_conversation(with_ids=True)
        event_id = self.random.choice(rows)["event_id"]
        match self.random.randrange(12):
            case 0:
                await self.sm.undo()
            case 1:
                await self.sm.edit(event_id, "Edited.")
            case 2:
                await self.sm.retract(event_id)
            case 3:
                await self.sm.pin(event_id)
            case 4:
                await self.sm.update_system_prompt(f"Prompt {number}.")
        await self.sm.wait_for_summaries()


@pytest.mark.parametrize("seed", range(8))
async def test_signed_reasoning_is_sent_only_behind_what_it_was_made_with(seed: int) -> None:
    talk = Talk(seed)
    for number in range(15):
        with suppress(InvalidInput, TokenLimitExceeded, SessionNotFound):
            await talk.step(number)
    assert talk.signed > 5
