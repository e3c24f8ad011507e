"""Second thoughts: the part of `SessionManager` that lets a conversation go on from another place."""

from __future__ import annotations

from typing import Any

from ..conversation.second_thoughts import SecondThoughts
from ..exceptions.validation import check_name
from ..providers.parts import Content, check_content


class Rethinking:
    """The methods of `SessionManager` that change which of what was said holds.

    Nothing is removed: the log and the bill keep everything.
    """

    _second_thoughts: SecondThoughts
    _model: str | None

    async def undo(self) -> str:
        """Take back the user's last message, with all that came of it: the conversation goes on before it.

        It stays in the log and on the bill, but is in no context, conversation, summary and content total any
        more. Several calls at once, in whatever processes, each take back another exchange. What was said in
        earlier segments may be taken back too.

        Returns:
            The id of the message's event.

        Raises:
            InvalidInput: no message of the user is left; nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
        """
        return await self._second_thoughts.undo()

    async def edit(self, event_id: str, message: Content) -> str:
        """Say something else in a message's place, and go on from there.

        The new message is a variant of the old one, which stays with all that came of it: `choose` goes back.
        What goes with it (`name`, the application's metadata) is that of the old one.

        Args:
            event_id: what the user or a model said, such as `get_conversation(with_ids=True)` names it.
            message: a text, or parts as `user_says` takes them.

        Returns:
            The id of the new message's event.

        Raises:
            InvalidInput: the conversation has no such event, it is a tool's result or a system message, or
                the message is neither text nor parts; nothing was written.
            TokenLimitExceeded: the conversation would cross a limit of this manager; nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(event_id, "event_id", "edit")
        content = check_content(message, "message", "edit")
        return await self._second_thoughts.edit(event_id, content, self._model)

    async def regenerate(self, event_id: str) -> None:
        """Go on before an answer, so that a model is asked again: its answer is a variant of this one.

        Ask it with `get_messages_for_llm`, and record what it answers with `ai_responds`.

        Args:
            event_id: the answer's event, such as `get_conversation(with_ids=True)` names it.

        Raises:
            InvalidInput: the conversation has no such event, or no model said it; nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(event_id, "event_id", "regenerate")
        await self._second_thoughts.regenerate(event_id)

    async def variants(self, event_id: str) -> list[dict[str, Any]]:
        """All that was said in a message's place, in the order in which it was said: for "2 of 3".

        Returns:
            Rows as `get_conversation(with_ids=True, include_tools=True)` gives them; `is_chosen` is true of
            the one that holds. Of a message that was never edited or asked for again: that one.

        Raises:
            InvalidInput: the conversation has no such message.
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        check_name(event_id, "event_id", "variants")
        return await self._second_thoughts.variants(event_id)

    async def choose(self, event_id: str) -> None:
        """Go back to a variant of a message on the path, with all that came of it when it last held.

        Contexts are then what they were. A message that was undone, or retracted, can be chosen again too.

        Args:
            event_id: the variant's event, such as `variants` names it. One that holds stays chosen.

        Raises:
            InvalidInput: the conversation has no such message, or it is no variant of one on the path;
                nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(event_id, "event_id", "choose")
        await self._second_thoughts.choose(event_id)

    async def retract(self, event_id: str) -> None:
        """Take one message out of what holds, wherever it stands; with a model's tool calls go their results.

        Args:
            event_id: the message's event, such as `get_conversation(with_ids=True)` names it.

        Raises:
            InvalidInput: the conversation has no such event, or it does not hold; nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(event_id, "event_id", "retract")
        await self._second_thoughts.retract(event_id)

    async def clear(self) -> None:
        """Begin anew: nothing that was said so far holds any more. It stays in the log and on the bill.

        Raises:
            SessionNotFound, StorageError: as for `user_says`.
        """
        await self._second_thoughts.clear()
