"""Recall over all conversations of a user."""

from __future__ import annotations

from ..accounts.tokens import DEFAULT_MODEL
from ..conversation.recall.excerpts import Recalled
from ..conversation.recall.finding import Finder
from ..conversation.recall.hooks import Embedder, Hooks, Reranker
from ..conversation.recall.languages import Stem
from ..exceptions.validation import check_count, check_name
from ..session_storage import event_store
from ..stores import SessionStore

_OPERATION = "recall_user"


async def recall_user(
    user_id: str,
    query: str,
    *,
    store: SessionStore | None = None,
    max_tokens: int = 2000,
    limit: int | None = None,
    model: str | None = None,
    embedder: Embedder | None = None,
    reranker: Reranker | None = None,
    stemmer: Stem | str | None = None,
) -> Recalled:
    """Find the turns in all conversations of a user that may answer a question; see `SessionManager.recall`.

    Only conversations with this `user_id` are searched, and only those in the store's sandbox.

    Args:
        user_id: the user.
        query: the question, in any language.
        store: the store of the conversations; by default the default store.
        max_tokens: the most tokens of the turns as dated excerpts.
        limit: the most turns.
        model: the model whose tokens `max_tokens` counts.
        embedder: as for `SessionManager`, like the next two arguments.
        reranker: puts the best passages in order.
        stemmer: gives the stems of words, or names the language.

    Raises:
        InvalidInput: the user or the query is empty, a number is below 1, or the store cannot list sessions.
        StorageError: the store failed.
    """
    check_name(user_id, "user_id", _OPERATION)
    check_name(query.strip() if isinstance(query, str) else query, "query", _OPERATION)
    check_count(max_tokens, 1, "max_tokens", _OPERATION)
    if limit is not None:
        check_count(limit, 1, "limit", _OPERATION)
    if model is not None:
        check_name(model, "model", _OPERATION)
    hooks = Hooks(embedder, reranker, stemmer)
    hooks.check(_OPERATION)
    finder = Finder(hooks)
    async with finder.index_of_user(user_id, event_store(store)) as index:
        return await finder.recalled(
            index, query, max_tokens=max_tokens, model=model or DEFAULT_MODEL, limit=limit
        )
