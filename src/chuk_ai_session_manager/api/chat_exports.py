"""The files that people get when they export their data from ChatGPT or Claude, read as trees of messages.

Both products write a file `conversations.json`, a list of conversations. Neither documents the form of the
file; this module reads the forms that were seen in exports of 2023 to 2026:

* ChatGPT: `mapping` has a node for each message, with `parent` and `children`; `current_node` is the last
  message of the branch that the user sees. Times are seconds since 1970.
* Claude: `chat_messages` is a list, in which `parent_message_uuid` (since 2025) names the previous message.
  Times are texts. The model is not named.

Hidden instructions, thinking, and the bytes of images and files are not read: a line of text names an image
or a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..providers.common import is_list, list_of, text_in
from ..providers.messages import ChatMessage


@dataclass(slots=True)
class Told:
    """A message of an export, and the message before it."""

    id: str
    parent: str | None
    rows: list[ChatMessage]
    """The message as chat messages: several, if a model's message has tool calls and their results."""
    said_at: datetime | None
    model: str = "unknown"


@dataclass(slots=True)
class Talk:
    """A conversation of an export."""

    id: str
    title: str
    origin: str
    """The product: "chatgpt" or "claude"."""
    provider: str
    created_at: datetime | None
    told: list[Told] = field(default_factory=list)
    """Its messages. Each stands after the message that it follows, and after earlier variants of itself."""
    leaf: str | None = None
    """The last message of the branch that the user sees."""


# -- ChatGPT --------------------------------------------------------------------------------------

# Kinds of content that neither the user nor the model said.
_UNSAID = {"user_editable_context", "model_editable_context", "thoughts", "reasoning_recap"}


def chatgpt_talk(record: Mapping[str, Any]) -> Talk:
    """A conversation of ChatGPT's export."""
    talk = Talk(
        str(record.get("conversation_id") or record.get("id") or ""),
        text_in(record.get("title")),
        "chatgpt",
        "openai",
        _moment(record.get("create_time")),
    )
    nodes = {str(name): node for name, node in record["mapping"].items() if isinstance(node, Mapping)}
    model = text_in(record.get("default_model_slug")) or "unknown"
    asked: dict[str, str] = {}  # by node: the id of the call that waits for a result there
    for name in _in_order(nodes):
        node = nodes[name]
        parent = _parent_of(node, nodes)
        message = _part(node, "message")
        rows = _chatgpt_rows(name, message, asked.get(str(parent)))
        if any(row["role"] == "tool" for row in rows):
            asked.pop(str(parent), None)
        elif parent in asked:
            asked[name] = asked[parent]
        for row in rows:
            for call in row.get("tool_calls", ()):
                asked[name] = call["id"]
        about = _part(message, "metadata")
        said_at = _moment(message.get("create_time"))
        talk.told.append(Told(name, parent, rows, said_at, text_in(about.get("model_slug")) or model))
    current = text_in(record.get("current_node"))
    talk.leaf = current if any(told.id == current for told in talk.told) else None
    return talk


def _parent_of(node: Mapping[str, Any], nodes: Mapping[str, Any]) -> str | None:
    parent = text_in(node.get("parent"))
    return parent if parent in nodes else None


def _in_order(nodes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The nodes' names: each node after its parent, and siblings in the order of the parent's `children`.

    Siblings that `children` does not name come last.
    """
    children: dict[str | None, list[str]] = {}
    for name, node in nodes.items():
        children.setdefault(_parent_of(node, nodes), []).append(name)
    waiting = children.get(None, [])[::-1]
    while waiting:
        name = waiting.pop()
        yield name
        places = {str(child): at for at, child in enumerate(list_of(nodes[name].get("children")))}
        siblings = sorted(children.get(name, ()), key=lambda child: places.get(child, len(places)))
        waiting += reversed(siblings)


def _chatgpt_rows(name: str, message: Mapping[str, Any], waiting: str | None) -> list[ChatMessage]:
    author, content, about = (_part(message, key) for key in ("author", "content", "metadata"))
    if about.get("is_visually_hidden_from_conversation") or text_in(content.get("content_type")) in _UNSAID:
        return []
    text = "\n".join(filter(None, [_chatgpt_text(content), *_named(about.get("attachments"), "name")]))
    role, recipient = text_in(author.get("role")), message.get("recipient") or "all"
    if role == "assistant" and recipient != "all":
        function = {"name": str(recipient), "arguments": _arguments(text)}
        call = {"id": name, "type": "function", "function": function}
        return [{"role": "assistant", "content": None, "tool_calls": [call]}]
    if not text.strip():
        return []
    if role == "tool":
        if waiting is None:  # no call asked for it: memories about the user, for example
            return []
        tool = {"name": str(author["name"])} if author.get("name") else {}
        return [{"role": "tool", "tool_call_id": waiting, "content": text, **tool}]
    return [{"role": role, "content": text}] if role in {"user", "assistant", "system"} else []


def _chatgpt_text(content: Mapping[str, Any]) -> str:
    if is_list(parts := content.get("parts")):
        return "\n".join(filter(None, map(_chatgpt_part, list_of(parts))))
    known = ("title", "url", "name", "text", "result")
    return "\n".join(str(content[key]) for key in known if isinstance(content.get(key), str) and content[key])


def _chatgpt_part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return ""
    if isinstance(part.get("text"), str):
        return str(part["text"])
    kind = str(part.get("content_type") or "part").partition("_")[0]
    return f"[{kind}: {part.get('asset_pointer')}]" if part.get("asset_pointer") else f"[{kind}]"


def _arguments(text: str) -> str:
    """The text with which a tool was called, as the arguments of a call: a JSON object."""
    try:
        is_object = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        is_object = False
    return text if is_object else json.dumps({"input": text}, ensure_ascii=False)


# -- Claude ---------------------------------------------------------------------------------------


def claude_talk(record: Mapping[str, Any]) -> Talk:
    """A conversation of Claude's export."""
    talk = Talk(
        text_in(record.get("uuid")),
        text_in(record.get("name")),
        "claude",
        "anthropic",
        _moment(record.get("created_at")),
    )
    model = text_in(record.get("model")) or "unknown"
    messages = [message for message in record["chat_messages"] if isinstance(message, Mapping)]
    ids = [text_in(message.get("uuid")) or f"{talk.id}-{at}" for at, message in enumerate(messages)]
    parents = [text_in(message.get("parent_message_uuid")) for message in messages]
    if set(ids).isdisjoint(parents):  # an export of before 2025: each message follows the one before it
        parents = ["", *ids[:-1]]
    seen: set[str] = set()
    for at, message in enumerate(messages):
        parent = parents[at] if parents[at] in seen else None
        seen.add(ids[at])
        talk.told.append(
            Told(ids[at], parent, _claude_rows(ids[at], message), _moment(message.get("created_at")), model)
        )
    leaf = text_in(record.get("current_leaf_message_uuid"))
    talk.leaf = leaf if leaf in seen else None
    return talk


def _claude_rows(name: str, message: Mapping[str, Any]) -> list[ChatMessage]:
    blocks = [block for block in list_of(message.get("content")) if isinstance(block, Mapping)]
    if message.get("sender") == "assistant":
        rows = _claude_answers(name, blocks)
        text = text_in(message.get("text"))
        return rows or ([{"role": "assistant", "content": text}] if text.strip() else [])
    texts = [text_in(block.get("text")) for block in blocks if block.get("type") == "text"]
    said = "\n".join(filter(None, texts)) or text_in(message.get("text"))
    attached = [each for each in list_of(message.get("attachments")) if isinstance(each, Mapping)]
    read = [
        f"{text_in(each.get('file_name'))}:\n{each['extracted_content']}"
        for each in attached
        if each.get("extracted_content")
    ]
    unread = [each for each in attached if not each.get("extracted_content")]
    files = [*_named(unread, "file_name"), *_named(message.get("files"), "file_name")]
    text = "\n\n".join(filter(None, [said, *read, *files]))
    return [{"role": "user", "content": text}] if text.strip() else []


def _claude_answers(name: str, blocks: Sequence[Mapping[str, Any]]) -> list[ChatMessage]:
    """A model's message as rows: its texts, its calls and their results, in order."""
    rows: list[ChatMessage] = []
    waiting: list[str] = []
    for at, block in enumerate(blocks):
        kind, text = block.get("type"), text_in(block.get("text"))
        answer = rows[-1] if rows and rows[-1]["role"] == "assistant" else None
        if kind == "text" and text.strip():
            if answer is not None and "tool_calls" not in answer:
                answer["content"] += f"\n{text}"
            else:
                rows.append({"role": "assistant", "content": text})
        elif kind == "tool_use":
            if answer is None:
                answer = {"role": "assistant", "content": None}
                rows.append(answer)
            call_id = text_in(block.get("id")) or f"{name}-{at}"
            given = (
                block.get("input")
                if isinstance(block.get("input"), Mapping)
                else {"input": block.get("input")}
            )
            function = {
                "name": text_in(block.get("name")) or "tool",
                "arguments": json.dumps(given, ensure_ascii=False),
            }
            answer.setdefault("tool_calls", []).append(
                {"id": call_id, "type": "function", "function": function}
            )
            waiting.append(call_id)
        elif kind == "tool_result" and waiting:
            called = block.get("tool_use_id")
            call_id = waiting.pop(waiting.index(called) if called in waiting else 0)
            error = {"is_error": True} if block.get("is_error") else {}
            rows.append({"role": "tool", "tool_call_id": call_id, "content": _claude_result(block), **error})
    return rows


def _claude_result(block: Mapping[str, Any]) -> str:
    content = block.get("content")
    if isinstance(content, str):
        return content
    parts = [part for part in list_of(content) if isinstance(part, Mapping)]
    return "\n".join(text_in(part.get("text")) or f"[{part.get('type')}]" for part in parts)


# -- both -----------------------------------------------------------------------------------------


def _part(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def _named(files: object, key: str) -> list[str]:
    """A line for each file that came with a message."""
    return [f"[file: {each[key]}]" for each in list_of(files) if isinstance(each, Mapping) and each.get(key)]


def _moment(value: object) -> datetime | None:
    """A time of an export, in UTC; `None` if there is none, or it cannot be read."""
    try:
        if isinstance(value, str):
            said = datetime.fromisoformat(value)
            return said.replace(tzinfo=UTC) if said.tzinfo is None else said.astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
