"""How much of what answers a question is in the context, by its length: recall beside what others do.

    python benchmarks/recall.py FILE [FILE ...] [--kinds] [--times 1000 10000 100000]

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
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

from recall_peers import HAS_BM25S, by_bm25s, by_fts5, by_window
from recall_talks import BUDGETS, MODEL, Inside, Question, Talk, recorded, talks_in

from chuk_ai_session_manager import SessionManager, TokenUsage
from chuk_ai_session_manager.models import EventSource, Session, SessionEvent
from chuk_ai_session_manager.stores import open_store

FORMATS: tuple[Any, ...] = ("openai", "anthropic", "google", "openai-responses")  # in turns


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


WAYS: dict[str, Callable[[Talk], Any]] = {
    "recall()": by_recall,
    "get_messages_for_llm(recall=True)": by_context,
    "a window: the last turns": by_window,
    "FTS5 porter, words ORed": by_fts5,
}
if HAS_BM25S:
    WAYS["bm25s, the same words"] = by_bm25s


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


# -- tools ------------------------------------------------------------------------------------------

# Kinds of questions that ask for one fact, or for its newest version.
_FACTS = {"4", "information_extraction", "knowledge_update"}
_ID = re.compile(r"\(([0-9a-f-]{36})\) (.*)")


async def tools_share(talks: Iterable[Talk]) -> tuple[float, int]:
    """How often a scripted model has a turn that answers, after at most two calls of the tools.

    It searches for the question as it is; then it reads around the best hit, as far as words tell.
    """
    found: list[bool] = []
    for talk in talks:
        sm, turn_of = await recorded(talk)
        for question in talk.questions:
            if question.kind not in _FACTS:
                continue
            given = await sm.run_tool({"name": "search_history", "arguments": {"query": question.text}})
            hits = _ID.findall(given)
            seen = {turn_of[event_id] for event_id, _ in hits}
            if hits and not seen & question.evidence:
                words = set(re.findall(r"\w{4,}", question.text.lower()))
                best, _ = max(hits, key=lambda hit: len(words & set(re.findall(r"\w{4,}", hit[1].lower()))))
                arguments = {"event_id": best, "around": 10}
                more = await sm.run_tool({"name": "read_history", "arguments": arguments})
                seen |= {turn_of[event_id] for event_id, _ in _ID.findall(more)}
            found.append(bool(seen & question.evidence))
    return statistics.mean(found), len(found)


# -- time and memory ----------------------------------------------------------------------------------


async def fill(path: Path, texts: list[str], events: int) -> None:
    """Store a conversation of so many messages, made of some texts; each has words of its own."""
    async with open_store(f"sqlite:///{path}") as store:
        session = Session(id="long")
        await store.create(session)
        begun = datetime(2024, 1, 1, tzinfo=UTC)
        for at in range(0, events, 2_000):
            batch = [
                SessionEvent(
                    message=f"{texts[number * 7 % len(texts)]} item{number % 5_000}",
                    source=EventSource.LLM if number % 2 else EventSource.USER,
                    timestamp=begun + timedelta(minutes=7 * number),
                )
                for number in range(at, min(at + 2_000, events))
            ]
            await store.append(session, batch)


def resident() -> int:
    """How many bytes of memory this process has now, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def measure(path: str) -> None:
    """What recall takes in this process, which was just started: prints it as JSON."""
    sm = SessionManager("long", store=open_store(f"sqlite:///{path}"), model=MODEL, create=False)
    await TokenUsage.count_tokens("the vocabulary is loaded", MODEL)
    await sm.get_session_chain()
    before = resident()
    stalls: list[float] = []

    async def beat() -> None:
        while True:
            asked, worked = time.perf_counter(), time.process_time()
            await asyncio.sleep(0.001)
            # Of the time that passed, what this process worked: other processes hold it up too.
            stalls.append(min(time.perf_counter() - asked - 0.001, time.process_time() - worked))

    beating = asyncio.create_task(beat())
    started = time.perf_counter()
    await sm.recall("When did we talk of the sunrise at the lake?")
    first = time.perf_counter() - started
    later: list[float] = []
    for number in range(15):
        worked = time.process_time()
        await sm.recall(f"What about item{number * 31}, and where was the pottery class last week?")
        later.append(time.process_time() - worked)
    beating.cancel()
    grown = resident() - before
    figures = {
        "first": first,
        "later": statistics.median(later),
        "stall": max(stalls),
        "memory": grown / 1e6,
    }
    print(json.dumps(figures))


def times(path: Path, lengths: Iterable[int]) -> None:
    """Print what the first recall in a fresh process takes, and later ones, by the conversation's length."""
    texts = [turn.text for talk in talks_in(path) for turn in talk.turns]
    print(f"\n{'events':>10}{'first, s':>12}{'later, CPU ms':>15}{'stall, ms':>12}{'memory, MB':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for length in lengths:
            file = Path(folder) / f"{length}.db"
            asyncio.run(fill(file, texts, length))
            done = subprocess.run(  # noqa: S603  (this program)
                [sys.executable, __file__, "--measure", str(file)], capture_output=True, text=True, check=True
            )
            got = json.loads(done.stdout)
            print(
                f"{length:>10,}{got['first']:>12.2f}{got['later'] * 1000:>15.1f}{got['stall'] * 1000:>12.0f}"
                f"{got['memory']:>12.0f}"
            )


async def evidence(path: Path, *, kinds: bool) -> None:
    """Print how much of the evidence is inside, each way."""
    talks = talks_in(path)
    print(f"\n{path.name}\n{'share of evidence inside, at tokens':<42}" + "".join(f"{n:8,}" for n in BUDGETS))
    for name, way in WAYS.items():
        shares = await share(way, talks)
        everything = [[each for kind in shares.values() for each in kind[at]] for at in range(len(BUDGETS))]
        print(row(name, everything))
        for kind in sorted(shares) if kinds else ():
            print(row(f"  {kind} ({len(shares[kind][0])})", shares[kind]))
    found, count = await tools_share(talks)
    print(f"two tool calls find a turn that answers: {found:.3f} of {count} questions for a fact")


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("files", nargs="*", type=Path)
    arguments.add_argument("--kinds", action="store_true", help="a line for each kind of question too")
    arguments.add_argument("--times", type=int, nargs="+", metavar="EVENTS", help="time and memory too")
    arguments.add_argument("--measure", metavar="DB", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.measure:
        asyncio.run(measure(given.measure))
        return
    for path in given.files:
        asyncio.run(evidence(path, kinds=given.kinds))
    if given.times:
        times(given.files[0], given.times)


if __name__ == "__main__":
    main()
