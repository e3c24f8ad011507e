"""Small data exports in the forms of ChatGPT's and Claude's."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

NOON = 1_700_000_000.25  # 2023-11-14T22:13:20.25 UTC


def node(
    name: str,
    parent: str | None,
    children: list[str],
    role: str = "user",
    *parts: Any,
    kind: str = "text",
    to: str = "all",
    at: float = 0,
    **about: Any,
) -> dict[str, Any]:
    """A node of ChatGPT's export."""
    content: dict[str, Any] = {"content_type": kind}
    content |= {"text": parts[0]} if kind in {"code", "execution_output"} else {"parts": list(parts)}
    message = {
        "id": name,
        "author": {"role": role, "name": "python" if role == "tool" else None, "metadata": {}},
        "create_time": NOON + at,
        "update_time": None,
        "content": content,
        "status": "finished_successfully",
        "end_turn": None,
        "weight": 1.0,
        "metadata": about,
        "recipient": to,
    }
    return {"id": name, "message": message if parts else None, "parent": parent, "children": children}


def of_chatgpt() -> dict[str, Any]:
    """A talk with an edited question, two answers to the second form of it, and a tool."""
    gpt = {"model_slug": "gpt-4o"}
    nodes = [
        node("root", None, ["system"]),
        node("system", "root", ["about"], "system", "", is_visually_hidden_from_conversation=True),
        node("about", "system", ["q1", "q2"], "user", "I am Ada", kind="user_editable_context"),
        node("q1", "about", ["a1"], "user", "What is 2+2?", at=1),
        node("a1", "q1", [], "assistant", "4", at=2, **gpt),
        node("q2", "about", ["a2", "a3"], "user", "What is 3+3?", at=3),
        node("a2", "q2", [], "assistant", "Five.", at=4, **gpt),
        node("a3", "q2", ["call"], "assistant", "Let me see.", at=5, model_slug="o3"),
        node("call", "a3", ["result"], "assistant", "print(3+3)", kind="code", to="python", at=6, **gpt),
        node("result", "call", ["thought"], "tool", "6", kind="execution_output", at=7),
        node("thought", "result", ["a4"], "assistant", "hm", kind="thoughts", at=8),
        node("a4", "thought", ["q3"], "assistant", "6.", at=9, **gpt),
        node(
            "q3",
            "a4",
            ["a5"],
            "user",
            {
                "content_type": "image_asset_pointer",
                "asset_pointer": "file-service://file-1",
                "size_bytes": 9,
            },
            "And this?",
            kind="multimodal_text",
            at=10,
            attachments=[{"id": "file-2", "name": "sums.pdf"}],
        ),
        node("a5", "q3", [], "assistant", "A cat.", at=11, **gpt),
    ]
    return {
        "title": "Sums",
        "create_time": NOON,
        "update_time": NOON + 11,
        "mapping": {each["id"]: each for each in nodes},
        "moderation_results": [],
        "current_node": "a5",
        "conversation_id": "0f7a-chatgpt",
        "default_model_slug": "gpt-4o",
        "id": "0f7a-chatgpt",
    }


ROOT = "00000000-0000-4000-8000-000000000000"


def of_claude(*, with_parents: bool = True) -> dict[str, Any]:
    """A talk with a tool, an attachment, and an answer that was asked for again."""

    def message(uuid: str, parent: str, sender: str, *blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        said = {
            "uuid": uuid,
            "text": "\n".join(texts),
            "content": list(blocks),
            "sender": sender,
            "created_at": "2026-03-23T03:44:28.917458Z",
            "updated_at": "2026-03-23T03:44:28.917458Z",
            "attachments": [],
            "files": [],
        }
        return said | ({"parent_message_uuid": parent} if with_parents else {}) | more

    def text(words: str) -> dict[str, Any]:
        return {"type": "text", "text": words, "citations": [], "start_timestamp": "2026-03-23T03:44:28Z"}

    attachment = {"file_name": "notes.txt", "file_size": 5, "file_type": "txt", "extracted_content": "six"}
    return {
        "uuid": "c1a9-claude",
        "name": "Vocabulary",
        "summary": "",
        "created_at": "2026-03-23T03:44:27.886210Z",
        "updated_at": "2026-03-23T07:38:14.031552Z",
        "account": {"uuid": "c1a9"},
        "chat_messages": [
            message("m1", ROOT, "human", text("Read this."), attachments=[attachment]),
            message("m2", "m1", "assistant", text("Sorry?")),
            message(
                "m3",
                "m1",
                "assistant",
                {"type": "thinking", "thinking": "hm"},
                text("I look."),
                {"type": "tool_use", "id": "toolu_1", "name": "view", "input": {"path": "notes.txt"}},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [text("six")],
                    "is_error": False,
                },
                text("It says six."),
            ),
            message("m4", "m3", "human", text("Thanks."), files=[{"file_name": "cat.png"}]),
        ],
    }


def zipped(*records: Any, name: str = "conversations.json") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("user.json", "{}")
        archive.writestr(name, json.dumps(list(records)))
    return buffer.getvalue()
