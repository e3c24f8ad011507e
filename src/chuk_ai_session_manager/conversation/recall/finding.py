"""Finding the turns that answer a question: in one conversation, or in all of a user's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime

from ...models.home import HomeStore
from ...models.record import utc_now
from ...stores.base import AnySession
from .excerpts import Excerpt, Recalled, chosen, fitting
from .hooks import Hooks, nearness, reranked
from .index import Index
from .keeping import is_large, kept, off_the_loop
from .ranking import ranked
from .words import searched_part

# So many passages are looked at, and one more for each eight tokens that are wanted.
_LOOKED_AT = 200


class Finder:
    """Finds earlier turns.

    Args:
        hooks: what the application brings.
    """

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks
        self._words = hooks.words()

    @asynccontextmanager
    async def index(self, live: AnySession, conversation_id: str, home: HomeStore) -> AsyncIterator[Index]:
        """The index of a conversation, with all that is stored by now.

        Args:
            live: the conversation's last segment.
            conversation_id: its id for life.
            home: where it is.

        Raises:
            SessionNotFound: the conversation expired or was deleted.
            StorageError: the store could not say.
        """
        async with kept.of(conversation_id, home, self._words).current(live, home) as index:
            yield index
        kept.bound()

    async def recall(
        self,
        live: AnySession,
        conversation_id: str,
        home: HomeStore,
        question: str,
        *,
        max_tokens: int,
        model: str,
        limit: int | None = None,
        now: datetime | None = None,
    ) -> Recalled:
        """The turns of a conversation that may answer a question.

        Args:
            live: the conversation's last segment.
            conversation_id: its id for life.
            home: where it is.
            question: any text.
            max_tokens: what they may come to, as dated excerpts.
            model: whose tokens those are.
            limit: at most so many turns.
            now: when it is asked: what "last Tuesday" is counted from.

        Raises:
            SessionNotFound: the conversation expired or was deleted.
            StorageError: the store could not say.
        """
        async with self.index(live, conversation_id, home) as index:
            excerpts = await self.excerpts(
                index, question, max_tokens=max_tokens, model=model, limit=limit, now=now
            )
            return await fitting(index, excerpts, max_tokens, model)

    async def excerpts(
        self,
        index: Index,
        question: str,
        *,
        max_tokens: int,
        model: str,
        limit: int | None = None,
        now: datetime | None = None,
        without: Collection[str] = (),
    ) -> list[Excerpt]:
        """What is shown of the turns that answer a question best, the best one first."""
        asked = searched_part(question)
        day = (now or utc_now()).date()
        embedder, reranker = self.hooks.embedder, self.hooks.reranker
        added = {} if embedder is None else await nearness(index, asked, embedder)
        at_hand = {number for each in without if (number := index.number_of.get(each)) is not None}
        most = _LOOKED_AT + max_tokens // 8
        candidates = await off_the_loop(
            is_large(index),
            lambda: ranked(index, asked, day, most, added=added, without=at_hand, by_cost=limit is None),
        )
        if reranker is not None:
            candidates = await reranked(index, asked, candidates, reranker)
        return await chosen(index, candidates, max_tokens, model=model, limit=limit, without=at_hand)
