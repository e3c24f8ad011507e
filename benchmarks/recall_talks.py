"""Conversations with questions and the turns that answer them, recorded through the public API."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import time_machine

from chuk_ai_session_manager import SessionManager

BUDGETS = (1_000, 2_000, 4_000, 8_000)
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


Inside: TypeAlias = Callable[[Question], Awaitable[list[set[str]]]]
"""Gives the turns that are inside what a question gets, for each of the budgets."""
