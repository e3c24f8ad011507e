"""Reads requests: the arguments of an SDK client's call, as messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .anthropic import FORMAT as ANTHROPIC
from .anthropic_messages import begin, result_row
from .common import data_of, is_list, texts_in
from .fingerprints import Chain, Sent, fingerprint_of_tools
from .messages import INTERRUPTED, NATIVE, SYSTEM_ROLES, ChatMessage
from .openai_responses import FORMAT as RESPONSES
from .parts import parts_of, shown_content

# Items of a Responses request that contain neither the application's words nor a model's.
_SETTINGS = {"additional_tools", "compaction_trigger", "configuration_update"}
# Items that answer a model's item, besides those whose type ends in "_output".
_ANSWERS = {"mcp_approval_response"}


def request_text(arguments: Mapping[str, Any]) -> str:
    """All texts that a request sends to a model: system prompt, tools, messages; without images and the like.

    Each is a line. The line's end is counted where providers count the message's role, which is one token.
    """
    sent = {name: arguments.get(name) for name in ("system", "instructions", "messages", "input")}
    tools = [data_of(each) for name in ("tools", "functions") for each in arguments.get(name) or ()]
    asked = [json.dumps(tool, ensure_ascii=False, default=str) for tool in tools]
    return "\n".join([*_sent_texts(sent), *asked])


def messages_in(arguments: Mapping[str, Any]) -> int:
    """How many messages a request sends to a model; a separate system prompt counts as one too."""
    given = arguments.get("messages", arguments.get("input"))
    count = len(given) if isinstance(given, list | tuple) else int(bool(given))
    return count + any(arguments.get(name) for name in ("system", "instructions"))


# Fields that are not text for a model, or that it does not see as text.
_NOT_SENT = {
    "type", "role", "id", "call_id", "tool_call_id", "tool_use_id", "status", "cache_control",
    "url", "image_url", "data", "file_data", "media_type", "signature", "encrypted_content",
}  # fmt: skip


def _sent_texts(value: Any) -> Iterator[str]:
    value = data_of(value)
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if name == "input" and isinstance(each, Mapping):  # in Anthropic's calls
                yield json.dumps(each, ensure_ascii=False, default=str)
            elif name not in _NOT_SENT:
                yield from _sent_texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _sent_texts(each)


def asked_rows(arguments: Mapping[str, Any]) -> list[ChatMessage]:
    """The messages of a request after the model's last answer; a system prompt comes first.

    A tool's result that is more than a text keeps its parts. A result in a Responses request that is not a
    plain function's is also included unchanged (`NATIVE`).
    """
    system = arguments.get("system") or arguments.get("instructions")
    given = arguments.get("messages", arguments.get("input")) or []
    rows = [row for item in ([given] if isinstance(given, str) else given) for row in _rows_of(item)]
    while rows and rows[-1]["role"] == "assistant":  # the beginning of the answer, written by the application
        rows.pop()
    answers = [at for at, row in enumerate(rows) if row["role"] == "assistant"]
    prompt = [row for row in rows[:1] if row["role"] in SYSTEM_ROLES]
    start = answers[-1] + 1 if answers else len(prompt)
    if system:
        prompt = [{"role": "system", "content": "\n".join(texts_in(system))}]
    return [*prompt, *(row for row in rows[start:] if row.get("content") != INTERRUPTED)]


def _rows_of(item: Any) -> list[ChatMessage]:
    """One item of a request as chat messages; an answer, or a part of one, as an empty answer."""
    if isinstance(item, str):
        return [{"role": "user", "content": item}]
    row = _as_dict(item)
    kind, role, content = str(row.get("type")), row.get("role"), row.get("content")
    if kind.endswith("_output") or kind in _ANSWERS:
        return [_result(kind, row)]
    if kind in _SETTINGS or role == "tool":
        return [row] if role == "tool" else []
    if role not in {"user", *SYSTEM_ROLES}:
        return [{"role": "assistant", "content": ""}]
    if isinstance(content, list | tuple):
        return _rows_of_blocks(role, content)
    return [{"role": role, "content": content if isinstance(content, str) else ""}]


def _as_dict(item: Any) -> dict[str, Any]:
    """An item as the API writes it: in a plain dump, SDKs rename some fields."""
    if isinstance(item, Mapping):
        return dict(item)
    written = item.to_dict() if hasattr(item, "to_dict") else item.model_dump(exclude_none=True)
    return dict(written)


def _rows_of_blocks(role: str, content: Sequence[Any]) -> list[ChatMessage]:
    """A content of several blocks as messages: tools' results, and the texts beside them."""
    blocks = [
        {"type": "text", "text": block} if isinstance(block, str) else _as_dict(block) for block in content
    ]
    results = [block for block in blocks if block.get("type") == "tool_result"]
    rows = [_compact(result_row(each)) for each in results]
    parts = [_part(block) for block in blocks if block.get("type") != "tool_result"]
    if all(part.keys() == {"type", "text"} for part in parts):  # as in turns that were merged
        return [*rows, *({"role": role, "content": part["text"]} for part in parts)]
    return [*rows, {"role": role, "content": parts}] if parts else rows


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a content in OpenAI's chat form, if that has such a part."""
    match block.get("type"):
        case "text" | "input_text" | "output_text":
            return {"type": "text", "text": str(block.get("text"))}
        case "input_image" if block.get("image_url"):
            detail = {"detail": block["detail"]} if block.get("detail") else {}
            return {"type": "image_url", "image_url": {"url": str(block["image_url"])} | detail}
        case "image":
            (image,) = parts_of([block])
            url = image.data_url if image.data else image.url
            return {"type": "image_url", "image_url": {"url": url}} if url else dict(block)
        case "input_file" if block.get("file_data") or block.get("file_id"):
            names = ("file_data", "file_id", "filename")
            return {"type": "file", "file": {name: block[name] for name in names if block.get(name)}}
        case _:
            return dict(block)


# -- results --------------------------------------------------------------------------------------


def _result(kind: str, item: dict[str, Any]) -> ChatMessage:
    """A result in a Responses request: its text, or its parts; and the unchanged item."""
    call_id = item.get("call_id") or item.get("approval_request_id") or item.get("id")
    row: ChatMessage = {"role": "tool", "tool_call_id": str(call_id)}
    output = item.get("output")
    if kind in {"function_call_output", "custom_tool_call_output"}:
        row = _compact(row | {"content": output if isinstance(output, str) else _listed(output)})
        is_plain = item.keys() <= {"type", "call_id", "output", "status", "id"}
        return row if is_plain else row | {NATIVE: _native(item)}
    return row | {"content": _text_of(kind, item), NATIVE: _native(item)}


def _native(item: dict[str, Any]) -> dict[str, Any]:
    return {"format": RESPONSES, "message": item}


def _listed(output: Any) -> list[Any]:
    return [each if isinstance(each, str) else _as_dict(each) for each in output or []]


def _compact(row: ChatMessage) -> ChatMessage:
    """A message whose content is a text, if it contains nothing but text."""
    content = row["content"]
    if isinstance(content, str):
        return row
    parts = parts_of(content)
    is_text = all(
        part.kind == "text" and part.name in {"text", "input_text", "output_text"} for part in parts
    )
    return row | {"content": "\n".join(part.text for part in parts) if is_text else list(content)}


def _text_of(kind: str, item: Mapping[str, Any]) -> str:
    """The text of an item that answers one of a model's own items."""
    output = item.get("output")
    match kind:
        case "mcp_approval_response":
            reason = {"reason": item["reason"]} if item.get("reason") else {}
            return json.dumps({"approve": item.get("approve")} | reason, ensure_ascii=False)
        case "tool_search_output":
            tools = [each for each in item.get("tools") or [] if isinstance(each, Mapping)]
            return "\n".join(str(tool.get("name") or tool.get("type")) for tool in tools)
        case "shell_call_output" if isinstance(output, list | tuple):
            return "\n".join(filter(None, map(_said_by_a_shell, output)))
        case "computer_call_output":
            return shown_content([output])
    return output if isinstance(output, str) else shown_content(output) or str(item.get("status") or "")


def _said_by_a_shell(piece: Any) -> str:
    if not isinstance(piece, Mapping):
        return str(piece)
    outcome = piece.get("outcome")
    code = outcome.get("exit_code") if isinstance(outcome, Mapping) else None
    ended = f"[exit code {code}]" if code else ""
    if isinstance(outcome, Mapping) and outcome.get("type") == "timeout":
        ended = "[timed out]"
    return "\n".join(filter(None, [str(piece.get("stdout") or ""), str(piece.get("stderr") or ""), ended]))


# -- fingerprints ---------------------------------------------------------------------------------


def sent_by(arguments: Mapping[str, Any]) -> tuple[str, Sent] | None:
    """The fingerprints of a request, and its format.

    `None` for a request that refers to state on the server, which is not known here.

    Args:
        arguments: of `messages.create` or `responses.create`.
    """
    tools = arguments.get("tools")
    digest = (
        fingerprint_of_tools([data_of(tool) for tool in tools]) if isinstance(tools, list | tuple) else ""
    )
    if is_list(arguments.get("messages")):
        chain = Chain(ANTHROPIC)
        system = arguments.get("system")
        begin(chain, texts_in(system) if isinstance(system, str | list) else [])
        for message in arguments["messages"]:
            _add(chain, _as_dict(message))
        return ANTHROPIC, chain.sent(digest)
    given = arguments.get("input")
    if arguments.get("previous_response_id") or arguments.get("conversation") or not given:
        return None
    chain = Chain(RESPONSES)
    instructions = arguments.get("instructions")
    if isinstance(instructions, str):
        chain.rows.append({"role": "system", "content": instructions})
        chain.head = 1
    chain.rows += [
        {"role": "user", "content": each} if isinstance(each, str) else _as_dict(each)
        for each in ([given] if isinstance(given, str) else given)
    ]
    return RESPONSES, chain.sent(digest)


def _add(chain: Chain, message: Mapping[str, Any]) -> None:
    role, content = message.get("role"), message.get("content")
    if [row for row in chain.rows if isinstance(row, str)][-1:] != [role]:
        chain.rows.append(role)
    blocks = content if is_list(content) else [content]
    chain.rows += [
        {"type": "text", "text": block} if isinstance(block, str) else data_of(block)
        for block in blocks or []
    ]
