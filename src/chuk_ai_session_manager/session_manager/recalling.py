"""The methods of `SessionManager` that find earlier messages."""

from __future__ import annotations

from typing import Any

from ..accounts.tokens import DEFAULT_MODEL
from ..conversation.opening import Conversation
from ..conversation.recall.excerpts import Recalled
from ..conversation.recall.finding import Finder
from ..conversation.recall.tools import HistoryTools, asked_by, definitions
from ..conversation.writing import Writer
from ..exceptions import InvalidInput
from ..exceptions.validation import check_count, check_flag, check_name
from ..providers.formats import Format

_NO_USER = "of_user=True needs a conversation with a user: set user_id, or claim the conversation for a user"


class Recalling:
    """The methods of `SessionManager` that find earlier messages."""

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
            limit: the most turns.

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
        """Return the definitions of two tools with which a model searches the earlier conversation.

        `search_history(query)` returns the passages that match, with dates and event ids;
        `read_history(event_id, around, find)` returns one message or result in full, page by page. Send the
        definitions beside those of your own tools; they are the same bytes at every call. `run_tool` runs the
        model's calls of these tools.

        Args:
            format: the provider's format, as in `get_messages_for_llm`; by default that of OpenAI's chat
                completions.

        Raises:
            InvalidInput: the format is unknown.
        """
        return definitions(format)

    async def run_tool(self, call: object, *, of_user: bool = False) -> str:
        """Run a model's call of one of the two tools. Record the result like that of any other tool.

        If the model's call is wrong (it has no query, or an unknown event id), the result says so, and the
        model can try again.

        Args:
            call: the call as the provider returned it, as a dict or as an object of the SDK; or a dict with
                `name` and `arguments`.
            of_user: whether to search all conversations of this conversation's user in the store.

        Returns:
            The text for the model: about 4,000 tokens at most.

        Raises:
            InvalidInput: the call is not one of these tools'; or `of_user` is not `True` or `False`, or is
                `True` although the conversation has no user.
            SessionNotFound: the session does not exist.
            StorageError: the store failed.
        """
        check_flag(of_user, "of_user", "run a tool")
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
