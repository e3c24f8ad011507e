"""How much of what answers a question is in the context, by its length: recall beside what others do.

    python benchmarks/recall.py FILE [FILE ...] [--peers] [--tools] [--latency]

Each FILE holds conversations with questions and the turns that answer these, as JSON: `conversations`, each
with `turns` (`id`, `speaker`, `date`, `text`; or lists of id, role, time and text) and `questions`
(`question`, `evidence`, `category`; or lists of kind, question and ids). Nothing of them is kept here.

Everything goes through the public API, with infinite context on: messages are recorded at their own times,
then each question asks for a context. The share of a question's evidence turns that are in the context is
averaged over the questions. No model is called.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import time_machine

from chuk_ai_session_manager import SessionManager, TokenUsage

BUDGETS = (1_000, 2_000, 4_000, 8_000)
FORMATS: tuple[Any, ...] = ("openai", "anthropic", "google", "openai-responses")  # in turns
MODEL = "gpt-4o"  # whose vocabulary is o200k_base


@dataclass(frozen=True)
class Turn:
    """What somebody said."""

    id: str
    speaker: str
    time: datetime
    text: str


@dataclass(frozen=True)
class Question:
    """A question, and the turns that answer it."""

    kind: str
    text: str
    evidence: frozenset[str]


@dataclass(frozen=True)
class Talk:
    """A conversation with questions about it."""

    turns: list[Turn]
    questions: list[Question]


def talks_in(path: Path) -> list[Talk]:
    """The conversations of a file."""
    return [
        Talk(
            turns := [*map(_turn, raw["turns"])], [*_questions(raw["questions"], {turn.id for turn in turns})]
        )
        for raw in json.loads(path.read_text(encoding="utf-8"))["conversations"]
    ]


def _turn(raw: Any) -> Turn:
    if isinstance(raw, list):
        turn_id, role, said, text = raw
        return Turn(str(turn_id), role, datetime.fromisoformat(said).replace(tzinfo=UTC), text)
    said = datetime.strptime(raw["date"], "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
    return Turn(str(raw["id"]), raw["speaker"], said, raw["text"])


def _questions(raw: Iterable[Any], known: set[str]) -> Iterable[Question]:
    for each in raw:
        kind, text, evidence = (
            each if isinstance(each, list) else (each["category"], each["question"], each["evidence"])
        )
        if found := frozenset(map(str, evidence)) & known:
            yield Question(str(kind), text, found)


async def recorded(talk: Talk, **settings: Any) -> tuple[SessionManager, dict[str, str]]:
    """A manager of a conversation in which a talk was recorded, and the id of each event's turn."""
    sm = SessionManager(infinite_context=True, model=MODEL, **settings)
    with time_machine.travel(talk.turns[0].time, tick=False) as clock:
        for turn in talk.turns:
            clock.move_to(max(turn.time, datetime.now(UTC)), tick=False)
            if turn.speaker == "assistant":
                await sm.ai_responds(turn.text, model=MODEL, provider="openai")
            else:
                name: dict[str, Any] = {} if turn.speaker == "user" else {"name": turn.speaker}
                await sm.user_says(turn.text, **name)
    rows = await sm.get_conversation(include_all_segments=True, with_ids=True)
    return sm, {row["event_id"]: turn.id for row, turn in zip(rows, talk.turns, strict=True)}


Inside = Callable[[Question], Awaitable[list[set[str]]]]
"""Gives the turns that are inside what a question gets, for each of the budgets."""


@asynccontextmanager
async def by_recall(talk: Talk) -> AsyncIterator[Inside]:
    """`SessionManager.recall`: the turns that it gives."""
    sm, turn_of = await recorded(talk)

    async def inside(question: Question) -> list[set[str]]:
        found = [await sm.recall(question.text, max_tokens=budget) for budget in BUDGETS]
        assert all(each.tokens <= budget for each, budget in zip(found, BUDGETS, strict=True))
        return [{turn_of[turn.event_id] for turn in each} for each in found]

    yield inside


@asynccontextmanager
async def by_context(talk: Talk) -> AsyncIterator[Inside]:
    """`get_messages_for_llm(recall=True)`: the question is recorded, and taken back afterwards."""
    sm, _ = await recorded(talk)
    formats = cycle(FORMATS)

    async def inside(question: Question) -> list[set[str]]:
        await sm.user_says(question.text)
        found: list[set[str]] = []
        for budget in BUDGETS:
            context = await sm.get_messages_for_llm(format=next(formats), recall=True, max_tokens=budget)
            text = "\n".join(_texts(context))
            assert await TokenUsage.count_tokens(text, MODEL) <= budget, "more tokens than were allowed"
            words = " ".join(text.split())
            found.append({turn.id for turn in talk.turns if _is_in(turn.text, words)})
        await sm.undo()
        return found

    yield inside


def _texts(context: Any) -> Iterable[str]:
    """All texts of a context, whatever its form."""
    if isinstance(context, str):
        yield context
    elif isinstance(context, dict):
        for key, value in context.items():
            if key not in {"role", "type", "name"}:
                yield from _texts(value)
    elif isinstance(context, list):
        for each in context:
            yield from _texts(each)


def _is_in(said: str, words: str) -> bool:
    """Whether a turn is in a context: all of it, or of a long one at least a sentence or a line."""
    if " ".join(said.split()) in words:
        return True
    pieces = [" ".join(piece.split()) for piece in re.split(r"\n|(?<=[.!?]) ", said)]
    return len(said) > 660 and any(len(piece) > 40 and piece in words for piece in pieces)


@asynccontextmanager
async def by_window(talk: Talk) -> AsyncIterator[Inside]:
    """The last turns that fit."""
    lengths = [await TokenUsage.count_tokens(turn.text, MODEL) for turn in talk.turns]

    async def inside(_: Question) -> list[set[str]]:
        found: list[set[str]] = []
        for budget in BUDGETS:
            room, kept = budget, set[str]()
            for turn, length in zip(reversed(talk.turns), reversed(lengths), strict=True):
                room -= length
                if room < 0:
                    break
                kept.add(turn.id)
            found.append(kept)
        return found

    yield inside


WAYS: dict[str, Callable[[Talk], Any]] = {
    "recall()": by_recall,
    "get_messages_for_llm(recall=True)": by_context,
    "a window: the last turns": by_window,
}


async def share(way: Callable[[Talk], Any], talks: Iterable[Talk]) -> dict[str, list[list[float]]]:
    """By kind of question: for each budget, each question's share of evidence that is inside."""
    shares: dict[str, list[list[float]]] = {}
    for talk in talks:
        async with way(talk) as inside:
            for question in talk.questions:
                by_budget = shares.setdefault(question.kind, [[] for _ in BUDGETS])
                for each, found in zip(by_budget, await inside(question), strict=True):
                    each.append(len(found & question.evidence) / len(question.evidence))
    return shares


def row(name: str, by_budget: list[list[float]]) -> str:
    """A line of the table."""
    return f"{name:<42}" + "".join(f"{statistics.mean(each):8.3f}" for each in by_budget)


async def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("files", nargs="+", type=Path)
    arguments.add_argument("--kinds", action="store_true", help="a line for each kind of question too")
    given = arguments.parse_args()
    for path in given.files:
        talks = talks_in(path)
        print(
            f"\n{path.name}\n{'share of evidence inside, at tokens':<42}"
            + "".join(f"{n:8,}" for n in BUDGETS)
        )
        for name, way in WAYS.items():
            shares = await share(way, talks)
            everything = [
                [each for kind in shares.values() for each in kind[at]] for at in range(len(BUDGETS))
            ]
            print(row(name, everything))
            for kind in sorted(shares) if given.kinds else ():
                print(row(f"  {kind} ({len(shares[kind][0])})", shares[kind]))


if __name__ == "__main__":
    asyncio.run(main())
