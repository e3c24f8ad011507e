"""What the APIs of the formats refuse: their SDKs' own types, and rules that types cannot say.

Each rule has the page or the report that it is from. A request that breaks one is an `AssertionError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from bedrock_rules import check_converse
from pydantic import TypeAdapter

Row = dict[str, Any]


def check_request(format_name: str, request: Any) -> None:
    """Let pass only what the API of a format does."""
    checks: dict[str, Callable[[Any], None]] = {
        "openai": check_chat,
        "openai-responses": check_responses,
        "anthropic": check_anthropic,
        "google": check_google,
        "bedrock": check_converse,
    }
    checks[format_name](request)


# -- OpenAI's chat completions -------------------------------------------------------------------


@cache
def chat_type() -> TypeAdapter[Any]:
    pytest.importorskip("openai")
    from openai.types.chat import ChatCompletionMessageParam

    return TypeAdapter(list[ChatCompletionMessageParam])


def check_chat(messages: list[Row]) -> None:
    chat_type().validate_python(messages)
    waiting: list[str] = []
    for row in messages:
        if row["role"] == "tool":
            # "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
            # (https://community.openai.com/t/474159)
            assert row["tool_call_id"] in waiting
            waiting.remove(row["tool_call_id"])
            continue
        # "An assistant message with 'tool_calls' must be followed by tool messages responding to each
        # 'tool_call_id'" (https://community.openai.com/t/712449)
        assert not waiting
        calls = row.get("tool_calls") or []
        waiting = [call["id"] for call in calls]
        assert len(set(waiting)) == len(waiting)
        for call_id in waiting:  # "string too long. Expected a string with maximum length 40"
            assert 1 <= len(call_id) <= 40
        if row["role"] == "assistant":  # "content: expected a string, got null" where there are no calls
            assert row.get("content") or calls or row.get("refusal") or row.get("audio")
            assert "thinking_blocks" not in row
            assert set(row.get("audio") or {}) <= {"id"}
    assert not waiting


# -- OpenAI's Responses ----------------------------------------------------------------------------


@cache
def responses_type() -> TypeAdapter[Any]:
    pytest.importorskip("openai")
    from openai.types.responses import ResponseInputItemParam

    return TypeAdapter(list[ResponseInputItemParam])


OUTPUT_OF = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "computer_call": "computer_call_output",
    "shell_call": "shell_call_output",
    "local_shell_call": "local_shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "mcp_approval_request": "mcp_approval_response",
}


def check_responses(items: list[Row]) -> None:
    responses_type().validate_python(items)
    waiting: dict[str, str] = {}
    callers: dict[str, Any] = {}
    seen: set[str] = set()
    for at, item in enumerate(items):
        kind = item.get("type", "message")
        assert "created_by" not in item  # in no input type (openai 3.57)
        assert "async_" not in item  # what a plain dump of the SDK makes of `async`
        if kind in OUTPUT_OF:
            call_id = item["id"] if kind == "mcp_approval_request" else item["call_id"]
            assert call_id not in seen  # a result is matched by it, anywhere in the input
            assert 1 <= len(call_id) <= 64  # "string too long. Expected a string with maximum length 64"
            seen.add(call_id)
            # https://developers.openai.com/api/docs/guides/async-tool-calling: its result may come later
            if not (item.get("async") and not _has_result(items, call_id)):
                waiting[call_id] = OUTPUT_OF[kind]
            callers[call_id] = item.get("caller")
        elif kind in OUTPUT_OF.values():
            # "No tool call found for function call output with call_id …"
            call_id = item.get("call_id") or item.get("approval_request_id") or item["id"]
            assert waiting.pop(call_id, None) == kind
            # https://developers.openai.com/api/docs/guides/tools-programmatic-tool-calling
            assert item.get("caller") == callers[call_id]
        elif kind == "reasoning":
            # "Item 'rs_…' of type 'reasoning' was provided without its required following item."
            # (https://community.openai.com/t/1235841)
            assert at + 1 < len(items)
            assert items[at + 1].get("role", "assistant") == "assistant"
            assert not items[at + 1].get("type", "message").endswith("_output")
        elif item.get("role") == "user":
            assert not waiting  # "No tool output found for function call …"
        for part in item["content"] if isinstance(item.get("content"), list) else []:
            assert part["type"] in {
                "input_text", "input_image", "input_file", "output_text", "refusal", "reasoning_text",
            }  # fmt: skip
    assert not waiting


def _has_result(items: list[Row], call_id: str) -> bool:
    return any(item.get("call_id") == call_id and str(item.get("type")).endswith("_output") for item in items)


# -- Anthropic's Messages -----------------------------------------------------------------------------


@cache
def anthropic_type() -> TypeAdapter[Any]:
    pytest.importorskip("anthropic")
    from anthropic.types import MessageParam

    return TypeAdapter(list[MessageParam])


def blocks_of(message: Row) -> list[Row]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def check_anthropic(request: Row) -> None:
    assert request.keys() <= {"system", "messages"}
    system = request.get("system", "x")
    texts = [system] if isinstance(system, str) else [block["text"] for block in system]
    assert texts
    assert all(map(str.strip, texts))
    messages = request["messages"]
    anthropic_type().validate_python(messages)
    # "messages: first message must use the "user" role"; roles alternate
    # (https://docs.claude.com/en/api/messages)
    assert [row["role"] for row in messages] == [("user", "assistant")[at % 2] for at in range(len(messages))]
    waiting: list[str] = []
    seen: set[str] = set()
    marks = 0
    running: set[str] = set()
    for message in messages:
        blocks = blocks_of(message)
        if message["role"] == "user" and any(block["type"] != "tool_result" for block in blocks):
            # "`web_search` tool use with id … was found without a corresponding `web_search_tool_result`"
            assert not running
        for block in blocks:
            if block["type"] in {"server_tool_use", "mcp_tool_use"}:
                assert isinstance(block["input"], dict)
                running.add(block["id"])
            elif block["type"].endswith("_tool_result"):
                # "Each … block must have a corresponding `server_tool_use` block before it"
                assert block["tool_use_id"] in running
                running.remove(block["tool_use_id"])
        assert blocks  # "all messages must have non-empty content"
        kinds = [block["type"] for block in blocks]
        answered = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        # "Each `tool_use` block must have a corresponding `tool_result` block in the next one", first there
        # (https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use)
        assert answered == waiting
        assert kinds[: len(answered)] == ["tool_result"] * len(answered)
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        for block in blocks:
            marks += bool(block.get("cache_control"))
            # "text content blocks must be non-empty", "must contain non-whitespace text"
            assert block["type"] != "text" or block["text"].strip()
            if block["type"] == "tool_use":
                assert isinstance(block["input"], dict)
                assert re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"])
                assert block["id"] not in seen  # "`tool_use` ids must be unique"
                seen.add(block["id"])
            # "messages.1.content.0.thinking.signature: Field required"
            assert block["type"] != "thinking" or block["signature"]
            assert message["role"] == "assistant" or block["type"] not in {"thinking", "redacted_thinking"}
    assert marks <= 4  # "A maximum of 4 blocks with cache_control may be provided"
    assert not waiting
    if messages and messages[-1]["role"] == "assistant":
        last = blocks_of(messages[-1])[-1]  # "final assistant content cannot end with trailing whitespace"
        assert last["type"] != "text" or last["text"] == last["text"].rstrip()


# -- Google's Gemini ------------------------------------------------------------------------------


@cache
def google_type() -> TypeAdapter[Any]:
    pytest.importorskip("google.genai")
    from google.genai.types import Content

    return TypeAdapter(list[Content])


def check_google(request: Row) -> None:
    assert request.keys() <= {"system_instruction", "contents"}
    contents = request["contents"]
    read = google_type().validate_python(contents)  # which forbids what it does not know
    said = [at for at, content in enumerate(read) if not content.parts[0].function_response]
    last_turn = max((at for at in said if read[at].role == "user"), default=0)
    assert not read or read[0].role == "user"
    calls: list[Any] = []
    for at, content in enumerate(read):
        assert content.role in {"user", "model"}
        assert content.parts  # "contents.parts must not be empty"
        results = [part.function_response for part in content.parts if part.function_response]
        # "the number of function response parts is equal to the number of function call parts of the function
        # call turn", right after it (https://ai.google.dev/gemini-api/docs/function-calling)
        assert [result.name for result in results] == [call.name for call in calls]
        assert [result.id for result in results] == [call.id for call in calls]
        assert not results or len(results) == len(content.parts)
        for part in content.parts:
            data = [part.text, part.function_call, part.function_response, part.inline_data, part.file_data,
                    part.executable_code, part.code_execution_result, part.tool_call, part.tool_response,
                    part.thought_signature]  # fmt: skip
            # "contents.parts.data: required oneof field 'data' must have one initialized field"
            assert any(each is not None for each in data)
            # "Unable to submit request because it has an empty text parameter"
            assert part.text != "" or part.thought_signature is not None
        calls = [part.function_call for part in content.parts if part.function_call]
        assert not calls or content.role == "model"
        signed = [part for part in content.parts if part.function_call and part.thought_signature]
        # "Function call is missing a thought_signature", in the current turn
        # (https://ai.google.dev/gemini-api/docs/thought-signatures)
        assert not calls or at < last_turn or signed
    assert not calls
    ids = [part.function_call.id for content in read for part in content.parts if part.function_call]
    given = [each for each in ids if each]
    assert len(set(given)) == len(given)
