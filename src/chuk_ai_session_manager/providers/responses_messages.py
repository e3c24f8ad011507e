"""Writes requests for OpenAI's Responses API: a list of input items."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..exceptions.validation import copied
from .answers import is_unchanged
from .call_ids import IdRule, shortened, tool_name, with_ids
from .common import parsed
from .context_rows import ORIGIN, Origin
from .earlier import with_name_in_text, with_one_system
from .fingerprints import Chain
from .messages import INTERRUPTED, SYSTEM_ROLES, ChatMessage, asked_of, calls_of, function_of, text_of
from .openai_responses import FORMAT, of_items, waiting_in
from .parts import Part, part_of, parts_of, replaced_by_text, shown_content
from .sendable import arguments_text

Item = dict[str, Any]
MaySign = Callable[[ChatMessage], bool]

# https://platform.openai.com/docs/api-reference/responses: a call_id has at most 64 characters; it matches a
# result to its call, wherever the call stands in the input.
_IDS = IdRule(lambda call_id: shortened(call_id, 64))
# Fields that the API returns, but refuses (openai 3.57: in the output types, in no input type).
_NOT_TAKEN = {"created_by"}
# Fields that the SDK writes as null if they were not sent, and that the API refuses as null.
_NOT_NULL = {"status"}

# The types that answer an item, if the type is not the item's with "_output".
_ANSWERS = {"tool_search_call": "tool_search_output", "mcp_approval_request": "mcp_approval_response"}
_APPROVED = {"true", "yes", "approve", "approved"}


def responses_input(
    rows: Sequence[ChatMessage],
    may_sign: MaySign,
    chain: Chain | None = None,
    on_own: Callable[[Origin, int], object] | None = None,
) -> list[Item]:
    """Convert messages to input items.

    The system prompt is the first item, and the only message with the role "system"; to pass it as
    `instructions` instead, use `get_messages_for_llm(include_system=False)`. Answers of this API are sent
    back as their own items, each reasoning item before the item that it belongs to. A reasoning item depends
    on the item after it, and on nothing before it (https://developers.openai.com/api/docs/guides/reasoning).

    An `async` call may wait for its result (https://developers.openai.com/api/docs/guides/async-tool-calling):
    it gets no stand-in for one.

    If there is a compaction, the input consists of the system prompt and of what follows from the newest
    `compaction` item on (https://developers.openai.com/api/docs/guides/compaction).

    Args:
        rows: chat messages, each call followed by its results.
        may_sign: whether the reasoning items of an answer may be included.
        chain: gets the items that are written before `may_sign` is called.
        on_own: called for each answer of this API that is sent with its own ids, with its number of items,
            after everything before it is written.
    """
    chain = chain or Chain(FORMAT)
    items: list[Item] = chain.rows
    asked: dict[str, Item] = {}  # the calls of the last answer, by the present ids of their results
    for row in with_ids(with_one_system(_live(rows)), _IDS):
        if row["role"] not in SYSTEM_ROLES and not chain.head:
            chain.head = len(items)
        if row["role"] == "tool":
            call = asked.get(row["tool_call_id"], {})
            if not (call.get("async") and row.get("content") == INTERRUPTED):
                items.append(_output(row, call))
        elif row["role"] == "assistant":
            own = _own_items(row, may_sign)
            if on_own is not None and own and _call_ids(own) == _call_ids(row[ORIGIN].native):
                on_own(row[ORIGIN], len(own))
            new = own or _answer(row)
            asked = {_call_id_of(item): item for item in waiting_in(new)}
            items += new
        elif row["role"] in SYSTEM_ROLES:
            items.append({"role": row["role"], "content": text_of(row)})
        elif content := _content(with_name_in_text(row)["content"]):
            items.append({"role": "user", "content": content})
    return list(items)


def _live(rows: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """The system prompt, and the messages from the newest compaction of this API on."""
    for at in range(len(rows) - 1, -1, -1):
        origin = rows[at].get(ORIGIN)
        if isinstance(origin, Origin) and (items := compacted(origin.native_format, origin.native)):
            system = [row for row in rows[:at] if row["role"] in SYSTEM_ROLES]
            return [*system, rows[at] | {ORIGIN: replace(origin, native=items)}, *rows[at + 1 :]]
    return rows


def compacted(native_format: str, native: Any) -> list[Item]:
    """The items of an answer from its newest compaction on; empty if there is none."""
    items: list[Item] = native if native_format == FORMAT and isinstance(native, list) else []
    for at in range(len(items) - 1, -1, -1):
        if isinstance(items[at], dict) and items[at].get("type") == "compaction":
            return items[at:]
    return []


def _own_items(row: ChatMessage, may_sign: MaySign) -> list[Item]:
    """The unchanged items of an answer of this API; empty for other answers, and if it was edited."""
    origin = row.get(ORIGIN)
    if (
        not isinstance(origin, Origin)
        or origin.native_format != FORMAT
        or not isinstance(origin.native, list)
    ):
        return []
    items: list[Item] = [_taken(item) for item in copied(origin.native) if isinstance(item, dict)]
    if not may_sign(row) and any(item.get("type") == "reasoning" for item in items):
        # Without its reasoning, the API refuses an item with its own id, so the common form is used.
        return []
    items = _finished(items)
    asking = waiting_in(items)
    ids = [call["id"] for call in calls_of(row)]
    # If an application edited the recorded answer, its common form is used. (A compaction stands for
    # more than its answer.)
    is_compacted = bool(items) and items[0].get("type") == "compaction"
    if len(asking) != len(ids) or not (is_compacted or is_unchanged(row, of_items(items))):
        return []
    for item, call_id in zip(asking, ids, strict=True):
        if item["type"] != "mcp_approval_request" and item.get("call_id") != call_id:
            item["call_id"] = call_id
        if item["type"] == "function_call":
            item["arguments"] = arguments_text(item.get("arguments"))
    return items


# The statuses of hosted calls that have not ended (openai 3.57).
_RUNNING = {"in_progress", "searching", "generating", "interpreting", "calling"}


def _finished(items: list[Item]) -> list[Item]:
    """The items of an answer without what a cut-off stream left of calls that the provider ran itself.

    The API refuses such a call, and reasoning without the item that came after it.
    """
    asking = waiting_in(items)
    kept: list[Item] = []
    for item in items:
        is_hosted = str(item.get("type")).endswith("_call") and item not in asking
        if is_hosted and item.get("status") in _RUNNING:
            _drop_reasoning(kept)
        else:
            kept.append(item)
    _drop_reasoning(kept)
    return kept


def _drop_reasoning(items: list[Item]) -> None:
    while items and items[-1].get("type") == "reasoning":
        items.pop()


def _call_ids(items: Sequence[Any]) -> list[str]:
    return [_call_id_of(item) for item in waiting_in(items)]


def _taken(item: Item) -> Item:
    taken = {
        name: value
        for name, value in item.items()
        if name not in _NOT_TAKEN and not (value is None and name in _NOT_NULL)
    }
    if isinstance(taken.get("output"), list):  # in a shell's output, each piece also names its creator
        taken["output"] = [_taken(each) if isinstance(each, dict) else each for each in taken["output"]]
    return taken


def _call_id_of(item: Item) -> str:
    return str(item.get("call_id") or item.get("id") or "")


def _answer(row: ChatMessage) -> list[Item]:
    """An answer in the common form: its texts, then its calls."""
    items: list[Item] = []
    content = row.get("content")
    for own in content if isinstance(content, list) else [content or ""]:
        part = part_of(own)
        text = part.text if part.kind == "text" else replaced_by_text(part)
        if text.strip():
            phase = own.get("phase") if isinstance(own, Mapping) else None
            items.append({"role": "assistant", "content": text} | ({"phase": phase} if phase else {}))
    return items + [_call(call) for call in calls_of(row)]


def _call(call: ChatMessage) -> Item:
    name = tool_name(asked_of(call)["tool"])
    if call.get("type") == "custom":
        given = call["custom"].get("input", "")
        text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        return {"type": "custom_tool_call", "call_id": call["id"], "name": name, "input": text}
    arguments = arguments_text(function_of(call).get("arguments"))
    return {"type": "function_call", "call_id": call["id"], "name": name, "arguments": arguments}


# -- results --------------------------------------------------------------------------------------


def _output(row: ChatMessage, call: Item) -> Item:
    """The item that answers a call: unchanged, or made from the result in the type that the call requires.

    A result for a program has the program's id, as its call has
    (https://developers.openai.com/api/docs/guides/tools-programmatic-tool-calling).
    """
    item = _answering(row, call)
    return item | {"caller": copied(call["caller"])} if call.get("caller") else item


def _answering(row: ChatMessage, call: Item) -> Item:
    asking = str(call.get("type", "function_call"))
    kind = _ANSWERS.get(asking, f"{asking}_output")
    origin = row.get(ORIGIN)
    if isinstance(origin, Origin) and origin.native_format == FORMAT and isinstance(origin.native, dict):
        item = _taken(copied(origin.native))
        if item.get("type") == kind:
            return item | ({"call_id": row["tool_call_id"]} if "call_id" in item else {})
    return _MADE.get(kind, _plain_output)(kind, row, call)


def _plain_output(kind: str, row: ChatMessage, _call: Item) -> Item:
    return {"type": kind, "call_id": row["tool_call_id"], "output": _content(row.get("content")) or ""}


def _shell_output(kind: str, row: ChatMessage, _call: Item) -> Item:
    said = {
        "stdout": shown_content(row.get("content")),
        "stderr": "",
        "outcome": {"type": "exit", "exit_code": 0},
    }
    return {"type": kind, "call_id": row["tool_call_id"], "output": [said]}


def _local_shell_output(kind: str, row: ChatMessage, call: Item) -> Item:
    # openai 3.57: the id is the call's; there is no call_id.
    text = json.dumps({"stdout": shown_content(row.get("content"))}, ensure_ascii=False)
    return {"type": kind, "id": str(call.get("call_id")), "output": text}


def _patch_output(kind: str, row: ChatMessage, _call: Item) -> Item:
    text = shown_content(row.get("content"))
    status = "failed" if text.startswith('{"error"') else "completed"
    return {"type": kind, "call_id": row["tool_call_id"], "status": status, "output": text}


def _screenshot(kind: str, row: ChatMessage, _call: Item) -> Item:
    images = [part for part in parts_of(row.get("content")) if part.kind == "image"]
    found = _image(images[0]) if images else {}
    # The API accepts only a picture: if none was recorded, the smallest possible one is sent.
    picture = {key: found[key] for key in ("image_url", "file_id") if key in found} or {
        "image_url": _NO_PICTURE
    }
    return {
        "type": kind,
        "call_id": row["tool_call_id"],
        "output": {"type": "computer_screenshot"} | picture,
    }


def _found_tools(kind: str, row: ChatMessage, _call: Item) -> Item:
    tools = parsed(text_of(row))
    found = tools if isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools) else []
    return {"type": kind, "call_id": row["tool_call_id"], "tools": found, "execution": "client"}


def _approval(kind: str, row: ChatMessage, call: Item) -> Item:
    text = text_of(row)
    decided = parsed(text)
    if isinstance(decided, dict):
        decided = decided.get("approve", decided.get("approved"))
    approve = decided if isinstance(decided, bool) else text.strip().lower() in _APPROVED
    return {"type": kind, "approval_request_id": str(call.get("id")), "approve": approve}


_MADE: dict[str, Callable[[str, ChatMessage, Item], Item]] = {
    "shell_call_output": _shell_output,
    "local_shell_call_output": _local_shell_output,
    "apply_patch_call_output": _patch_output,
    "computer_call_output": _screenshot,
    "tool_search_output": _found_tools,
    "mcp_approval_response": _approval,
}
_NO_PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk"
    "YAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)


# -- parts ----------------------------------------------------------------------------------------


def _content(content: Any) -> str | list[Item]:
    """A text, or parts; blank texts among parts are left out."""
    if isinstance(content, str):
        return content
    return [_input(part) for part in parts_of(content) if part.kind != "text" or part.text]


def _input(part: Part) -> Item:
    own_name = part.name in {"input_text", "input_image", "input_file"}
    if own_name and isinstance(part.own, dict):
        is_whole = part.name != "input_image" or "detail" in part.own
        return part.own if is_whole else part.own | {"detail": "auto"}
    item = {"image": _image, "file": _file}.get(part.kind, lambda _: {})(part)
    text = part.text if part.kind == "text" else replaced_by_text(part)
    return item or {"type": "input_text", "text": text}


def _image(part: Part) -> Item:
    url = part.data_url if part.data else part.url
    if part.file_id and part.name in {"input_image", "computer_screenshot"}:
        return {"type": "input_image", "file_id": part.file_id, "detail": part.detail or "auto"}
    return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"} if url else {}


def _file(part: Part) -> Item:
    if part.data:
        name = part.title or f"file.{part.media_type.rpartition('/')[2] or 'bin'}"
        return {"type": "input_file", "filename": name, "file_data": part.data_url}
    if part.url:
        return {"type": "input_file", "file_url": part.url}
    return {"type": "input_file", "file_id": part.file_id} if part.file_id and part.name == "file" else {}
