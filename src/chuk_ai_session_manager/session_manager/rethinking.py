"""The methods of `SessionManager` that change the path: undo, edit, regenerate, choose."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..conversation.absent import with_all_bytes
from ..conversation.redacting import Redacting
from ..conversation.second_thoughts import SecondThoughts
from ..conversation.unsendable import LARGEST
from ..conversation.writing import Writer
from ..exceptions.validation import check_count, check_name
from ..providers.parts import Content, check_content
from ..stores.receipts import ErasureReceipt


class Rethinking:
    """The methods of `SessionManager` that choose which messages are on the conversation's path.

    They remove nothing: the log and the bill keep everything. Only `redact` removes words for good.
    """

    _second_thoughts: SecondThoughts
    _redacting: Redacting
    writer: Writer
    _model: str | None

    async def undo(self) -> str:
        """Take back the user's last message, and everything that followed it.

        The messages stay in the log and on the bill, but leave contexts, conversation, summaries and content
        totals. Several calls at once, in any processes, each take back another exchange. Messages of earlier
        segments can be taken back too.

        Returns:
            The event id of the user's message.

        Raises:
            InvalidInput: no user message is left; nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
        """
        return await self._second_thoughts.undo()

    async def edit(self, event_id: str, message: Content) -> str:
        """Replace a message, and continue the conversation from there.

        The new message is a variant of the old one. The old one, with everything that followed it, can be
        chosen again with `choose`. The new message keeps the old one's `name` and the application's metadata;
        if the old one is pinned, so is the new one.

        Args:
            event_id: a message of the user or of a model, from `get_conversation(with_ids=True)`.
            message: a text, or parts as for `user_says`.

        Returns:
            The new message's event id.

        Raises:
            InvalidInput: the conversation has no such event, the event is a tool's result or a system
                message, or the new message is neither a text nor parts; nothing was written.
            TokenLimitExceeded: the conversation would exceed a limit of this manager, or pinned messages
                would have more than half of it; nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(event_id, "event_id", "edit")
        content = check_content(message, "message", "edit")
        return await self._second_thoughts.edit(event_id, content, self._model)

    async def regenerate(self, event_id: str) -> None:
        """Continue before an answer, so that a model can give another one: a variant of this answer.

        Call the model with `get_messages_for_llm`, and record the new answer with `ai_responds`.

        Args:
            event_id: the answer's event id, from `get_conversation(with_ids=True)`.

        Raises:
            InvalidInput: the conversation has no such event, or it is not a model's; nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(event_id, "event_id", "regenerate")
        await self._second_thoughts.regenerate(event_id)

    async def variants(self, event_id: str) -> list[dict[str, Any]]:
        """Return all variants of a message, in the order in which they were recorded: for "2 of 3".

        Returns:
            Rows as from `get_conversation(with_ids=True, include_tools=True)`; `is_chosen` is true for the
            variant that is on the path. A message without other variants is returned alone.

        Raises:
            InvalidInput: the conversation has no such message.
            SessionNotFound: the session does not exist.
            StorageError: the store failed.
        """
        check_name(event_id, "event_id", "variants")
        return await with_all_bytes(lambda: self._second_thoughts.variants(event_id))

    async def choose(self, event_id: str) -> None:
        """Return to a variant of a message, and to everything that followed it when it was last on the path.

        Contexts are then the same as before. A message that was undone or retracted can be chosen too.

        Args:
            event_id: the variant's event id, from `variants`. If it is on the path already, nothing changes.

        Raises:
            InvalidInput: the conversation has no such message, or the message is not a variant of one on the
                path; nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(event_id, "event_id", "choose")
        await self._second_thoughts.choose(event_id)

    async def retract(self, event_id: str) -> None:
        """Take one message off the path, wherever it stands. If it calls tools, their results go with it.

        Args:
            event_id: the message's event id, from `get_conversation(with_ids=True)`.

        Raises:
            InvalidInput: the conversation has no such event, or it is not on the path; nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(event_id, "event_id", "retract")
        await self._second_thoughts.retract(event_id)

    async def find_unsendable(self, *, largest: int = LARGEST) -> list[dict[str, Any]]:
        """Find what the next context would contain that no provider accepts.

        That is: a message or a tool's result that is too large, and images, audio and files whose data is
        not base64.

        Args:
            largest: the most tokens of one message or result; by default the whole context window of many
                models.

        Returns:
            A dict for each message or result, the oldest first: its `event_id`, `what` it is, and the
            `reason`. None of them contains any of the content.

        Raises:
            InvalidInput: `largest` is below 1.
            SessionNotFound: the session does not exist.
            StorageError: the store failed.
        """
        check_count(largest, 1, "largest", "find what cannot be sent")
        return [asdict(fault) for fault in await self._second_thoughts.faults(largest)]

    async def set_aside(self, event_id: str) -> None:
        """Leave a message or a tool's result out of all contexts from now on.

        Nothing is deleted: the log and the bill keep everything. In the place of a result, contexts have a
        short text that says how long the result was, so that no model makes the call again.

        Args:
            event_id: the event's id, from `find_unsendable` or `get_conversation(with_ids=True)`.

        Raises:
            InvalidInput: the conversation has no such event, or it is not on the path; nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(event_id, "event_id", "set aside")
        await self._second_thoughts.set_aside(event_id)

    async def clear(self) -> None:
        """Begin with an empty path. All messages so far stay in the log and on the bill.

        Raises:
            SessionNotFound, StorageError: as for `user_says`.
        """
        await self._second_thoughts.clear()

    async def pin(self, event_id: str) -> None:
        """Keep a message in every context, word for word, whatever window or segment it is in.

        The message stands at its place or, if the context does not reach back so far, at the beginning,
        after the summary. A pinned tool result brings its call and the call's other results along. New
        segments, forks and exports keep pins. An unfinished tool loop is sent as it began.

        Args:
            event_id: a message, a tool call or a result, from `get_conversation(with_ids=True)`.

        Raises:
            InvalidInput: the conversation has no such event, or it is not on the path; nothing was written.
            TokenLimitExceeded: the pins would have more than half of this manager's `token_limit`. (A context
                whose `max_tokens` is less than twice the pins' length is refused when it is made.)
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(event_id, "event_id", "pin")
        await self.writer.settle()
        async with self.writer.turn():
            await self.writer.pins.pin(event_id)

    async def unpin(self, event_id: str) -> None:
        """Undo `pin`. If the event is not pinned, nothing changes.

        Raises:
            InvalidInput: the conversation has no message yet.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(event_id, "event_id", "unpin")
        async with self.writer.turn():
            await self.writer.pins.unpin(event_id)

    async def redact(self, event_id: str) -> ErasureReceipt:
        """Replace the words of one event by "[redacted]", for good and in every place.

        This includes its text and parts, its native form, arguments and results of tools, and all copies: the
        parts of an answer that were stored while it arrived, the arguments of the same call on the other
        event, and copies in forks, or in the conversation that this one was forked from. Summaries that
        contain the words are made anew, without a model. Ids, times, metadata, tokens and the bill stay.

        If the call was interrupted, call it again. To erase a whole conversation, use
        `EventStore.erase_conversation`.

        Args:
            event_id: a message or a tool call, from `get_conversation(with_ids=True)`.

        Returns:
            What was replaced, and where copies may be left: see `EventStore.erase_conversation`.

        Raises:
            InvalidInput: the conversation has no such event, or it has no words; nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(event_id, "event_id", "redact")
        return await self._redacting.redact(event_id)
