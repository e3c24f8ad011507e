"""Messages in the form of Bedrock's Converse API: recorded as chat messages, and written as they came."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.api.transfer import chat_in
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.providers.bedrock_rows import without_bedrock
from chuk_ai_session_manager.stores import MemoryStore

Row = dict[str, Any]

PNG, PDF = b"\x89PNG\r\n\x1a\nx", b"%PDF-1.4"
DATA = b64encode(PNG).decode()
SIGNED = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "SIG"}}}
ASKED: list[Row] = [
    {
        "role": "user",
        "content": [
            {"text": "What is this?"},
            {"image": {"format": "png", "source": {"bytes": PNG}}},
            {"document": {"format": "pdf", "name": "Tides", "source": {"bytes": PDF}}},
            {"cachePoint": {"type": "default"}},
        ],
    },
    {
        "role": "assistant",
        "content": [
            SIGNED,
            {"text": "I look it up."},
            {"toolUse": {"toolUseId": "t1", "name": "look_up", "input": {"place": "Brest"}}},
            {"toolUse": {"toolUseId": "t2", "name": "look_up", "input": {}}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"toolResult": {"toolUseId": "t1", "content": [{"json": {"height": 3}}], "status": "success"}},
            {
                "toolResult": {
                    "toolUseId": "t2",
                    "content": [
                        {"text": "No place."},
                        {"image": {"format": "png", "source": {"bytes": PNG}}},
                    ],
                    "status": "error",
                }
            },
        ],
    },
]


async def test_a_conversation_is_recorded_and_goes_back() -> None:
    store = MemoryStore()
    await SessionManager("s", store=store).add_messages(ASKED, model="claude", provider="bedrock")
    sm = SessionManager("s", store=store)
    user, answer, one, other = await sm.get_conversation(include_tools=True)
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}
    assert user["content"][:2] == [{"type": "text", "text": "What is this?"}, image]
    assert user["content"][2]["file"]["filename"] == "Tides.pdf"
    assert answer["content"] == "I look it up."
    assert [call["function"]["name"] for call in answer["tool_calls"]] == ["look_up"] * 2
    assert (one["tool_call_id"], one["name"], json.loads(one["content"])) == ("t1", "look_up", {"height": 3})
    assert other["content"] == [{"type": "text", "text": "No place."}, image]
    request: Any = await sm.get_messages_for_llm(format="bedrock")
    asked = {"role": "user", "content": ASKED[0]["content"][:3]}  # without the mark for the cache
    assert request["messages"][:2] == [asked, ASKED[1]]
    results = [block["toolResult"] for block in request["messages"][2]["content"]]
    assert results == [
        {"toolUseId": "t1", "content": [{"text": '{"height": 3}'}]},
        ASKED[2]["content"][1]["toolResult"],
    ]


@pytest.mark.parametrize("name", ["openai", "openai-responses", "anthropic", "google"])
async def test_other_formats_have_no_placeholder_for_it(name: Any) -> None:
    sm = SessionManager()
    await sm.add_messages([*ASKED[:2], {"role": "user", "content": ASKED[2]["content"][:1]}])
    text = json.dumps(await sm.get_messages_for_llm(format=name, include_tools=True), default=str)
    assert "cannot be sent" not in text
    assert "look_up" in text
    assert "Brest" in text
    assert "What is this?" in text


BLOCKS: dict[str, tuple[Row, Row]] = {
    "a link": (
        {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/a.png"}}}},
        {"type": "image_url", "image_url": {"url": "s3://b/a.png"}},
    ),
    "a video": (
        {"video": {"format": "mov", "source": {"bytes": PNG}}},
        {
            "type": "file",
            "file": {"filename": "video.mov", "file_data": f"data:video/quicktime;base64,{DATA}"},
        },
    ),
    "audio in base64": (
        {"audio": {"format": "wav", "source": {"bytes": DATA}}},
        {"type": "file", "file": {"filename": "audio.wav", "file_data": f"data:audio/wav;base64,{DATA}"}},
    ),
    "a document that is a text": (
        {"document": {"format": "txt", "name": "Notes", "source": {"text": "High water"}}},
        {
            "type": "file",
            "file": {
                "filename": "Notes.txt",
                "file_data": f"data:text/plain;base64,{b64encode(b'High water').decode()}",
            },
        },
    ),
    "guarded text": ({"guardContent": {"text": {"text": "Hi"}}}, {"type": "text", "text": "Hi"}),
    "another block": (
        {"searchResult": {"source": "a", "title": "b"}},
        {"type": "text", "text": '{"searchResult": {"source": "a", "title": "b"}}'},
    ),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_becomes_a_part(kind: str) -> None:
    block, part = BLOCKS[kind]
    assert without_bedrock([{"role": "user", "content": [block]}]) == [{"role": "user", "content": [part]}]


@pytest.mark.parametrize(
    "row",
    [
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": []},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"text": "Hi"}]},
        {"role": "user", "content": [{"text": "Hi", "thought": True}]},
        {"role": "user", "content": [{"inlineData": {"mimeType": "image/png", "data": DATA}}]},
        {"role": "user", "content": [7]},
        7,
    ],
)
def test_messages_in_other_forms_stay_as_they_are(row: Any) -> None:
    assert without_bedrock([row]) == [row]


@pytest.mark.parametrize("value", [object(), {1, 2}])
async def test_what_is_no_json_is_refused(value: Any) -> None:
    sm = SessionManager()
    for block in ({"text": value}, {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": value}}}):
        for role in ("user", "assistant"):
            with pytest.raises(InvalidInput):
                await sm.add_messages([{"role": role, "content": [block]}])
    assert await sm.get_conversation() == []


def test_an_imported_chat_may_be_bedrock_s() -> None:
    rows = [{"role": "user", "content": [{"text": "Hi"}]}, {"role": "assistant", "content": [{"text": "Ho"}]}]
    chat = chat_in("line 1", {"messages": rows})
    assert [row["content"] for row in chat["messages"]] == [[{"type": "text", "text": "Hi"}], "Ho"]
