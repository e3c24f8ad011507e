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
from .logs import ConversationLogs, UserLogs
from .ranking import ranked
from .words import searched_part

# This many passages are looked at, and one more for each eight tokens that are asked for.
_LOOKED_AT = 200


class Finder:
    """Finds earlier turns.

    Args:
        hooks: the application's functions.
    """

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks
        self._words = hooks.words()

    @asynccontextmanager
    async def index(self, live: AnySession, conversation_id: str, home: HomeStore) -> AsyncIterator[Index]:
        """The index of a conversation, up to date with the store.

        Args:
            live: the conversation's last segment.
            conversation_id: the id that the conversation keeps for life.
            home: the store of the conversation.

        Raises:
            SessionNotFound: the conversation expired or was deleted.
            StorageError: the store failed.
        """
        logs = ConversationLogs(live, home)
        async with kept.of(f"conversation {conversation_id}", home, self._words).current(
            logs.read, home, live
        ) as index:
            yield index
        kept.bound()

    @asynccontextmanager
    async def index_of_user(self, user_id: str | None, home: HomeStore) -> AsyncIterator[Index]:
        """The index of all conversations of a user, or of all users, in the store's sandbox.

        Raises:
            InvalidInput: the store cannot list its sessions.
            StorageError: the store failed.
        """
        logs = UserLogs(user_id, home)
        key = "all" if user_id is None else f"user {user_id}"
        async with kept.of(key, home, self._words).current(logs.read, home) as index:
            yield index
        kept.bound()

    async def recalled(
        self, index: Index, question: str, *, max_tokens: int, model: str, limit: int | None = None
    ) -> Recalled:
        """The turns that may answer a question, as dated excerpts of at most so many tokens."""
        excerpts = await self.excerpts(index, question, max_tokens=max_tokens, model=model, limit=limit)
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
        around_turn: int = 0,
    ) -> list[Excerpt]:
        """Excerpts of the turns that answer a question best, the best one first.

        Args:
            index: the turns.
            question: any text.
            max_tokens: the most tokens of all excerpts.
            model: the model whose tokens are counted.
            limit: the most turns.
            now: the time of the question, from which "last Tuesday" is counted.
            without: the ids of events to leave out, because the context shows them already.
            around_turn: tokens that each turn takes besides.
        """
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
        return await chosen(
            index, candidates, max_tokens, model=model, limit=limit, without=at_hand, around_turn=around_turn
        )
