"""Writes requests for Anthropic's Messages API."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NotRequired, cast

from typing_extensions import TypedDict

from ..exceptions.validation import copied
from .answers import is_unchanged
from .anthropic import FORMAT, THINKING, of_blocks
from .call_ids import IdRule, cleaned, tool_name, with_ids
from .common import parsed
from .context_rows import ORIGIN, Origin, object_of
from .earlier import with_name_in_text
from .fingerprints import Chain
from .messages import (
    INTERRUPTED,
    SYSTEM_ROLES,
    ChatMessage,
    asked_of,
    blocks_of,
    calls_of,
    check_chat_messages,
    text_of,
)
from .parts import Part, part_of, replaced_by_text
from .sendable import arguments_object, says_nothing, with_newest_marks

if TYPE_CHECKING:
    from anthropic.types import MessageParam, TextBlockParam
else:
    MessageParam = TextBlockParam = dict[str, Any]

Block = dict[str, Any]
MaySign = Callable[[ChatMessage], bool]

SIGNED = THINKING
"""Blocks with a signature, which is valid only at Anthropic.

Each depends on everything before it: `system`, `tools`, every earlier message, and the thinking in these
(https://platform.claude.com/docs/en/build-with-claude/preserved-thinking). If any of that differs, the
request is refused: "The block is bound to a different conversation".
"""

_OWN_BLOCKS = {"document", "image", "search_result", "text", "container_upload", "tool_reference"}
_TEXT_FIELDS = {"type", "text", "citations", "cache_control"}
_CONTINUED = "[The conversation goes on from here.]"
# https://docs.claude.com/en/docs/build-with-claude/vision: the kinds of images that the API accepts.
_IMAGES = {"image/gif", "image/jpeg", "image/png", "image/webp"}
# https://docs.claude.com/en/docs/agents-and-tools/tool-use: `^[a-zA-Z0-9_-]+$`, each once in a request.
_IDS = IdRule(cleaned)
# A refused answer must not be sent: https://docs.claude.com/en/docs/test-and-evaluate/strengthen-guardrails/
# handle-streaming-refusals
_NOT_SENT = {"refusal"}


class AnthropicRequest(TypedDict):
    """The arguments of Anthropic's `messages.create` with the messages."""

    messages: list[MessageParam]
    system: NotRequired[str | list[TextBlockParam]]
    """The system prompt; left out if there is none."""


def for_anthropic(messages: Sequence[ChatMessage]) -> AnthropicRequest:
    """Convert chat messages to the arguments `messages` and `system` of Anthropic's `messages.create`.

    The messages are those of `get_messages_for_llm(include_tools=True)`, or any list in OpenAI's format in
    which each call is followed by its results. `get_messages_for_llm(format="anthropic")` does more: it sends
    answers of Anthropic's models back unchanged. All system messages become `system`, which is left out
    if there are none. Consecutive messages of one role become one, as in the API itself. Blank texts, which
    the API refuses, are left out, and so are all cache marks except the newest four.
    If calls of several turns have the same id, each gets an id of its own.

    Raises:
        InvalidInput: a message is not a chat message; the error says which.
    """
    rows = rows_of_turns(check_chat_messages(messages, "make messages for Anthropic"))
    return cast("AnthropicRequest", anthropic_request(rows, lambda _: True, merges_text=True))


def rows_of_turns(rows: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Chat messages; results in Anthropic's user turns become messages of their own."""
    return [each for row in rows for each in _rows_of_turn(row)]


def _rows_of_turn(row: ChatMessage) -> list[ChatMessage]:
    results = blocks_of(row, "tool_result") if row["role"] == "user" else []
    if not results:
        return [row]
    rest = [block for block in row["content"] if block not in results]
    return [*map(result_row, results), *([row | {"content": rest}] if rest else [])]


def result_row(block: ChatMessage) -> ChatMessage:
    """Anthropic's "tool_result" as a chat message: its parts, and whether the tool failed."""
    content = block.get("content")
    extra = {key: value for key, value in block.items() if key in {"is_error", "cache_control"}}
    row = {"role": "tool", "tool_call_id": str(block.get("tool_use_id")), "content": content or ""}
    return row | extra


def anthropic_request(
    rows: Sequence[ChatMessage],
    may_sign: MaySign,
    chain: Chain | None = None,
    *,
    merges_text: bool = False,
) -> dict[str, Any]:
    """Convert messages to `system` and `messages`.

    If there is a compaction, the messages begin with the newest `compaction` block.

    Args:
        rows: chat messages, each call followed by its results.
        may_sign: whether the signed thinking of an answer may be included; called for answers with thinking.
        chain: gets everything that is written before `may_sign` is called: the texts of the system prompt,
            then roles and blocks.
        merges_text: whether a content with a single text is written as that text, in whatever form it came.
    """
    chain = chain or Chain(FORMAT)
    texts = [text_of(row) for row in rows if row["role"] in SYSTEM_ROLES]
    system = "\n\n".join(texts) if any(map(str.strip, texts)) else ""
    begin(chain, [system] if system else [])
    turns: list[dict[str, Any]] = []
    live = with_ids(_live([row for row in rows if row["role"] not in SYSTEM_ROLES]), _IDS)
    unpaired = _unpaired(live)
    for row in live:
        if says_nothing(row) and ORIGIN not in row:
            continue
        role = "assistant" if row["role"] == "assistant" else "user"
        blocks = _blocks_of(with_name_in_text(row), may_sign, chain, unpaired)
        if not blocks:
            continue
        if not turns and role == "assistant" and not _replaces_what_was_before(blocks[0]):
            turns.append({"role": "user", "content": [_text(_CONTINUED)], "is_text": True})
            chain.rows += ["user", *turns[0]["content"]]
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "content": [], "is_text": isinstance(row.get("content"), str)})
            chain.rows.append(role)
        turns[-1]["content"] += blocks
        chain.rows += blocks
    finished = [
        _finished(turn, is_last=turn is turns[-1], as_text=merges_text or turn["is_text"]) for turn in turns
    ]
    if turns and turns[-1]["role"] == "assistant":
        chain.rows[-1] = _as_last(turns[-1]["content"][-1])
    request: dict[str, Any] = {"messages": with_newest_marks(finished)}
    return request | ({"system": system} if system else {})


def begin(chain: Chain, system: Sequence[str]) -> None:
    """Begin the chain of a request with the texts of its system prompt."""
    chain.rows.append({"system": list(system)})
    chain.head = 1


# -- compaction: https://platform.claude.com/docs/en/build-with-claude/compaction ----------------------

COMPACTION = "compaction"
"""The block in which Anthropic summarises everything before it, which the API then ignores."""


def compacted(native_format: str, native: Any) -> list[Block]:
    """The blocks of an answer from its newest compaction on; empty if there is none.

    A block without content means a compaction that failed, and replaces nothing (anthropic 2.14).
    """
    content = native.get("content") if native_format == FORMAT and isinstance(native, dict) else None
    blocks: list[Any] = content if isinstance(content, list) else []
    for at in range(len(blocks) - 1, -1, -1):
        block = blocks[at]
        if isinstance(block, dict) and block.get("type") == COMPACTION and block.get("content") is not None:
            return blocks[at:]
    return []


def _replaces_what_was_before(block: Block) -> bool:
    return block["type"] == COMPACTION and block.get("content") is not None


def before_thinking(blocks: Sequence[Block]) -> list[Block]:
    """The blocks of an answer before the first one with a signature."""
    return list(takewhile(lambda block: block.get("type") not in SIGNED, blocks))


def _live(rows: list[ChatMessage]) -> list[ChatMessage]:
    """The messages from Anthropic's newest compaction on."""
    for at in range(len(rows) - 1, -1, -1):
        origin = rows[at].get(ORIGIN)
        if isinstance(origin, Origin) and (blocks := compacted(origin.native_format, origin.native)):
            return [rows[at] | {ORIGIN: replace(origin, native={"content": blocks})}, *rows[at + 1 :]]
    return rows


def is_bound(row: ChatMessage) -> bool:
    """Whether an answer has thinking that depends on the earlier messages."""
    if row.get("thinking_blocks"):
        return True
    origin = row.get(ORIGIN)
    if not isinstance(origin, Origin) or not isinstance(origin.native, dict):
        return False
    if origin.native_format != FORMAT:
        return bool(origin.native.get("thinking_blocks"))  # of Anthropic's models through LiteLLM
    return any(block.get("type") in SIGNED for block in blocks_in(FORMAT, origin.native))


def blocks_in(native_format: str, native: Any) -> list[Block]:
    """The blocks of an answer of Anthropic's; empty for other answers."""
    content = native.get("content") if native_format == FORMAT and isinstance(native, dict) else None
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _finished(turn: dict[str, Any], *, is_last: bool, as_text: bool) -> dict[str, Any]:
    """A turn with its results first, as the API requires; a single text becomes a plain text."""
    blocks = sorted(turn["content"], key=lambda block: block["type"] != "tool_result")
    if is_last and turn["role"] == "assistant":
        blocks[-1] = _as_last(blocks[-1])
    is_plain = as_text and len(blocks) == 1 and blocks[0].keys() == {"type", "text"}
    return {"role": turn["role"], "content": blocks[0]["text"] if is_plain else blocks}


def _as_last(block: Block) -> Block:
    """The last block of the last answer: the API refuses a text that ends in white space there."""
    return block | {"text": block["text"].rstrip()} if block["type"] == "text" else block


def _unpaired(rows: Sequence[ChatMessage]) -> set[str]:
    """The ids of calls of Anthropic's own tools without a result, and of results without such a call.

    A stream that was stopped while a tool ran leaves such a call, and so does a pause (`pause_turn`) after
    which the user went on. The API refuses both ("without a corresponding `web_search_tool_result` block";
    results: https://github.com/anthropics/claude-code/issues/95406). A call after the last question may wait.
    """
    questions = [at for at, row in enumerate(rows) if row["role"] == "user"]
    waiting: dict[str, bool] = {}
    unpaired: set[str] = set()
    for at, row in enumerate(rows):
        origin = row.get(ORIGIN)
        blocks = blocks_in(origin.native_format, origin.native) if isinstance(origin, Origin) else []
        for block in blocks:
            kind = str(block.get("type"))
            if kind in _SERVER_CALLS:
                may_wait = not questions or at > questions[-1]
                waiting[str(block.get("id"))] = may_wait and isinstance(block.get("input"), dict)
            elif _is_server_result(block) and waiting.pop(str(block.get("tool_use_id")), None) is None:
                unpaired.add(str(block.get("tool_use_id")))
    return unpaired | {call_id for call_id, may_wait in waiting.items() if not may_wait}


_SERVER_CALLS = {"server_tool_use", "mcp_tool_use"}


def _is_server_result(block: Block) -> bool:
    return str(block.get("type")).endswith("_tool_result")


def _is_unpaired(block: Block, unpaired: set[str]) -> bool:
    if block.get("type") in _SERVER_CALLS:
        return str(block.get("id")) in unpaired
    return _is_server_result(block) and str(block.get("tool_use_id")) in unpaired


def _blocks_of(row: ChatMessage, may_sign: MaySign, chain: Chain, unpaired: set[str]) -> list[Block]:
    content = row.get("content")
    if row["role"] == "tool":
        return [_result(row, content)]
    origin = row.get(ORIGIN)
    if isinstance(origin, Origin) and row["role"] == "assistant":
        if origin.provider == "anthropic" and origin.finish_reason in _NOT_SENT:
            return []
        if origin.native_format == FORMAT and (own := _own_blocks(row, origin.native, may_sign, chain)):
            return [block for block in own if not _is_unpaired(block, unpaired)]
    signed = row.get("thinking_blocks") or []
    if signed and origin is not None and not may_sign(row):
        signed = []
    if isinstance(origin, Origin) and origin.native_format not in {"", "anthropic"}:
        signed = []
    parts = content if isinstance(content, list) else [_text(content or "")]
    blocks = [block for part in parts if (block := block_of(part))]
    calls = [
        {
            "type": "tool_use",
            "id": call["id"],
            "name": tool_name(asked_of(call)["tool"]),
            "input": object_of(call),
        }
        for call in calls_of(row)
    ]
    return [*signed, *blocks, *calls]


def _own_blocks(row: ChatMessage, native: Any, may_sign: MaySign, chain: Chain) -> list[Block]:
    """The unchanged blocks of an answer of Anthropic's, with its calls' present ids; empty if edited."""
    content = native.get("content") if isinstance(native, Mapping) else native
    if isinstance(content, str):
        content = [_text(content)]
    blocks: list[Block] = [block for block in copied(content or []) if isinstance(block, dict)]
    is_compacted = bool(blocks) and blocks[0].get("type") == COMPACTION and len(chain.rows) == chain.head
    ids = [call["id"] for call in calls_of(row)]
    uses = [block for block in blocks if block.get("type") == "tool_use"]
    # If an application edited the recorded answer, its common form is used. (A compaction stands for
    # more than its answer.)
    if len(uses) != len(ids) or not (is_compacted or is_unchanged(row, of_blocks(blocks))):
        return []
    for block, call_id in zip(uses, ids, strict=True):
        if block.get("id") != call_id:
            block["id"] = call_id
        if not isinstance(block.get("input"), dict):  # as in a stream that was cut off
            block["input"] = arguments_object(block.get("input"))
    kept = blocks
    if any(block.get("type") in SIGNED for block in blocks):
        signs = _signs(row, before_thinking(blocks) if is_compacted else [], may_sign, chain)
        kept = blocks if signs else [block for block in blocks if block.get("type") not in SIGNED]
    return [
        _taken(block)
        for block in kept
        # The API refuses a blank text, and thinking whose signature did not arrive.
        if not (block.get("type") == "text" and not str(block.get("text") or "").strip())
        and not (block.get("type") == "thinking" and not block.get("signature"))
    ]


def _signs(row: ChatMessage, before: list[Block], may_sign: MaySign, chain: Chain) -> bool:
    """Whether an answer's thinking after these blocks of the answer may be included."""
    if not before:
        return may_sign(row)
    end = len(chain.rows)
    chain.rows += ["assistant", *before]
    signs = may_sign(row)
    del chain.rows[end:]  # they are added again with all of the answer's blocks
    return signs


def _taken(block: Block) -> Block:
    """A block that the API accepts: citations of documents have a `file_id` that no request may have."""
    citations = block.get("citations")
    if not isinstance(citations, list):
        return block
    taken = [
        {name: value for name, value in each.items() if name != "file_id"} if isinstance(each, dict) else each
        for each in citations
    ]
    return block | {"citations": taken}


def _result(row: ChatMessage, content: Any) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": row["tool_call_id"]}
    if isinstance(content, list):
        content = [part for each in content if (part := block_of(each))]
    if content:
        block["content"] = content
    if row.get("cache_control"):
        block["cache_control"] = row["cache_control"]
    if "is_error" in row:
        return block | {"is_error": row["is_error"]}
    return block | ({"is_error": True} if reports_error(content) else {})


def reports_error(content: Any) -> bool:
    """Whether a result reports that its call failed, in the form of this library's tool calls."""
    if content == INTERRUPTED:
        return True
    if not isinstance(content, str) or not content.startswith('{"error"'):
        return False
    outcome = parsed(content)
    return (
        isinstance(outcome, dict)
        and outcome.get("error") is not None
        and outcome.keys() <= {"error", "result"}
    )


def block_of(own: Any) -> Block | None:
    """A part of a message's content as a block; `None` if it is blank."""
    part = part_of(own)
    if part.kind == "text" and part.name not in _OWN_BLOCKS - {"text"}:
        return _text_block(part)
    is_foreign = part.name in {"image", "document"} and isinstance(own, dict) and "source" not in own
    if part.name in _OWN_BLOCKS and isinstance(own, dict) and not is_foreign:
        return own
    made = {"image": _image, "file": _document}.get(part.kind, lambda _: None)(part)
    return made or _text(replaced_by_text(part))


def _text_block(part: Part) -> Block | None:
    if not part.text.strip():
        return None
    if part.name == "text" and isinstance(part.own, dict):
        return {"type": "text"} | {key: value for key, value in part.own.items() if key in _TEXT_FIELDS}
    return _text(part.text)


def _image(part: Part) -> Block | None:
    if part.data:
        # The API refuses any other kind of image; an image of unknown kind may be acceptable.
        if part.media_type not in _IMAGES:
            return None
        source = {"type": "base64", "media_type": part.media_type, "data": part.data}
        return {"type": "image", "source": source}
    return {"type": "image", "source": {"type": "url", "url": part.url}} if part.url else None


def _document(part: Part) -> Block | None:
    """A PDF, or a text: https://docs.claude.com/en/docs/build-with-claude/pdf-support."""
    title = {"title": part.title} if part.title else {}
    if part.data and part.media_type == "application/pdf":
        source = {"type": "base64", "media_type": "application/pdf", "data": part.data}
        return {"type": "document", "source": source} | title
    if part.data and (text := _text_in(part)):
        return {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": text},
        } | title
    if part.url and part.media_type in {"application/pdf", ""}:
        return {"type": "document", "source": {"type": "url", "url": part.url}} | title
    return None


def _text_in(part: Part) -> str:
    if not (part.media_type.startswith("text/") or part.media_type == "application/json"):
        return ""
    try:
        return base64.b64decode(part.data).decode()
    except ValueError:
        return ""


def _text(text: Any) -> Block:
    return {"type": "text", "text": text}
