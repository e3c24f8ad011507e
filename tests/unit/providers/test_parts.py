"""What people say in parts: checked before anything is written, counted by kind, in each provider's form."""

from __future__ import annotations

import base64
import json
import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from request_rules import check_request

from chuk_ai_session_manager import SessionManager, stream_llm_call, track_conversation, track_llm_call
from chuk_ai_session_manager.accounts.media import media_tokens
from chuk_ai_session_manager.accounts.tokens import count_tokens
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.providers.formats import FORMATS
from chuk_ai_session_manager.providers.parts import describe, media_parts, part_of
from chuk_ai_session_manager.stores import open_store

Row = dict[str, Any]


def png(width: int, height: int) -> str:
    """A picture of so many pixels, as small as one can be."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * (width // 8 + 2) * height, 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.b64encode(data).decode()


def wav(seconds: float) -> str:
    size = int(seconds * 16_000)
    header = (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16_000, 2, 16)
    )
    return base64.b64encode(header + b"data" + struct.pack("<I", size) + b"\0" * size).decode()


def jpeg(width: int, height: int) -> str:
    preview = b"\xff\xe1" + struct.pack(">H", 60_000) + b"\0" * 59_998
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3)
    return base64.b64encode(b"\xff\xd8" + preview + frame + b"\0" * 20).decode()


def image(data: str, kind: str = "png", **detail: str) -> Row:
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"} | detail}


PDF = base64.b64encode(b"%PDF-1.4 /Type /Pages ... /Type /Page ... /Type/Page .").decode()
TEXT = {"type": "text", "text": "What is it?"}
SOUND = {"type": "input_audio", "input_audio": {"data": wav(2), "format": "wav"}}
FILE = {"type": "file", "file": {"filename": "bill.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}
NOTE = {
    "type": "file",
    "file": {"filename": "note.txt", "file_data": base64.b64encode("Grüße".encode()).decode()},
}
LINK = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
ALL = [TEXT, image(png(64, 64)), SOUND, FILE, NOTE, LINK]


# -- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"Hello", "text .str. or a list of parts, not bytes"),
        ([], "at least one part"),
        (["Hello"], r"message\[0\] must be a dict"),
        ([TEXT, {"type": "hologram"}], r"message\[1\] needs a type: text, image_url, input_audio, file"),
        ([{"type": "text"}], r"message\[0\]\['text'\] must be text"),
        ([{"type": "image_url", "image_url": "x"}], "must be a dict"),
        ([{"type": "image_url", "image_url": {"url": "cat.png"}}], "an http.s. URL, or data:"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,SECRET!!"}}], "not base64"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD=A=="}}], "not base64"),
        ([{"type": "image_url", "image_url": {"url": "https://a.b", "detail": 5}}], "detail"),
        ([{"type": "input_audio", "input_audio": {"data": "QUJD"}}], "format"),
        ([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}], "base64"),
        ([{"type": "file", "file": {"filename": "a.pdf"}}], "file_data .base64. or file_id"),
        ([{"type": "file", "file": {"file_id": ""}}], "must not be empty"),
        ([{"type": "text", "text": "\ud83d"}], "surrogate"),
    ],
)
async def test_malformed_parts_are_refused_and_nothing_is_written(content: Any, says: str) -> None:
    store = open_store("memory://")
    for say in (
        SessionManager("s", store=store).user_says(content),
        track_llm_call(content, lambda _: "never", session_manager=SessionManager("s", store=store)),
    ):
        with pytest.raises(InvalidInput, match=says.replace("message", "(message|user_input)")) as raised:
            await say
        assert "SECRET" not in str(raised.value)
    assert await store.get("s") is None


# -- kept, and given in each form -----------------------------------------------------------------


async def test_parts_are_read_back_from_a_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    await SessionManager("s", store=open_store(url)).user_says(ALL)
    (row,) = await SessionManager("s", store=open_store(url)).get_messages_for_llm()
    assert row == {"role": "user", "content": ALL}


async def test_the_one_liners_take_parts() -> None:
    session_id = await track_conversation([TEXT, image(png(8, 8))], "A cat.")
    asked: list[Any] = []

    def answer(question: Any) -> str:
        asked.append(question)
        return "Six things."

    await track_llm_call(ALL, answer, session_id=session_id)
    assert asked == [ALL]
    rows = await SessionManager(session_id).get_messages_for_llm()
    assert [row["content"] for row in rows][1:] == ["A cat.", ALL, "Six things."]


async def test_streams_take_parts() -> None:
    sm = SessionManager()
    pieces = [
        piece async for piece in stream_llm_call(ALL, lambda _: ["Six ", "things."], session_manager=sm)
    ]
    assert pieces == ["Six ", "things."]
    assert [row["content"] for row in await sm.get_messages_for_llm()] == [ALL, "Six things."]


@pytest.mark.parametrize(
    ("result", "is_parts"),
    [
        ([TEXT, LINK], True),
        ([TEXT], False),  # a text is a text
        ([{"id": 1}, LINK], False),
        ([], False),
        ({"type": "image_url"}, False),
        ("text", False),
    ],
)
def test_what_a_tool_gives_is_parts_or_json(result: Any, is_parts: bool) -> None:
    assert (media_parts(result) is not None) is is_parts


async def test_parts_in_each_format() -> None:
    sm = SessionManager()
    await sm.user_says(ALL)
    picture = png(64, 64)
    chat: Any = await sm.get_messages_for_llm(format="openai")
    check_request("openai", chat)
    assert chat[0]["content"] == ALL
    items: Any = await sm.get_messages_for_llm(format="openai-responses")
    check_request("openai-responses", items)
    assert items[0]["content"] == [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{picture}", "detail": "auto"},
        {"type": "input_text", "text": "[input_audio: a part that cannot be sent here]"},
        {"type": "input_file", "filename": "bill.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
        {
            "type": "input_file",
            "filename": "note.txt",
            "file_data": f"data:text/plain;base64,{base64.b64encode('Grüße'.encode()).decode()}",
        },
        {"type": "input_image", "image_url": "https://example.org/cat.png", "detail": "auto"},
    ]
    claude: Any = await sm.get_messages_for_llm(format="anthropic")
    check_request("anthropic", claude)
    assert claude["messages"][0]["content"][1:] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture}},
        {"type": "text", "text": "[input_audio: a part that cannot be sent here]"},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            "title": "bill.pdf",
        },
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"},
            "title": "note.txt",
        },
        {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}},
    ]
    gemini: Any = await sm.get_messages_for_llm(format="google")
    check_request("google", gemini)
    kinds = [part.get("inline_data", part.get("file_data", {})) for part in gemini["contents"][0]["parts"]]
    assert [kind.get("mime_type") for kind in kinds] == [
        None, "image/png", "audio/wav", "application/pdf", "text/plain", "image/png",
    ]  # fmt: skip


async def test_a_name_stands_in_front_where_a_format_has_none() -> None:
    sm = SessionManager()
    await sm.add_messages([{"role": "user", "name": "Ada", "content": "Hello"}])
    claude: Any = await sm.get_messages_for_llm(format="anthropic")
    assert claude["messages"] == [{"role": "user", "content": "Ada: Hello"}]
    chat: Any = await sm.get_messages_for_llm(format="openai")
    assert chat[0]["content"] == "Hello"


# -- counted ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        ("gpt-4o", (1024, 1024), "", 765),  # the examples of OpenAI's page
        ("gpt-4o", (2048, 4096), "", 1105),
        ("gpt-4o", (4096, 8192), "low", 85),
        ("gpt-4.1-mini", (1024, 1024), "", 1659),
        ("openai/gpt-5", (512, 512), "", 210),
        ("claude-sonnet-4-5", (200, 200), "", 53),  # and of Anthropic's: about 54, 1,334, 1,600
        ("claude-sonnet-4-5", (1000, 1000), "", 1333),
        ("claude-sonnet-4-5", (4000, 4000), "", 1600),
        ("gemini-2.5-flash", (384, 384), "", 258),
        ("gemini-2.5-flash", (769, 768), "", 516),
    ],
)
def test_images_count_by_their_provider_s_rule(
    model: str, size: tuple[int, int], detail: str, tokens: int
) -> None:
    assert media_tokens("image", model, data=png(*size), detail=detail) == tokens
    assert media_tokens("image", model, data=jpeg(*size), detail=detail) == tokens


def test_what_else_counts() -> None:
    assert media_tokens("audio", "gemini-2.5-flash", data=wav(10)) == 320
    assert media_tokens("audio", "gpt-4o-audio-preview", data=wav(10)) == 100
    assert media_tokens("file", "gemini-2.5-flash", data=PDF, media_type="application/pdf") == 2 * 258
    assert media_tokens("file", "claude-opus-4-8", data=PDF, media_type="application/pdf") == 2 * 1500
    assert media_tokens("image", "gpt-4o") == 765  # behind a link: of a usual size
    assert media_tokens("image", "gpt-4o", data="AAAA") == 765
    for broken in ("", "iVBORw0KGgo=", "/9j/4AAQ", "UklGRgAAAABXRUJQ"):
        assert media_tokens("image", "claude-haiku-4-5", data=broken) > 0


async def test_parts_count_as_their_kind_marked_estimated() -> None:
    sm = SessionManager(model="gpt-4o")
    await sm.user_says([TEXT, image(png(1024, 1024))])
    _, session = await sm._conversation.current()
    usage = session.events[0].token_usage
    assert usage is not None
    assert usage.total_tokens == await count_tokens("What is it?", "gpt-4o") + 765
    assert usage.estimated
    await sm.ai_responds("A cat.")
    rows = await sm.get_messages_for_llm(max_tokens=800)
    assert len(rows) == 2


# -- shown, not told --------------------------------------------------------------------------------


def test_a_part_is_described_by_its_kind_and_size() -> None:
    assert describe(part_of(image("A" * 16_000))) == "[image: image/png, 12 KB]"
    assert describe(part_of(SOUND)) == "[audio: audio/wav, 32 KB]"
    assert describe(part_of(FILE)) == f"[file: application/pdf, {len(PDF) * 3 // 4} bytes, bill.pdf]"
    assert describe(part_of(LINK)) == "[image: image/png, https://example.org/cat.png]"
    assert describe(part_of({"type": "hologram"})) == "[hologram]"
    google = {"inlineData": {"mimeType": "image/png", "data": "-__-Pj8="}}
    assert describe(part_of(google)) == "[image: image/png, 5 bytes]"
    assert "AAAA" not in repr(part_of(image("AAAA")))


async def test_base64_is_in_no_log_and_no_report(caplog: pytest.LogCaptureFixture) -> None:
    from chuk_ai_session_manager.cli.contents import outcome_in, text_in
    from chuk_ai_session_manager.cli.report import report_of

    caplog.set_level(logging.DEBUG)
    data = png(64, 64)
    sm = SessionManager()
    await sm.user_says([TEXT, image(data)])
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "c", "content": [TEXT, image(data)]}
    await sm.add_messages([{"role": "assistant", "content": None, "tool_calls": [call]}, result])
    _, session = await sm._conversation.current()
    said, _, found = session.events
    assert text_in(said) == f"What is it?\n[image: image/png, {part_of(image(data)).size} bytes]"
    outcome = outcome_in(found, [])
    assert outcome is not None
    assert outcome.result == text_in(said)
    assert data not in report_of([session])
    assert data not in caplog.text
    assert data not in repr(session)
    assert json.dumps(found.message).count(data) == 0
    assert json.dumps(found.metadata).count(data) == 1


PICTURE = png(64, 64)
FOREIGN: dict[str, Row] = {
    "LangChain": {"type": "image", "base64": PICTURE, "mime_type": "image/png"},
    "MCP": {"type": "image", "data": PICTURE, "mimeType": "image/png"},
    "Google": {"inline_data": {"mime_type": "image/png", "data": PICTURE}},
}


@pytest.mark.parametrize("form", FOREIGN)
async def test_images_of_other_forms_are_sent_in_every_format(form: str) -> None:
    sm = SessionManager()
    await sm.add_messages([{"role": "user", "content": [FOREIGN[form], {"text": "What is it?"}]}])
    url = f"data:image/png;base64,{PICTURE}"
    chat: Any = await sm.get_messages_for_llm(format="openai")
    text = {"type": "text", "text": "What is it?"}
    assert chat[0]["content"] == [{"type": "image_url", "image_url": {"url": url}}, text]
    claude: Any = await sm.get_messages_for_llm(format="anthropic")
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    assert claude["messages"][0]["content"] == [{"type": "image", "source": source}, text]
    for name in FORMATS:
        request: Any = await sm.get_messages_for_llm(format=name)
        check_request(name, request)


async def test_images_beside_the_text_are_parts() -> None:
    """https://docs.ollama.com/api/chat: base64 in `images`; the Python client takes paths too, which stay."""
    sm = SessionManager()
    await sm.add_messages(
        [
            {"role": "user", "content": "What is this?", "images": [PICTURE]},
            {"role": "assistant", "content": "A dot."},
            {"role": "user", "content": "", "images": [PICTURE, "/9j/4AAQ", "R0lGODlh", "UklGRg=="]},
            {"role": "assistant", "content": "Four pictures.", "images": [PICTURE]},
            {"role": "user", "content": "And this?", "images": ["./cat.png"]},
        ]
    )
    rows: Any = await sm.get_messages_for_llm()
    assert [part["type"] for part in rows[0]["content"]] == ["text", "image_url"]
    starts = [part["image_url"]["url"].partition(";")[0] for part in rows[2]["content"]]
    assert starts == [f"data:image/{kind}" for kind in ("png", "jpeg", "gif", "webp")]
    assert [rows[3]["content"], rows[4]["content"]] == ["Four pictures.", "And this?"]
    for name in FORMATS:
        request: Any = await sm.get_messages_for_llm(format=name)
        check_request(name, request)
        assert str(request).count(PICTURE) == 2 or name == "bedrock"  # which has bytes


async def test_a_link_in_place_of_bytes_is_sent_as_a_link() -> None:
    """OpenRouter takes one as `file_data`, Qwen's compatible endpoint as audio `data`."""
    sm = SessionManager()
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://example.com/a.pdf"}}
    sound = {"type": "input_audio", "input_audio": {"data": "https://example.com/a.mp3", "format": "mp3"}}
    await sm.add_messages([{"role": "user", "content": [file, sound]}])
    chat: Any = await sm.get_messages_for_llm(format="openai")
    assert chat[0]["content"] == [file, sound]
    google: Any = await sm.get_messages_for_llm(format="google")
    check_request("google", google)
    links = [part["file_data"]["file_uri"] for part in google["contents"][0]["parts"]]
    assert links == ["https://example.com/a.pdf", "https://example.com/a.mp3"]
    claude: Any = await sm.get_messages_for_llm(format="anthropic")
    block = claude["messages"][0]["content"][0]
    assert block["source"] == {"type": "url", "url": "https://example.com/a.pdf"}


async def test_what_looks_like_an_image_and_is_none_is_said_to_be_there() -> None:
    sm = SessionManager()
    await sm.add_messages([{"role": "user", "content": [{"type": "image", "image": "abc"}, TEXT]}])
    claude: Any = await sm.get_messages_for_llm(format="anthropic")
    check_request("anthropic", claude)
    assert claude["messages"][0]["content"][0]["text"] == "[image: a part that cannot be sent here]"
