"""A store of your own: with `get` and `save`, sessions live wherever you like.

Each append then saves the whole session. A store that can append subclasses `EventStore`; the tests in
`chuk_ai_session_manager.testing` say whether it does it right.

    python examples/18_custom_store.py
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chuk_ai_session_manager import Session, SessionManager


class FolderStore:
    """Keeps each session in a JSON file of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def get(self, session_id: str) -> Session[Any] | None:
        file = self._file(session_id)
        return Session[Any].model_validate_json(file.read_bytes()) if file.exists() else None

    async def save(self, session: Session[Any]) -> None:
        new = self._file(session.id).with_suffix(".new")
        new.write_text(session.model_dump_json(), encoding="utf-8")
        new.replace(self._file(session.id))  # all of it or nothing, also where this is cut off

    def _file(self, session_id: str) -> Path:
        return self.folder / f"{quote(session_id, safe='')}.json"


async def main(folder: Path) -> None:
    store = FolderStore(folder)
    sm = SessionManager("diary", store=store, infinite_context=True, max_turns_per_segment=4)
    await asyncio.gather(*(sm.user_says(f"Thought {number}") for number in range(10)))

    found = SessionManager("diary", store=FolderStore(folder), infinite_context=True)
    said, files = await found.get_conversation(), await found.get_session_chain()
    print(f"{len(said)} messages, in {len(files)} files")
    for row in await found.get_messages_for_llm():
        print(f"{row['role']:>10}  {row['content']}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(main(Path(made)))
