"""What a context begins with: the system prompt, and what is told of the segments before the live one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...models import Session
from ...models.session import HomeStore
from ...providers.earlier import marked
from ...providers.messages import ChatMessage
from ..background import NO_BACKGROUND, Background, background_of
from ..billing import TOKENS_A_MESSAGE, LengthCache
from ..opening import Conversation
from ..summaries import Summarizer


class Beginning:
    """What goes before a conversation's messages: made once a segment, and counted once."""

    def __init__(self, conversation: Conversation, summarizer: Summarizer) -> None:
        self._conversation = conversation
        self._summarizer = summarizer
        self._lengths = LengthCache()
        # The live segment's id, and what it goes on from once that is final.
        self._known: tuple[str, Background] | None = None

    @property
    def rows(self) -> list[ChatMessage]:
        """What goes before all that was said: the system prompt, the only system message of ours."""
        prompt = self._conversation.system_prompt
        return [{"role": "system", "content": prompt}] if prompt and prompt.strip() else []

    async def length(self, home: HomeStore, session: Session[Any], model: str) -> int:
        """How long all is that goes before a segment's own messages, in a model's tokens.

        What goes around each message is counted too.
        """
        background = await self.background_of(home, session)
        texts = [row["content"] for row in self.rows]
        texts += [marked(str(background.notes))] if background.notes else []
        usages = [event.token_usage for event in background.start if event.token_usage]
        lengths = [await self._lengths.length(text, model) for text in texts]
        rows = len(self.rows) + len(background.start)  # the summary stands in a row of these
        length = sum(lengths) + sum(usage.total_tokens for usage in usages)
        return length + rows * TOKENS_A_MESSAGE

    async def background_of(self, home: HomeStore, session: Session[Any]) -> Background:
        """What a segment goes on from; what a closed one ends in stays, and is read once."""
        if not self._conversation.is_infinite or session.parent_id is None:
            return NO_BACKGROUND
        if self._known is not None and self._known[0] == session.id:
            return self._known[1]
        found = await background_of(session, home)
        background = replace(found, notes=await self._summarizer.within(found.notes))
        # A session without events may yet begin with an answer.
        if background.summary is not None and session.totals.events:
            self._known = session.id, background
        return background
