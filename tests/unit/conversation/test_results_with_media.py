"""Results of tools with images, audio and files: parts in every format, whoever recorded them."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from formats import PNG, in_format
from places import Place, in_memory_too
from recorded_tools import RESULT

from chuk_ai_session_manager import SessionAwareToolProcessor, SessionManager
from chuk_ai_session_manager.cli.contents import outcome_in
from chuk_ai_session_manager.providers.formats import FORMATS
from chuk_ai_session_manager.providers.parts import media_parts, part_of

Row = dict[str, Any]

PDF = b64encode(b"%PDF-1.4 " + b"x" * 3000).decode()
TEXT = {"type": "text", "text": "The harbour."}
CALL = {"id": "call_1", "type": "function", "function": {"name": "tc_give", "arguments": "{}"}}
IMAGES: dict[str, Any] = {
    "OpenAI": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}, TEXT],
    "Anthropic": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        TEXT,
    ],
    # https://modelcontextprotocol.io/specification/2025-06-18/server/tools#tool-result
    "MCP": {"content": [{"type": "image", "data": PNG, "mimeType": "image/png"}, TEXT], "isError": False},
    "MCP's content": [{"type": "image", "data": PNG, "mimeType": "image/png"}, TEXT],
    "MCP, with a link": {
        "content": [
            {"type": "image", "data": PNG, "mimeType": "image/png", "annotations": None},
            TEXT,
            {"type": "resource_link", "uri": "file:///harbour.txt", "name": "notes"},
        ],
        "structuredContent": None,
        "isError": False,
    },
}


async def record(sm: SessionManager, store: Any, way: str, result: Any) -> None:
    """Record a call and its result in one of the ways in which that is done."""
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    await sm.user_says("Show me the harbour.")
    if way == "processor":
        RESULT[0] = lambda: result
        processor = SessionAwareToolProcessor(sm.session_id, store=store, retry_delay=0)
        (outcome,) = await processor.process_llm_message(message)
        assert outcome.result == result
        return
    await sm.ai_responds(message)
    if way == "tool_used":
        await sm.tool_used("tc_give", {}, result, tool_call_id="call_1")
    else:
        content = result["content"] if isinstance(result, dict) else result
        await sm.add_messages([{"role": "tool", "tool_call_id": "call_1", "content": content}])


@in_memory_too
@pytest.mark.parametrize("way", ["processor", "tool_used", "add_messages"])
@pytest.mark.parametrize("form", IMAGES)
async def test_an_image_is_a_part(form: str, way: str, place: Place) -> None:
    async with place.store() as store, place.store() as other:
        sm = SessionManager("s", store=store)
        await record(sm, store, way, IMAGES[form])
        again = SessionManager("s", store=other)
        assert PNG not in json.dumps(await in_format(again, "openai")), "the API takes only texts in results"
        (output,) = [item for item in await in_format(again, "openai-responses") if "output" in item]
        url = f"data:image/png;base64,{PNG}"
        assert output["output"][0] == {"type": "input_image", "image_url": url, "detail": "auto"}
        request = await in_format(again, "anthropic")
        (result,) = request["messages"][-1]["content"]
        source = {"type": "base64", "media_type": "image/png", "data": PNG}
        assert result["content"][:2] == [{"type": "image", "source": source}, TEXT]
        google = (await in_format(again, "google"))["contents"][-1]["parts"][0]["function_response"]
        assert google["parts"] == [{"inline_data": {"mime_type": "image/png", "data": PNG}}]
        *_, row = await again.get_conversation(include_tools=True)
        media = [part for part in map(part_of, row["content"]) if part.kind == "image"]
        assert [(part.media_type, part.data) for part in media] == [("image/png", PNG)]
        for name in FORMATS:
            assert "The harbour." in json.dumps(await in_format(again, name), default=str)
        if form == "MCP, with a link":
            assert "file:///harbour.txt" in json.dumps(request)


async def test_base64_is_not_counted_as_text() -> None:
    large = {
        "content": [{"type": "image", "data": b64encode(bytes(90_000)).decode(), "mimeType": "image/png"}]
    }
    sm = SessionManager()
    await record(sm, None, "processor", large)
    _, session = await sm.writer._conversation.current()
    usage = session.events[-1].token_usage
    assert usage is not None
    assert 0 < usage.total_tokens < 3_000
    assert usage.estimated


async def test_a_large_image_is_no_fault_and_the_command_line_names_it() -> None:
    data = b64encode(bytes(900_000)).decode()
    sm = SessionManager()
    result = {"content": [{"type": "image", "data": data, "mimeType": "image/png"}], "isError": False}
    await record(sm, None, "tool_used", result)
    assert await sm.find_unsendable(largest=10_000) == []
    _, session = await sm.writer._conversation.current()
    shown = outcome_in(session.events[-1], {"call_1"})
    assert shown is not None
    assert shown.result == "[image: image/png, 900 KB]"


async def test_a_resource_of_mcp_is_a_document() -> None:
    resource = {"uri": "file:///a.pdf", "mimeType": "application/pdf", "blob": PDF}
    sm = SessionManager()
    result = {"content": [{"type": "resource", "resource": resource}], "isError": False}
    await record(sm, None, "tool_used", result)
    (answer,) = (await in_format(sm, "anthropic"))["messages"][-1]["content"]
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    assert answer["content"] == [{"type": "document", "source": source, "title": "a.pdf"}]


async def test_a_failure_with_an_image_says_that_it_failed() -> None:
    content = [{"type": "text", "text": "no camera"}, {"type": "image", "data": PNG, "mimeType": "image/png"}]
    for way in ("processor", "tool_used"):
        sm = SessionManager()
        if way == "processor":
            RESULT[0] = lambda: {"content": content, "isError": True}
            processor = SessionAwareToolProcessor(sm.session_id, retry_delay=0)
            await sm.user_says("Show me.")
            await processor.process_llm_message({"role": "assistant", "content": None, "tool_calls": [CALL]})
        else:
            await record(sm, None, way, {"content": content, "isError": True})
        (answer,) = (await in_format(sm, "anthropic"))["messages"][-1]["content"]
        assert answer["is_error"] is True
        assert answer["content"] == '{"error": "no camera"}'


@pytest.mark.parametrize(
    "result",
    [
        [{"type": "file", "name": "a.txt"}, {"type": "image", "name": "b.png"}],
        [{"type": "text", "text": "x"}],
        {"content": [{"type": "text", "text": "x"}], "isError": False},
        {"content": [{"type": "image", "data": PNG, "mimeType": "image/png"}], "user": 1},
        {"type": "image", "data": PNG},
        "text",
        None,
    ],
)
def test_what_only_looks_like_parts_is_data(result: Any) -> None:
    assert media_parts(result) is None
