"""The command line: whatever is imported, its form is recognised."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chat_exports import of_chatgpt, of_claude, zipped
from command import Ended
from places import Place

CHAT: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def test_the_command_needs_no_flag(cli: Callable[..., Ended], tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    for name, content in (
        ("conversations.json", json.dumps([of_chatgpt()]).encode()),
        ("export.zip", zipped(of_claude())),
        ("chat.json", json.dumps({"id": "chat", "messages": CHAT}).encode()),
    ):
        (tmp_path / name).write_bytes(content)
        assert cli("import", tmp_path / name, at=place).err == "Stored 1 session.\n"
    out = cli("export", "chat", at=place).out
    assert cli("show", "0f7a-chatgpt", at=place).out.count("What is 3+3?") == 1
    (tmp_path / "ours.jsonl").write_text(out)
    there = Place(f"sqlite:///{tmp_path / 'b.db'}")
    assert cli("import", tmp_path / "ours.jsonl", at=there).err == "Stored 1 session.\n"
    assert cli("import", tmp_path / "ours.jsonl", "--format", "openai", at=there).code == 2
