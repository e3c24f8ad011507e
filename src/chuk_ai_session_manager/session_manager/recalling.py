"""The method of `SessionManager` that finds earlier turns."""

from __future__ import annotations

from typing import Any

from ..accounts.tokens import DEFAULT_MODEL
from ..conversation.opening import Conversation
from ..conversation.recall.excerpts import Recalled
from ..conversation.recall.finding import Finder
from ..conversation.recall.tools import HistoryTools, asked_by, definitions
from ..conversation.writing import Writer
from ..exceptions import InvalidInput
from ..exceptions.validation import check_count, check_name
from ..providers.formats import Format

_NO_USER = "the conversation has no user, whose others could be searched: name the user_id, or claim it"


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
        async with self._finder.index(session, self._conversation.id, home) as index:
            return await self._finder.recalled(
                index, query, max_tokens=max_tokens, model=self._model or DEFAULT_MODEL, limit=limit
            )

    def tools(self, format: Format | None = None) -> list[dict[str, Any]]:  # noqa: A002  (as elsewhere)
        """The definitions of two tools with which a model looks up what was said earlier.

        `search_history(query)` gives the passages that match, dated and with event ids;
        `read_history(event_id, around, find)` gives one message or result in full, page by page. Send them
        with the call, beside your own tools: they are equal from call to call, to the byte. `run_tool` runs
        what the model asks of them.

        Args:
            format: for whom, as in `get_messages_for_llm`; by default as OpenAI's chat completions take them.

        Raises:
            InvalidInput: the format is unknown.
        """
        return definitions(format)

    async def run_tool(self, call: object, *, of_user: bool = False) -> str:
        """Run a model's call of one of the two tools; record what it gives as any tool's result.

        What a model asks wrongly (no query, an unknown event id) is told in the result, so that it can go on.

        Args:
            call: the call as its provider gave it, as a dict or its SDK's object; or a dict with `name` and
                `arguments`.
            of_user: search all conversations of this one's user in the store, and not only this one.

        Returns:
            What to give the model: some 4,000 tokens at most.

        Raises:
            InvalidInput: it is no call of one of these tools; or `of_user`, and there is no user.
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        name, arguments = asked_by(call)
        await self.writer.settle()
        home, session = await self._conversation.current(with_events=False)
        finder, model = self._finder, self._model or DEFAULT_MODEL
        if not of_user:
            searched = finder.index(session, self._conversation.id, home)
        elif session.user_id is None:
            raise InvalidInput("run a tool", _NO_USER)
        else:
            searched = finder.index_of_user(session.user_id, home)
        async with searched as index:
            return await HistoryTools(finder, index, home, model).run(name, arguments)
