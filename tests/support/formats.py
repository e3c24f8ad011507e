"""Conversations in the providers' formats, as tests make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from request_rules import check_request
from turns import anthropic_answer, bedrock_answer, chat_answer, google_answer, responses_answer

from chuk_ai_session_manager import SessionManager

Row = dict[str, Any]


CALL = ("call_1", "tide", {"day": 1})


ANSWERS: dict[str, Callable[..., Row]] = {
    "openai": chat_answer,
    "openai-responses": responses_answer,
    "anthropic": anthropic_answer,
    "google": google_answer,
    "bedrock": bedrock_answer,
}


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="


async def in_format(sm: SessionManager, name: str, **options: Any) -> Any:
    request = await sm.get_messages_for_llm(format=name, **options)  # type: ignore[call-overload]
    if name == "openai":
        request = await sm.get_messages_for_llm(format="openai", include_tools=True, **options)
    check_request(name, request)
    return request


async def asked_a_tool(answer: Row) -> SessionManager:
    sm = SessionManager(system_prompt="Be brief.")
    await sm.user_says("When is high water?")
    await sm.ai_responds(answer)
    await sm.add_messages([{"role": "tool", "tool_call_id": "call_1", "content": '{"at": "noon"}'}])
    return sm
