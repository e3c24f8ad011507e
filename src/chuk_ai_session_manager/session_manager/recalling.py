"""Recall: the part of `SessionManager` that finds earlier turns."""

from __future__ import annotations

from ..accounts.tokens import DEFAULT_MODEL
from ..conversation.opening import Conversation
from ..conversation.recall.excerpts import Recalled
from ..conversation.recall.finding import Finder
from ..conversation.writing import Writer
from ..exceptions.validation import check_count, check_name


class Recalling:
    """The methods of `SessionManager` that find what was said earlier."""

    writer: Writer
    _conversation: Conversation
    _finder: Finder
    _model: str | None

    async def recall(self, query: str, *, max_tokens: int = 2000, limit: int | None = None) -> Recalled:
        """The earlier turns that may answer a question: of all segments, found by words, without a model.

        The first recall of a conversation in a process reads it; later ones read what was appended since, by
        whatever process. What was taken back or erased is not found.

        Args:
            query: the question, in any language; "last Tuesday" is counted from now. It is no query syntax.
            max_tokens: what the turns may come to, as dated excerpts (`Recalled.text`), in tokens of this
                manager's model. By default a quarter of a small context.
            limit: at most so many turns.

        Returns:
            The turns, the best one first: `event_id`, `session_id`, `time`, `speaker`, `text` and `score`.
            Of a long turn, the passages that matter. None where nothing matches.

        Raises:
            InvalidInput: the query is no text, or empty; or a number below 1.
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        operation = "recall"
        check_name(query.strip() if isinstance(query, str) else query, "query", operation)
        check_count(max_tokens, 1, "max_tokens", operation)
        if limit is not None:
            check_count(limit, 1, "limit", operation)
        await self.writer.settle()
        home, session = await self._conversation.current(with_events=False)
        return await self._finder.recall(
            session,
            self._conversation.id,
            home,
            query,
            max_tokens=max_tokens,
            model=self._model or DEFAULT_MODEL,
            limit=limit,
        )
