"""Writes requests for Amazon Bedrock's Converse API: `system` and `messages`.

The rules that botocore's model of the service does not have are those of
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html and of the pages of the types
that this one names.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..exceptions.validation import copied
from .answers import is_unchanged
from .anthropic_messages import begin, reports_error
from .bedrock import FORMAT, of_message
from .call_ids import IdRule, cleaned, shortened, tool_name, with_ids
from .context_rows import ORIGIN, Origin, object_of
from .earlier import with_name_in_text
from .fingerprints import Chain
from .messages import SYSTEM_ROLES, ChatMessage, asked_of, calls_of, text_of
from .parts import Part, part_of, replaced_by_text
from .sendable import arguments_object, says_nothing

Block = dict[str, Any]
MaySign = Callable[[ChatMessage], bool]

_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}", re.ASCII)
_LONGEST_ID = 64
_IDS = IdRule(lambda call_id: call_id if _ID.fullmatch(call_id) else shortened(cleaned(call_id), _LONGEST_ID))
_CONTINUED = "[The conversation goes on from here.]"
_NO_OUTPUT = "[The tool returned nothing.]"
# A message with a document must have a text too.
_SEE = "[See the document.]"
# The formats of each kind of media, by media type: the API's names of them.
_FORMATS: dict[str, dict[str, str]] = {
    "image": {f"image/{name}": name for name in ("png", "jpeg", "gif", "webp")},
    "audio": {
        **{
            f"audio/{name}": name
            for name in ("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "m4a", "webm")
        },
        "audio/mpeg": "mp3",
        "audio/x-wav": "wav",
    },
    "video": {
        **{f"video/{name}": name for name in ("mp4", "webm", "mpeg")},
        "video/quicktime": "mov",
        "video/x-matroska": "mkv",
        "video/x-flv": "flv",
        "video/x-ms-wmv": "wmv",
        "video/3gpp": "three_gp",
    },
    "file": {
        "application/pdf": "pdf",
        "text/csv": "csv",
        "text/html": "html",
        "text/markdown": "md",
        "text/plain": "txt",
        "application/json": "txt",
        "application/msword": "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
        "application/vnd.ms-excel": "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    },
}
_BLOCKS = {"image": "image", "audio": "audio", "video": "video", "file": "document"}
_LONGEST_NAME = 200
# Letters, digits, single white space, hyphens, and round and square brackets may stand in a document's name.
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9\s()\[\]-]+|\s+", re.ASCII)
# The fields of blocks that are bytes. Events have them in base64.
_BYTES = {"bytes", "redactedContent"}
# What boto3 makes of a block that it does not know, and does not take back.
_UNKNOWN = "SDK_UNKNOWN_MEMBER"
# The fields whose values are the application's own JSON.
_JSON = {"input", "json"}


def bedrock_request(
    rows: Sequence[ChatMessage], may_sign: MaySign, chain: Chain | None = None
) -> dict[str, Any]:
    """Convert messages to `system` and `messages`.

    Args:
        rows: chat messages, each call followed by its results.
        may_sign: whether the signed reasoning of an answer may be included; called for answers with such.
        chain: gets everything that is written before `may_sign` is called: the texts of the system prompt,
            then roles and blocks, with bytes in base64.
    """
    chain = chain or Chain(FORMAT)
    texts = [text_of(row) for row in rows if row["role"] in SYSTEM_ROLES]
    system = "\n\n".join(texts) if any(map(str.strip, texts)) else ""
    begin(chain, [system] if system else [])
    turns: list[dict[str, Any]] = []
    names: set[str] = set()
    for row in with_ids([row for row in rows if row["role"] not in SYSTEM_ROLES], _IDS):
        if says_nothing(row) and ORIGIN not in row:
            continue
        role = "assistant" if row["role"] == "assistant" else "user"
        blocks = [_named(block, names) for block in _blocks_of(with_name_in_text(row), may_sign)]
        if not blocks:
            continue
        if not turns and role == "assistant":
            turns.append({"role": "user", "content": [{"text": _CONTINUED}]})
            chain.rows += ["user", {"text": _CONTINUED}]
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "content": []})
            chain.rows.append(role)
        turns[-1]["content"] += blocks
        chain.rows += blocks
    if turns and turns[-1]["role"] == "assistant":
        turns[-1]["content"][-1] = chain.rows[-1] = _as_last(turns[-1]["content"][-1])
    messages = [_finished(turn) for turn in turns]
    return ({"system": [{"text": system}]} if system else {}) | {"messages": messages}


def is_signed(native_format: str, native: Any) -> bool:
    """Whether an answer of Converse has signed reasoning, which depends on what stands before it."""
    content = native.get("content") if native_format == FORMAT and isinstance(native, Mapping) else None
    return isinstance(content, list) and any(map(_may_go_back, content))


def _may_go_back(block: Any) -> bool:
    """Whether a block is reasoning that requests may have: models without signatures refuse their own."""
    reasoning = block.get("reasoningContent") if isinstance(block, Mapping) else None
    if not isinstance(reasoning, Mapping):
        return False
    said = reasoning.get("reasoningText")
    return bool(reasoning.get("redactedContent") or (isinstance(said, Mapping) and said.get("signature")))


def _as_last(block: Block) -> Block:
    """The last block of the last answer: Anthropic's models refuse a text that ends in white space there."""
    return {"text": block["text"].rstrip()} if "text" in block else block


def _finished(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn with its results first, a text beside a document, and bytes as bytes."""
    blocks = turn["content"]
    if turn["role"] == "user":
        blocks = sorted(blocks, key=lambda block: "toolResult" not in block)
    if any("document" in block for block in blocks) and not any("text" in block for block in blocks):
        blocks.append({"text": _SEE})
    return {"role": turn["role"], "content": [_with_bytes(block) for block in blocks]}


def _with_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: item if name in _JSON else _bytes_of(item) if name in _BYTES else _with_bytes(item)
            for name, item in value.items()
        }
    return [_with_bytes(item) for item in value] if isinstance(value, list) else value


def _bytes_of(text: Any) -> Any:
    try:
        return b64decode(text) if isinstance(text, str) else text
    except binascii.Error:
        return text.encode()


def _blocks_of(row: ChatMessage, may_sign: MaySign) -> list[Block]:
    content = row.get("content")
    if row["role"] == "tool":
        return [_result(row, content)]
    if row["role"] == "assistant" and (own := _own_blocks(row, may_sign)):
        return own
    calls = [
        {"toolUse": {"toolUseId": call["id"], "name": tool_name(each["tool"]), "input": object_of(call)}}
        for call, each in zip(calls_of(row), map(asked_of, calls_of(row)), strict=True)
    ]
    return [*_made(content), *calls]


def _own_blocks(row: ChatMessage, may_sign: MaySign) -> list[Block]:
    """The unchanged blocks of an answer of Converse, with its calls' present ids; empty if it was edited."""
    origin = row.get(ORIGIN)
    if not isinstance(origin, Origin) or origin.native_format != FORMAT:
        return []
    content = origin.native.get("content") if isinstance(origin.native, Mapping) else None
    blocks: list[Block] = [block for block in copied(content or []) if isinstance(block, dict)]
    calls = [block["toolUse"] for block in blocks if _is_call(block)]
    ids = [call["id"] for call in calls_of(row)]
    if len(calls) != len(ids) or not is_unchanged(row, of_message(origin.native)):
        return []
    for call, call_id in zip(calls, ids, strict=True):
        name = tool_name(str(call.get("name")))  # a model may make a name up that the API does not accept
        call |= {"toolUseId": call_id, "name": name, "input": arguments_object(call.get("input"))}
    # A stream that was stopped while the server ran a tool leaves a call without its result.
    done = {str(each["toolResult"].get("toolUseId")) for each in blocks if _is_object(each, "toolResult")}
    signs = any(map(_may_go_back, blocks)) and may_sign(row)
    return [
        block
        for block in blocks
        if _UNKNOWN not in block
        and (_used_id(block) is None or _is_call(block) or _used_id(block) in done)
        and not ("reasoningContent" in block and not (signs and _may_go_back(block)))
        and not ("text" in block and not str(block["text"]).strip())
    ]


def _is_call(block: Block) -> bool:
    return _is_object(block, "toolUse") and block["toolUse"].get("type") != "server_tool_use"


def _used_id(block: Block) -> str | None:
    return str(block["toolUse"].get("toolUseId")) if _is_object(block, "toolUse") else None


def _is_object(block: Block, name: str) -> bool:
    return isinstance(block.get(name), dict)


def _result(row: ChatMessage, content: Any) -> Block:
    made = _made(content) or [{"text": _NO_OUTPUT}]
    # Of media, sounds cannot stand in a result.
    blocks = [block if "audio" not in block else {"text": "[audio]"} for block in made]
    failed = row["is_error"] if "is_error" in row else reports_error(content)
    status = {"status": "error"} if failed else {}
    return {"toolResult": {"toolUseId": row["tool_call_id"], "content": blocks, **status}}


def _made(content: Any) -> list[Block]:
    """A message's content as blocks, without blank texts."""
    listed = content if isinstance(content, list) else [content or ""]
    return [block for each in listed if (block := _block(part_of(each)))]


def _block(part: Part) -> Block | None:
    if part.kind == "text":
        return {"text": part.text} if part.text.strip() else None
    form = _FORMATS.get(part.kind, {}).get(part.media_type)
    source = {"bytes": part.data} if part.data else _linked(part.url)
    if form is None or source is None:
        return {"text": replaced_by_text(part)}
    named = {"name": _name(part.title)} if part.kind == "file" else {}
    return {_BLOCKS[part.kind]: {"format": form, **named, "source": source}}


def _linked(url: str) -> Block | None:
    return {"s3Location": {"uri": url}} if url.startswith("s3://") else None


def _name(title: str) -> str:
    """A document's name without its ending, which the format tells, and without other characters."""
    stem = title.rpartition(".")[0] or title
    return _NOT_IN_A_NAME.sub(" ", stem).strip()[:_LONGEST_NAME].strip() or "document"


def _named(block: Block, names: set[str]) -> Block:
    """A block whose document has a name that no earlier document in the request has."""
    document = block.get("document")
    if not isinstance(document, dict):
        return block
    name, count = str(document.get("name")), 1
    while name in names:
        count += 1
        end = f" ({count})"
        name = f"{str(document.get('name'))[: _LONGEST_NAME - len(end)]}{end}"
    names.add(name)
    return {"document": document | {"name": name}}
