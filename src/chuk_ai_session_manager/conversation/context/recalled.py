"""Recall in a context: excerpts of earlier turns, in front of the question for which they were recalled.

Excerpts stay where they were shown: once the question is answered, an event beside it names them, and later
contexts show the same bytes in the same place until the window's start moves past the question.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ...models import EventSource, TokenUsage
from ...models.home import HomeStore
from ...providers.context_rows import ORIGIN
from ...providers.earlier import marked_excerpts, with_excerpts
from ...providers.messages import ChatMessage
from ...stores.base import AnyEvent, AnySession
from ..path import is_question
from ..recall.excerpts import Excerpt, told
from ..recall.finding import Finder
from ..recall.index import Index
from ..recall.shown import Shown, fingerprint_of, shown_in
from ..recall.turns import words_of
from .lengths import Length
from .wanted import Wanted

# How many tokens of excerpts a context without a limit gets.
_TOKENS = 2_000
# An excerpt with fewer tokens than this says nothing.
_LEAST = 12


@dataclass(slots=True, eq=False)
class Excerpts:
    """The excerpts of one context.

    Args:
        finder: finds turns.
        conversation_id: the id that the conversation keeps for life.
        live: the conversation's last segment.
        home: the store of the conversation.
        waiting: the excerpts shown beside questions that have no answer yet, by the question's id.
        wanted: the arguments with which the context was asked for.
    """

    finder: Finder
    conversation_id: str
    live: AnySession
    home: HomeStore
    waiting: dict[str, Shown]
    wanted: Wanted
    question: AnyEvent | None = None
    """The user's newest message."""
    is_new: bool = False
    """Whether turns are to be recalled for the question now."""
    tokens: int = 0
    """How many tokens the excerpts have that stand beside the question already."""
    _asked: str = ""
    _query: str = ""
    _now: datetime | None = None
    _kept: Shown | None = None
    _texts: dict[Shown, str] = field(default_factory=dict)
    _missing: list[Shown] = field(default_factory=list)

    async def ask(self, question: AnyEvent | None, events: Sequence[AnyEvent], *, in_loop: bool) -> None:
        """Set the question for which turns are recalled, and find the excerpts that it has already.

        Args:
            question: the user's newest message.
            events: the newest events of the log, back to the question.
            in_loop: whether a tool loop is running for the question: then nothing more is recalled for it.
        """
        self.question = question
        if question is None:
            return
        if in_loop:
            self._kept = _shown_beside(events).get(question.id)
        else:
            self._set_query(question)
            shown = [each for event in events if (each := shown_in(event)) is not None]
            shown += self.waiting.values()
            same = [each for each in shown if (each.question_id, each.asked) == (question.id, self._asked)]
            self._kept = same[-1] if same else None
            self.is_new = bool(self._query.strip()) and not same
        if self._kept is not None:
            await self._read([self._kept])
            self.tokens = await TokenUsage.count_tokens(self._texts[self._kept], self.wanted.counted_model)

    def rest_of(self, tokens: int) -> int:
        """How many of a context's tokens the newest exchanges get: a twelfth, or all that recall leaves.

        The newest exchange is there in any case. More of the others would take the place of what was
        asked for.
        """
        wanted = self.wanted.recall_tokens
        return tokens // 12 if wanted is None else max(tokens // 12, tokens - wanted)

    def leave_out(self) -> None:
        """Recall nothing, because the newest exchange leaves no room."""
        self._kept, self.is_new, self.tokens = None, False, 0

    def _set_query(self, question: AnyEvent) -> None:
        recall = self.wanted.recall
        self._query = recall if isinstance(recall, str) else words_of(question.message)
        self._now = None if isinstance(recall, str) else question.timestamp
        self._asked = fingerprint_of(self._query, self.wanted.max_tokens, self.wanted.recall_tokens)

    # -- of earlier questions ----------------------------------------------------------------------

    def are_in(self, events: Sequence[AnyEvent]) -> bool:
        """Whether the rows of these events have excerpts, or are to get some."""
        return self.wanted.recalls or any(map(shown_in, events))

    def in_rows(self, rows: list[ChatMessage], events: Sequence[AnyEvent]) -> list[ChatMessage]:
        """Add to rows the excerpts that were shown when their questions were answered.

        The newest question gets its excerpts last (`finished`), because the window is cut without them.
        """
        beside = _shown_beside(events)
        if self.question is not None:
            beside.pop(self.question.id, None)
        found: list[ChatMessage] = []
        for row in rows:
            shown = beside.get(row[ORIGIN].event_id) if ORIGIN in row and row["role"] == "user" else None
            if shown is not None and shown not in self._texts:
                self._missing.append(shown)
            text = "" if shown is None else self._texts.get(shown, "")
            found.append(with_excerpts(row, text) if text else row)
        return found

    async def were_read(self) -> bool:
        """Read the excerpts that were missing when rows were made; return whether there were any."""
        missing, self._missing = self._missing, []
        await self._read(missing)
        return bool(missing)

    async def _read(self, wanted: Sequence[Shown]) -> None:
        if not wanted:
            return
        async with self.finder.index(self.live, self.conversation_id, self.home) as index:
            for shown in wanted:
                text = shown.text(index)
                self._texts[shown] = marked_excerpts(text) if text else ""

    # -- of the newest question ----------------------------------------------------------------------

    async def finished(
        self,
        rows: list[ChatMessage],
        events: Sequence[AnyEvent],
        others: Collection[str],
        room: int | None,
        length: Length,
    ) -> list[ChatMessage]:
        """Add to rows the excerpts of the newest question: those that it has already, or new ones.

        Args:
            rows: the rows of the context, cut to the room that is left for them.
            events: the events of these rows.
            others: the ids of other events that the context shows.
            room: how many tokens the rows may have together; `None` for any number.
            length: measures a row, in tokens.
        """
        at = self._place(rows)
        if at is None:
            return rows
        if self._kept is not None:
            text = self._texts[self._kept]
            return [*rows[:at], with_excerpts(rows[at], text), *rows[at + 1 :]] if text else rows
        if not self.is_new or self.question is None:
            return rows
        self.waiting.pop(self.question.id, None)
        taken = sum([await length(row) for row in rows])
        budget = _TOKENS if room is None else room - taken
        if self.wanted.recall_tokens is not None:
            budget = min(budget, self.wanted.recall_tokens)
        marks = await TokenUsage.count_tokens(marked_excerpts(""), self.wanted.counted_model)
        if budget - marks < _LEAST:
            return rows
        there = {event.id for event in events} | set(others) | self._ids_shown_in(rows, events)
        async with self.finder.index(self.live, self.conversation_id, self.home) as index:
            found = await self.finder.excerpts(
                index,
                self._query,
                max_tokens=budget - marks,
                model=self.wanted.counted_model,
                now=self._now,
                without=there,
            )
            return await self._with_fitting(rows, at, index, found, room, length)

    async def _with_fitting(
        self,
        rows: list[ChatMessage],
        at: int,
        index: Index,
        found: list[Excerpt],
        room: int | None,
        length: Length,
    ) -> list[ChatMessage]:
        """Rows with as many excerpts as fit: joined texts can have more tokens than the texts have alone."""
        others = sum([await length(row) for number, row in enumerate(rows) if number != at])
        while found and self.question is not None:
            row = with_excerpts(rows[at], marked_excerpts(told(index, found)))
            if room is None or others + await length(row) <= room:
                self.waiting[self.question.id] = Shown.of(self.question.id, self._asked, index, found)
                return [*rows[:at], row, *rows[at + 1 :]]
            found = found[:-1]
        return rows

    def _place(self, rows: Sequence[ChatMessage]) -> int | None:
        """The position of the newest question's row."""
        if self.question is None:
            return None
        found = [
            at
            for at, row in enumerate(rows)
            if ORIGIN in row and row["role"] == "user" and row[ORIGIN].event_id == self.question.id
        ]
        return found[0] if found else None

    def _ids_shown_in(self, rows: Sequence[ChatMessage], events: Sequence[AnyEvent]) -> set[str]:
        """The ids of the events that the rows show as excerpts beside earlier questions."""
        ids = {row[ORIGIN].event_id for row in rows if ORIGIN in row}
        beside = _shown_beside(events)
        return {event_id for each in ids if (shown := beside.get(each)) for event_id, _ in shown.excerpts}


def _shown_beside(events: Sequence[AnyEvent]) -> dict[str, Shown]:
    """What was shown beside questions: of several, what the answer that holds was given.

    That stands right after the answer. A question that was asked again, with other excerpts, has several.
    """
    found: dict[str, Shown] = {}
    is_answered: set[str] = set()
    is_settled: set[str] = set()
    newest = ""
    for event in events:
        shown = shown_in(event)
        if shown is not None:
            if shown.question_id not in is_settled:
                found[shown.question_id] = shown
            is_settled |= {shown.question_id} & is_answered
        elif is_question(event):
            newest = event.id
        elif event.source == EventSource.LLM:
            is_answered.add(newest)
    return found
