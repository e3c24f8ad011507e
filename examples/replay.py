"""Replay recorded conversations: python examples/replay.py [FILE].

FILE is JSONL, a conversation a line: {"id": ..., "model": ..., "messages": [...]}, the messages in
OpenAI's chat format. No model is called: what the calls were billed is estimated from the messages.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from chuk_ai_session_manager import SessionManager, SessionManagerError, TokenUsage
from chuk_ai_session_manager.stores import MemoryStore

EXAMPLES = Path(__file__).parent / "data" / "conversations.jsonl"
COUNTS = "tool_calls", "total_tokens", "input_tokens", "output_tokens"
TOTALS = (*COUNTS, "session_segments", "estimated_cost", "unpriced_calls")
console = Console(markup=False, emoji=False, highlight=False)  # names in the file are shown as they are


class BadInputError(Exception):
    """What is wrong with the file, and where: shown to the user as it is."""


@dataclass
class Conversation:
    """A line of the file; and, once replayed, its figures and its messages as they come out again."""

    place: str
    id: str | None
    model: str
    messages: list[dict[str, Any]]

    async def replay(self) -> None:
        """Tell a session manager all messages, and keep what it then knows of them."""
        try:
            manager = SessionManager(self.id, store=MemoryStore())  # so that no store in use is written to
            await manager.add_messages(self.messages, model=self.model)
        except SessionManagerError as error:
            raise BadInputError(f"{self.place}: {error}") from None
        self.stats = await manager.get_stats()
        self.replayed = await manager.get_messages_for_llm(include_tools=True)


def read(path: Path) -> list[Conversation]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}") from None
    conversations = [parse(f"{path}, line {at}", line) for at, line in enumerate(lines, 1) if line.strip()]
    if not conversations:
        raise BadInputError(f"{path}: no conversation in it")
    return conversations


def parse(place: str, line: bytes) -> Conversation:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("messages"), list):
        raise BadInputError(f'{place}: not a JSON object with a list of "messages"')
    return Conversation(place, record.get("id"), record.get("model", "unknown"), record["messages"])


async def replay(conversations: list[Conversation]) -> None:
    with Progress(console=console) as progress:
        task = progress.add_task("Messages", total=sum(len(each.messages) for each in conversations))
        for each in conversations:
            await each.replay()
            progress.advance(task, len(each.messages))


def table_of(conversations: list[Conversation]) -> Table:
    table = Table("Session", "Model", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("Rows", "Tool\ncalls", "Tokens", "Billed\nin", "Billed\nout", "USD"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in conversations:
        counts = [f"{each.stats[name]:,}" for name in COUNTS]
        counts[1] = "~" * TokenUsage.is_estimated(each.model) + counts[1]
        dollars = "-" if each.stats["unpriced_calls"] else f"{each.stats['estimated_cost']:.4f}"
        table.add_row(each.stats["session_id"], each.model, str(len(each.replayed)), *counts, dollars)
    return table


def dashboard(conversations: list[Conversation]) -> str:
    total = {key: sum(each.stats[key] for each in conversations) for key in TOTALS}
    roles = Counter(row["role"] for each in conversations for row in each.replayed)
    by_role = ", ".join(f"{count} {role}" for role, count in roles.items())
    estimated = sum(TokenUsage.is_estimated(each.model) for each in conversations)
    content = f"~ estimated in {estimated} sessions" if estimated else "counted exactly"
    equal = sum(each.replayed == each.messages for each in conversations)
    return f"""Session Analytics Dashboard
Sessions:        {len(conversations)}, in {total["session_segments"]} segments
Total messages:  {roles.total()} of {sum(len(each.messages) for each in conversations)} ({by_role})
Tool calls:      {total["tool_calls"]}
Content tokens:  {total["total_tokens"]:,} ({content})
Billed tokens:   {total["input_tokens"]:,} in, {total["output_tokens"]:,} out (estimated)
Total cost:      ${total["estimated_cost"]:.6f} ({total["unpriced_calls"]} calls unpriced)
Round trip:      {equal} of {len(conversations)} conversations equal"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Replay recorded conversations.")
    parser.add_argument("file", nargs="?", type=Path, default=EXAMPLES, help="see the top of this script")
    try:
        conversations = read(parser.parse_args().file)
        asyncio.run(replay(conversations))
    except BadInputError as error:
        parser.exit(2, f"error: {error}\n")
    except KeyboardInterrupt:
        return 130
    console.print(table_of(conversations))
    print(dashboard(conversations))
    return 0 if all(each.replayed == each.messages for each in conversations) else 1


if __name__ == "__main__":
    raise SystemExit(main())
