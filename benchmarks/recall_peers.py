"""What others find in the same talks: SQLite's FTS5, and bm25s where that is installed."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from recall_talks import BUDGETS, MODEL, Inside, Question, Talk

from chuk_ai_session_manager import TokenUsage
from chuk_ai_session_manager.conversation.recall.words import Words

HAS_BM25S = find_spec("bm25s") is not None


async def _lengths(talk: Talk) -> list[int]:
    return [await TokenUsage.count_tokens(f"{turn.speaker}: {turn.text}\n", MODEL) for turn in talk.turns]


def _filled(talk: Talk, lengths: Sequence[int], ranked: Iterable[int]) -> list[set[str]]:
    """The best turns that fit; a turn that does not is passed over."""
    found: list[set[str]] = []
    order = list(ranked)
    for budget in BUDGETS:
        room, kept = budget, set[str]()
        for at in order:
            if lengths[at] <= room:
                room -= lengths[at]
                kept.add(talk.turns[at].id)
        found.append(kept)
    return found


@asynccontextmanager
async def by_window(talk: Talk) -> AsyncIterator[Inside]:
    """The last turns."""
    lengths = await _lengths(talk)
    last = list(reversed(range(len(talk.turns))))
    filled: list[set[str]] = []
    for budget in BUDGETS:
        room, kept = budget, set[str]()
        for at in last:
            room -= lengths[at]
            if room < 0:
                break
            kept.add(talk.turns[at].id)
        filled.append(kept)

    async def inside(_: Question) -> list[set[str]]:
        return filled

    yield inside


@asynccontextmanager
async def by_fts5(talk: Talk) -> AsyncIterator[Inside]:
    """FTS5 with `porter`, the question's words ORed: as good as it gets without code of one's own."""
    lengths = await _lengths(talk)
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE turns USING fts5(text, tokenize = 'porter unicode61')")
    db.executemany(
        "INSERT INTO turns (rowid, text) VALUES (?, ?)",
        ((at, f"{turn.speaker} {turn.text}") for at, turn in enumerate(talk.turns)),
    )

    async def inside(question: Question) -> list[set[str]]:
        words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", question.text))
        found = db.execute("SELECT rowid FROM turns WHERE turns MATCH ? ORDER BY rank", (words,))
        return _filled(talk, lengths, (at for (at,) in found.fetchall()))

    yield inside
    db.close()


@asynccontextmanager
async def by_bm25s(talk: Talk) -> AsyncIterator[Inside]:
    """bm25s, with this project's words."""
    bm25s: Any = import_module("bm25s")
    lengths, words = await _lengths(talk), Words()
    index = bm25s.BM25(k1=1.2, b=0.75)
    terms_of = [words.terms_and_language(f"{turn.speaker} {turn.text}")[0] for turn in talk.turns]
    index.index(terms_of, show_progress=False)

    async def inside(question: Question) -> list[set[str]]:
        terms = words.question_terms(question.text, ["english"])
        found, _ = index.retrieve([terms], k=len(talk.turns), show_progress=False)
        return _filled(talk, lengths, map(int, found[0]))

    yield inside
