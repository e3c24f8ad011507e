"""How a context begins: with the system prompt, and with the background from the earlier segments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from ...models import EventType, Session
from ...models.amounts import tokens_in
from ...models.event_page import tokens_of
from ...models.home import HomeStore
from ...models.session import next_segment_id
from ...providers.earlier import marked
from ...providers.messages import ChatMessage
from ..background import NO_BACKGROUND, Background, background_of
from ..billing import TOKENS_A_MESSAGE, LengthCache
from ..notes import Notes
from ..opening import Conversation
from ..summaries import Summarizer

# The backgrounds of this many segments are kept in memory.
_KEPT = 4
_ValueT = TypeVar("_ValueT")


class Length(NamedTuple):
    """How long a part of a conversation is."""

    tokens: int
    """Content tokens."""
    messages: int
    tool_calls: int


class Beginning:
    """The part of a context before the conversation's messages: made and counted once for each segment."""

    def __init__(self, conversation: Conversation, summarizer: Summarizer) -> None:
        self._conversation = conversation
        self._summarizer = summarizer
        self._lengths = LengthCache()
        self._in_words: tuple[Notes, str] | None = None
        # Final backgrounds of segments: of the newest one, and of the one in which a long tool loop began.
        self._known: dict[str, Background] = {}
        self._told: dict[str, Notes] = {}
        """The notes on earlier segments in the last context, by the live segment's id; not final yet."""
        self._shown: dict[str, Notes] = {}
        """The same notes, once a model's answer to such a context was recorded."""
        self._rewritten = 0

    @property
    def rows(self) -> list[ChatMessage]:
        """The rows before all messages: the system prompt, which is the only system message that we add."""
        prompt = self._conversation.system_prompt
        return [{"role": "system", "content": prompt}] if prompt and prompt.strip() else []

    def is_empty(self, session: Session[Any]) -> bool:
        """Whether a segment's context begins with its messages."""
        return not (self._conversation.system_prompt or self._has_background(session))

    async def length(self, home: HomeStore, session: Session[Any], model: str) -> int:
        """How many tokens everything before a segment's own messages has, as a model counts them.

        The tokens around each message are included.
        """
        background = await self.background_of(home, session) if self._has_background(session) else None
        length = 0
        for row in self.rows:
            length += await self._lengths.length(row["content"], model) + TOKENS_A_MESSAGE
        if background is None:
            return length
        if background.told:  # it is written into the first message that follows
            length += await self._lengths.length(self._as_told(background.told), model)
        for event in background.start:
            length += tokens_in(event) + TOKENS_A_MESSAGE
        return length

    def _as_told(self, notes: Notes) -> str:
        """The notes as a context contains them: written once, not for every answer."""
        if self._in_words is None or self._in_words[0] is not notes:
            self._in_words = notes, marked(str(notes))
        return self._in_words[1]

    async def held_length(self, home: HomeStore, session: Session[Any]) -> Length:
        """How long the part of a segment is that stands behind its background."""
        totals = session.totals
        held = (await self.background_of(home, session)).held if totals.choices else None
        if held is None:
            tokens = session.token_summary.total_tokens - totals.tokens_off_path
            return Length(max(0, tokens), totals.messages, totals.tool_calls)
        kinds = [event.type for event in held]
        return Length(tokens_of(held), kinds.count(EventType.MESSAGE), kinds.count(EventType.TOOL_CALL))

    async def background_of(self, home: HomeStore, session: Session[Any]) -> Background:
        """The background of a segment. Once the segments before it are final, the background is read once."""
        if not self._has_background(session):
            return NO_BACKGROUND
        self._forget_rewritten(session)
        if session.id in self._known and not session.totals.choices:
            return self._known[session.id]
        found = await background_of(session, home)
        notes = await self._summarizer.within(found.notes)
        goes_before = session.id if found.held is None else found.segment_id
        shown = found.shown if goes_before is None else self._shown.get(goes_before, found.shown)
        background = replace(found, notes=notes, shown=shown)
        # A session without events may still get an answer as its first event.
        if background.summary is not None and session.totals.events and background.held is None:
            _keep(self._known, session.id, background)
        return background

    def _forget_rewritten(self, session: Session[Any]) -> None:
        """Forget the notes on closed segments after parts of these were erased or redacted."""
        if session.metadata.rewritten != self._rewritten:
            self._rewritten = session.metadata.rewritten
            for kept in (self._known, self._told, self._shown):
                kept.clear()

    def _has_background(self, session: Session[Any]) -> bool:
        return self._conversation.is_infinite and session.parent_id is not None

    async def told(self, home: HomeStore, session: Session[Any]) -> Background:
        """The background for a context that is handed out: its notes are kept until the answer."""
        background = await self.background_of(home, session)
        is_final = background.summary is not None or background.held is not None
        if not is_final and background.notes and background.shown is None:
            _keep(self._told, session.id, background.notes)
        else:
            self._told.pop(session.id, None)
        return background

    def was_sent(self) -> None:
        """Record that a model answered the last context: from now on, its notes on earlier segments stay."""
        while self._told:
            segment_id, notes = self._told.popitem()
            self._known.pop(segment_id, None)
            _keep(self._shown, segment_id, notes)

    def shown_after(self, segment_id: str) -> Notes | None:
        """The notes on a segment, and on all before it, that contexts showed before its summary was ready."""
        return self._shown.get(next_segment_id(segment_id))


def _keep(kept: dict[str, _ValueT], segment_id: str, value: _ValueT) -> None:
    while len(kept) >= _KEPT:
        kept.pop(next(iter(kept)), None)
    kept[segment_id] = value
