"""Storing events in a conversation: in order, counted and billed, in a new segment when a segment is full."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ..exceptions import EventConflict, SessionManagerError
from ..models import Session
from ..models.home import HomeStore
from ..models.turns import Turns
from ..providers.anthropic_messages import rows_of_turns
from ..providers.messages import ChatMessage, check_chat_messages
from ..providers.usage import ReportedUsage
from ..stores.redaction import RedactHook
from .absent import with_all_bytes
from .appending import Appender
from .billing import count
from .closing import PATIENCE, Closing
from .context.beginning import Beginning
from .context.chain import Contexts
from .corrected_bills import correct_bill
from .count_corrections import Corrections
from .drafts import (
    Draft,
    Unfinished,
    cut_at_question,
    draft_rows,
    may_be_known,
    redact_drafts,
    tokens_of,
    without_prompt,
)
from .limits import Allowance
from .opening import Conversation
from .pins import Pins
from .replays import have_keys
from .state import changed_state
from .summaries import Summarizer
from .unanswered import not_said, unanswered

logger: logging.Logger = logging.getLogger(__name__)


class Writer:
    """Stores what happens in a conversation, in the order of the calls.

    Args:
        conversation: the conversation.
        beginning: what stands before its messages, for which calls are billed too.
        contexts: the contexts that were returned: an answer records which of them it answers.
        model: the model, if a call does not name one.
        allowance: the most that the conversation, and its user, may use.
        summarizer: makes the summaries of full segments.
        pins: the pinned messages.
        corrections: the corrections of our token counts, from the counts of providers.
        redact: gets all texts before they are written.
    """

    def __init__(
        self,
        conversation: Conversation,
        beginning: Beginning,
        contexts: Contexts,
        *,
        model: str,
        allowance: Allowance,
        summarizer: Summarizer,
        pins: Pins,
        corrections: Corrections,
        redact: RedactHook | None = None,
    ) -> None:
        self._conversation = conversation
        self.pins: Pins = pins
        self._beginning = beginning
        self._model = model
        self.allowance: Allowance = allowance
        self.closing: Closing = Closing(summarizer, allowance.charge, beginning.shown_after)
        self._appender = Appender(conversation, beginning, allowance, self.closing, corrections)
        self._contexts = contexts
        self._redact = redact
        self._writing = Turns()
        self.is_asked: set[str] = set()
        """Questions that a model is answering at this moment, by their events' ids."""
        self.unfinished: list[Unfinished] = []
        """Answers whose streams have not ended, whether anybody reads them or not."""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Take a turn: after everything that was recorded before, and before everything that comes later."""
        async with self._writing.turn():
            yield

    async def set_prompt(self, prompt: str) -> None:
        """Set the system prompt, and store it with the session, which is created if it does not exist."""
        async with self._writing.turn():
            await self._conversation.open_to_write()
            home, session = await self._conversation.current(with_events=False)
            await self._conversation.save_prompt(home, session, prompt)

    async def update_state(self, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Change the state with a function (see `changed_state`); return the new state."""
        async with self._writing.turn():
            return await changed_state(self._conversation, change)

    async def record(self, drafts: Sequence[Draft]) -> str:
        """Count, price and store drafts, in the order of the calls.

        Limits are checked only for the question at the end, if there is one: everything before it has
        happened already, and is always stored.

        Returns:
            The id of the session that the last event was written to.

        Raises:
            TokenLimitExceeded, SessionNotFound, StorageError: as for `user_says`.
        """
        if drafts and drafts[0].is_call:
            self._contexts.mark(drafts)
            self._beginning.was_sent()
        closings: list[asyncio.Task[None]] = []
        until = math.inf
        async with self._writing.turn():
            if self._is_plain(drafts):
                session_id = await self._record_plain(drafts, closings)
            else:
                until, session_id = await self._record_parts(drafts, closings)
        if closings:  # after its turn, so that no other writer waits
            await self.closing.wait(closings, min(until, _in(PATIENCE)))
        return session_id

    def _is_plain(self, drafts: Sequence[Draft]) -> bool:
        """Whether drafts are one message that only needs to be counted and stored, as most do."""
        return (
            len(drafts) == 1
            and not (drafts[0].is_pinned or may_be_known(drafts[0]))
            and not (self._redact or self.unfinished or self._contexts.recalled or self.allowance)
            and not self._conversation.is_infinite
        )

    async def _record_plain(self, drafts: Sequence[Draft], closings: list[asyncio.Task[None]]) -> str:
        """Record such a message, in its turn; return the session's id."""
        await count(drafts)
        home, session = self._conversation.opened or await self._conversation.open_to_write()
        stored_in = await self._appender.append_plain(home, session, drafts, closings)
        drafts[0].is_stored = True
        self._go_on(session, stored_in)
        return stored_in.id

    async def _record_parts(
        self, drafts: Sequence[Draft], closings: list[asyncio.Task[None]]
    ) -> tuple[float, str]:
        """Record any drafts, in their turn; until when summaries may be waited for, and the session's id."""
        until, session_id = math.inf, ""
        await self.redact(drafts)
        parts = cut_at_question(drafts)
        if self.unfinished and any(asks for _, asks in parts):
            await self._settle(closings, before_question=True)
        for part, asks in parts:
            end, session_id = await self._record(part, closings, asks=asks)
            until = min(until, end)
        return until, session_id

    async def redact(self, drafts: Sequence[Draft]) -> None:
        """Pass the texts of drafts to the application's hook, if there is one.

        Raises:
            InvalidInput: the hook raised an error, or did not return a text.
        """
        if self._redact is not None:
            await redact_drafts(drafts, self._redact)

    async def finish(self, answer: Unfinished) -> str:
        """Store the part of an answer whose stream ended early, unless a question stored it before.

        Returns:
            The session's id.

        Raises:
            SessionNotFound, StorageError: as for `user_says`.
        """
        closings: list[asyncio.Task[None]] = []
        async with self._writing.turn():
            try:
                drafts = answer.parts(before_question=True)
                if drafts:
                    self._contexts.mark(drafts)
                    self._beginning.was_sent()
                    await self.redact(drafts)
                    await self._record(drafts, closings, asks=False)
            finally:
                if answer in self.unfinished:
                    self.unfinished.remove(answer)
        if closings:
            await self.closing.wait(closings, _in(PATIENCE))
        return self._conversation.session_id

    async def settle(self) -> None:
        """Store the parts of answers that nobody is reading: a reader who stops may not close the stream."""
        if all(each.is_awaited for each in self.unfinished):
            return
        closings: list[asyncio.Task[None]] = []
        async with self._writing.turn():
            await self._settle(closings, before_question=False)

    async def _settle(self, closings: list[asyncio.Task[None]], *, before_question: bool) -> None:
        """The same, within a turn; before a question, also for answers that are being read.

        The rest of an answer is stored at the end of its stream, in place of the part.
        """
        for each in list(self.unfinished):
            if each.is_awaited and not before_question:
                continue
            drafts = each.parts(before_question=before_question)
            if not drafts:
                continue
            try:
                await self.redact(drafts)
                await self._record(drafts, closings, asks=False)
            except SessionManagerError as problem:
                each.part_is_lost()
                name = type(problem).__name__
                logger.warning(
                    "Part of an answer in session %s was not stored: %s", self._conversation.session_id, name
                )
            except BaseException:
                each.part_is_lost()
                raise

    @property
    def length(self) -> int | None:
        """Content tokens of the live segment, as far as it is known here."""
        session = self._conversation.session
        return None if session is None else session.total_tokens

    async def _record(
        self, drafts: Sequence[Draft], closings: list[asyncio.Task[None]], *, asks: bool
    ) -> tuple[float, str]:
        """The same, in its turn; until when summaries may be waited for, and the session's id."""
        until = math.inf
        if self._contexts.recalled:
            drafts = self._contexts.with_shown(drafts, self._model)
        is_limited = asks and bool(self.allowance.limits)
        await count(drafts)
        if is_limited:  # a question that not even an empty conversation could hold creates none
            self.allowance.limits.check(0, 0.0, tokens_of(without_prompt(drafts)[0]))
        home, session = self._conversation.opened or await self._conversation.open_to_write()
        is_plain = len(drafts) == 1 and not may_be_known(drafts[0])
        if not is_plain and have_keys(drafts):
            # Events that are stored already are neither written nor refused.
            last = drafts[-1]
            drafts = await self._appender.replays.unseen(home, session, drafts)
            if last.is_pinned and not any(draft is last for draft in drafts):
                await self.pins.pin_stored(last.event.id)
                home, session = await self._conversation.open_to_write()
            if not drafts:
                return until, session.id
        if asks and self.allowance:  # for all of them, before any is written
            await self.allowance.admit(home, session, drafts)
        if not is_plain:
            drafts = await self._appender.completed(home, session, drafts)
        is_pinned = drafts[0].is_pinned if is_plain else any(draft.is_pinned for draft in drafts)
        if not is_pinned:
            return await self._append_all(home, session, drafts, closings, is_limited=is_limited)
        async with self.pins.added(home, session, drafts, may_be_refused=asks):
            home, session = await self._conversation.open_to_write()
            return await self._append_all(home, session, drafts, closings, is_limited=is_limited)

    async def _append_all(
        self,
        home: HomeStore,
        session: Session[Any],
        drafts: Sequence[Draft],
        closings: list[asyncio.Task[None]],
        *,
        is_limited: bool,
    ) -> tuple[float, str]:
        """Store drafts that are complete."""
        until, opened = math.inf, session
        # All at once, or one by one if any of them may open a new segment.
        for batch in [[draft] for draft in drafts] if self._conversation.is_infinite else [drafts]:
            if closings:  # without the summary, the next estimates would include all of its segment
                until = min(until, _in(PATIENCE))
                await self.closing.wait(closings, until)
            try:
                session = await self._appender.append(home, session, batch, closings, is_limited=is_limited)
            except EventConflict:
                session, rest = await self._appender.unstored(home, session, batch)
                session = await self._appender.append(home, session, rest, closings, is_limited=is_limited)
            for draft in batch:
                draft.is_stored = True
        if self._contexts.recalled:
            self._contexts.were_recorded(drafts)
        self._go_on(opened, session)
        return until, session.id

    def _go_on(self, opened: Session[Any], stored_in: Session[Any]) -> None:
        """Go on with the segment that events were stored in."""
        if stored_in is opened:
            self._conversation.take_prompt(stored_in)
        else:
            self._conversation.adopt(stored_in)

    async def correct_usage(self, event_id: str, usage: ReportedUsage) -> str:
        """Correct the bill of a recorded call, with an event that refers to the call.

        Returns:
            The id of the session that the correction was written to.

        Raises:
            InvalidInput: the conversation has no such event, or it is not a model call's.
            SessionNotFound, StorageError: as for `user_says`.
        """
        async with self._writing.turn():
            return await correct_bill(self._conversation, self.allowance, event_id, usage)

    async def add_new_messages(self, messages: Sequence[ChatMessage]) -> str | None:
        """Record the messages of a request that are new since the model's last answer.

        A system message is recorded only at the beginning of a conversation. Questions of other requests that
        are still being answered do not count as known: `is_asked` contains them.

        Returns:
            The id of the last message's event, recorded now or before; `None` if there is none.

        Raises:
            InvalidInput, TokenLimitExceeded, SessionNotFound, StorageError: as for `add_messages`.
        """
        rows = rows_of_turns(check_chat_messages(messages, "record a request"))
        closings: list[asyncio.Task[None]] = []
        async with self._writing.turn():
            await self._settle(closings, before_question=True)
            said, is_begun = await with_all_bytes(lambda: unanswered(self._conversation, self._beginning))
            waiting = [event for event in said if event.id not in self.is_asked]
            drafts = draft_rows(not_said(rows, waiting, has_begun=is_begun), self._model)
            if drafts:
                await self.redact(drafts)
                await self._record(drafts, closings, asks=True)
            elif self.allowance and self._conversation.is_begun:
                home, session = await self._conversation.open_to_write()
                await self.allowance.admit(home, session, [])
            last = [*waiting, *(draft.event for draft in drafts)][-1:]
            asked = last[0].id if last else None
            if asked is not None:
                self.is_asked.add(asked)
        if closings:
            await self.closing.wait(closings, _in(PATIENCE))
        return asked


def _in(seconds: float) -> float:
    """The time of the event loop's clock after so many seconds."""
    return asyncio.get_running_loop().time() + seconds
