"""What contexts of a limited length cost, where a provider sells repeated beginnings at a tenth of the price.

    CHATS=file python benchmarks/contexts.py          # or: python benchmarks/contexts.py file

The file has conversations in OpenAI's chat format, JSONL: `{"id", "model", "messages"}` a line. They are
played as one, with the first one's system prompt: each answer is a call. Of its context, the part that the
call before began with counts as cached. Printed for each limit: the mean context, the cached share, the bill
in thousands of uncached input tokens (cached ones at 0.1; then with what is written to the cache at 1.25),
and how many of the requests have a tool's result without its call, which providers refuse.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from environments import python_of, variables
from langchain_core.messages import convert_to_messages, trim_messages

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.accounts.tokens import count_tokens
from chuk_ai_session_manager.providers.messages import text_of
from chuk_ai_session_manager.stores import MemoryStore

MODEL = "gpt-4o"
LIMITS = (4_000, 8_000, 16_000, 32_000, 100_000)
CACHED, WRITTEN = 0.1, 1.25
DRIVER = Path(__file__).parent / "drivers" / "agents_limit.py"

Row = dict[str, Any]


@dataclass
class Lengths:
    """Content tokens of rows, each text counted once."""

    known: dict[str, int] = field(default_factory=dict)

    async def of(self, row: Row) -> int:
        """How long a row is."""
        text = text_of(row)
        if text not in self.known:
            self.known[text] = await count_tokens(text, MODEL)
        return self.known[text]


@dataclass
class Bill:
    """What the calls of a conversation came to."""

    calls: int = 0
    tokens: int = 0
    cached: int = 0
    refused: int = 0
    most: int = 0

    async def add(self, context: Sequence[Row], before: Sequence[Row], lengths: Lengths) -> None:
        """Add a call, given its context and that of the call before."""
        tokens = [await lengths.of(row) for row in context]
        same = next(
            (at for at, row in enumerate(context) if at >= len(before) or row != before[at]), len(context)
        )
        self.calls += 1
        self.tokens += sum(tokens)
        self.cached += sum(tokens[:same])
        self.most = max(self.most, sum(tokens))
        asked: set[str] = set()
        is_refused = False
        for row in context:
            asked |= {call["id"] for call in row.get("tool_calls") or ()}
            is_refused = is_refused or (row["role"] == "tool" and row["tool_call_id"] not in asked)
        self.refused += is_refused

    @property
    def mean(self) -> float:
        """The mean length of a context, in tokens."""
        return self.tokens / self.calls

    def cost(self, fresh: float = 1.0) -> float:
        """What the input costs, in uncached tokens, where one that is not cached costs so much."""
        return (self.tokens - self.cached) * fresh + self.cached * CACHED

    def __str__(self) -> str:
        share, bill, written = self.cached / self.tokens, self.cost() / 1e3, self.cost(WRITTEN) / 1e3
        text = f"mean {self.mean:6.0f}  cached {share:.2f}  bill {bill:5.0f} k  {written:5.0f} k"
        return text + (f"  refused {self.refused}" if self.refused else "")


def conversation(path: Path) -> list[Row]:
    """All conversations of a file as one, with the first one's system prompt."""
    chats = [json.loads(line)["messages"] for line in path.read_text("utf-8").splitlines()]
    rows = [row for chat in chats for row in chat]
    return [*rows[:1], *(row for row in rows[1:] if row["role"] != "system")]


async def billed(contexts: AsyncIterator[Sequence[Row]], lengths: Lengths) -> Bill:
    """The bill of contexts that follow each other."""
    bill, before = Bill(), list[Row]()
    async for context in contexts:
        await bill.add(context, before, lengths)
        before = list(context)
    return bill


async def ours(
    rows: Sequence[Row], of_manager: Row | None = None, **options: Any
) -> AsyncIterator[Sequence[Row]]:
    """The contexts that a `SessionManager` gives."""
    sm = SessionManager(store=MemoryStore(), model=MODEL, **(of_manager or {}))
    waiting: list[Row] = []
    for row in rows:
        if row["role"] == "assistant":
            await sm.add_messages(waiting)
            waiting = []
            yield await sm.get_messages_for_llm(include_tools=True, **options)
        waiting.append(row)


async def newest(rows: Sequence[Row], counts: Sequence[int]) -> AsyncIterator[Sequence[Row]]:
    """Contexts of so many of the newest rows, behind the system prompt."""
    calls = [at for at, row in enumerate(rows) if row["role"] == "assistant"]
    for call, count in zip(calls, counts, strict=True):
        yield [rows[0], *rows[max(1, call - count) : call]]


async def agents_sdk(rows: Sequence[Row], limit: int, lengths: Lengths) -> tuple[int, Bill]:
    """What the SDK's newest items come to: as many as never exceed the limit."""
    calls = [at - 1 for at, row in enumerate(rows) if row["role"] == "assistant"]
    limits = list(range(5, len(rows), 5))
    asked = json.dumps({"items": rows[1:], "calls": calls, "limits": limits})
    answered = await asyncio.to_thread(_asked, asked)
    best = 0, Bill()
    for items, given in zip(limits, json.loads(answered), strict=True):
        bill = await billed(newest(rows, given), lengths)
        if best[0] and bill.most > limit:
            break
        best = items, bill
    return best


def _asked(question: str) -> str:
    """What the SDK's driver answers, in an environment of its own."""
    done = subprocess.run(  # noqa: S603  (our own words)
        [python_of("agents-sdk"), DRIVER],
        input=question + "\n",
        env=variables(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


async def langchain(rows: Sequence[Row], limit: int, lengths: Lengths) -> AsyncIterator[Sequence[Row]]:
    """The contexts of LangChain's `trim_messages`, with the settings that its documentation recommends."""
    messages = convert_to_messages(list(rows))
    tokens = {id(message): lengths.known[text_of(row)] for message, row in zip(messages, rows, strict=True)}
    number = {id(message): at for at, message in enumerate(messages)}
    counter: Callable[..., int] = lambda some: sum(tokens[id(each)] for each in some)  # noqa: E731
    for at, row in enumerate(rows):
        if row["role"] == "assistant":
            kept = trim_messages(
                messages[:at],
                max_tokens=limit,
                token_counter=counter,
                strategy="last",
                start_on="human",
                include_system=True,
            )
            yield [rows[number[id(message)]] for message in kept]


async def main(path: Path, limits: Sequence[int]) -> None:
    """Print the table."""
    rows, lengths = conversation(path), Lengths()
    for row in rows:
        await lengths.of(row)
    for limit in limits:
        tight = await billed(ours(rows, max_tokens=limit, steady=False), lengths)
        steady = await billed(ours(rows, max_tokens=limit), lengths)
        segments = {"infinite_context": True, "token_threshold": limit, "max_turns_per_segment": 10**9}
        print(f"{limit:7,}  steady (default)   {steady}")
        print(f"         steady=False       {tight}")
        print(f"         infinite context   {await billed(ours(rows, segments), lengths)}")
        items, agents = await agents_sdk(rows, limit, lengths)
        print(f"         Agents SDK, {items:3}    {agents}")
        print(f"         trim_messages      {await billed(langchain(rows, limit, lengths), lengths)}")
        less, written = tight.cost() / steady.cost(), tight.cost(WRITTEN) / steady.cost(WRITTEN)
        print(
            f"         steady beside steady=False: bill {less:.2f} ({written:.2f}) times smaller,"
            f" mean {steady.mean / tight.mean:.2f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("chats", nargs="?", type=Path, default=os.environ.get("CHATS"))
    parser.add_argument("--limits", nargs="+", type=int, default=LIMITS)
    arguments = parser.parse_args()
    if arguments.chats is None:
        parser.error("name a file of conversations, or set CHATS")
    asyncio.run(main(Path(arguments.chats), arguments.limits))
