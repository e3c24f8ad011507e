"""The method of `SessionManager` that finds earlier turns."""

from __future__ import annotations

from ..accounts.tokens import DEFAULT_MODEL
from ..conversation.opening import Conversation
from ..conversation.recall.excerpts import Recalled
from ..conversation.recall.finding import Finder
from ..conversation.writing import Writer
from ..exceptions.validation import check_count, check_name


class Recalling:
    """The method of `SessionManager` that finds earlier messages."""

    writer: Writer
    _conversation: Conversation
    _finder: Finder
    _model: str | None

    async def recall(self, query: str, *, max_tokens: int = 2000, limit: int | None = None) -> Recalled:
        """Return the earlier turns that may answer a question, from all segments, without asking a model.

        The first recall of a conversation in a process reads its log; later ones read only what any process
        appended since. Messages that were taken back or erased are not found.

        Args:
            query: the question, in any language, without special syntax; "last Tuesday" is relative to now.
            max_tokens: the most tokens of the turns as dated excerpts (`Recalled.text`), counted for this
                manager's model. The default is a quarter of a small context.
            limit: at most so many turns.

        Returns:
            The turns, the best one first: `event_id`, `session_id`, `time`, `speaker`, `text` and `score`.
            The text of a long turn has only the passages that matter. If nothing matches, there are no turns.

        Raises:
            InvalidInput: the query is not a text, or is empty; or a number is below 1.
            SessionNotFound: the session does not exist.
            StorageError: the store failed.
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
