"""Storing events in a conversation: in order, counted and billed, in a new segment when a segment is full."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from ..exceptions import EventConflict, SessionManagerError
from ..models import EventSource, EventType, Session, SessionEvent
from ..models.home import HomeStore
from ..models.record import is_before
from ..providers.anthropic_messages import rows_of_turns
from ..providers.messages import ChatMessage, asked_of, check_chat_messages
from ..providers.usage import ReportedUsage
from ..stores.redaction import RedactHook
from ..stores.turns import Turns
from .billing import TOKENS_A_MESSAGE, bill_estimated, count
from .closing import PATIENCE, Closing
from .context.beginning import Beginning
from .context.chain import Contexts, is_compaction, mark_told
from .corrected_bills import correct_bill
from .count_corrections import Corrections
from .drafts import (
    Draft,
    Unfinished,
    cut_at_question,
    draft_rows,
    lacks_call,
    may_be_known,
    redact_drafts,
    tokens_of,
    without_prompt,
)
from .late import late_notes
from .limits import Allowance
from .log_end import LogEnd, no_log_ends
from .open_calls import OpenCalls
from .opening import Conversation
from .order import QUESTION_IN
from .pins import Pins
from .replays import Replays, have_keys
from .segments import (
    append,
    append_to_live,
    has_begun,
    is_of_segments,
    latest,
    live_segment,
    segments_before,
)
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
        self._corrections = corrections
        self._beginning = beginning
        self._model = model
        self.allowance: Allowance = allowance
        self.closing: Closing = Closing(summarizer, allowance.charge, beginning.shown_after)
        self._contexts = contexts
        self._redact = redact
        self._writing = Turns()
        self._replays = Replays()
        self._open_calls = OpenCalls()
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
        until, session_id = math.inf, ""
        async with self._writing.turn():
            if self._redact is not None:
                await self.redact(drafts)
            parts = cut_at_question(drafts)
            if self.unfinished and any(asks for _, asks in parts):
                await self._settle(closings, before_question=True)
            for part, asks in parts:
                end, session_id = await self._record(part, closings, asks=asks)
                until = min(until, end)
        if closings:  # after its turn, so that no other writer waits
            await self.closing.wait(closings, min(until, _in(PATIENCE)))
        return session_id

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
                draft = answer.part(before_question=True)
                if draft is not None:
                    self._contexts.mark([draft])
                    self._beginning.was_sent()
                    await self.redact([draft])
                    await self._record([draft], closings, asks=False)
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
            draft = each.part(before_question=before_question)
            if draft is None:
                continue
            try:
                await self.redact([draft])
                await self._record([draft], closings, asks=False)
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
        home, session = await self._conversation.open_to_write()
        is_plain = len(drafts) == 1 and not may_be_known(drafts[0])
        if not is_plain and have_keys(drafts):
            # Events that are stored already are neither written nor refused.
            last = drafts[-1]
            drafts = await self._replays.unseen(home, session, drafts)
            if last.is_pinned and not any(draft is last for draft in drafts):
                await self.pins.pin_stored(last.event.id)
                home, session = await self._conversation.open_to_write()
            if not drafts:
                return until, session.id
        if asks and self.allowance:  # for all of them, before any is written
            await self.allowance.admit(home, session, drafts)
        if not is_plain:
            drafts = await self._with_what_is_known(home, session, drafts)
        if not any([draft.is_pinned for draft in drafts]):  # noqa: C419  (a generator costs more)
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
                session = await self._append(home, session, batch, closings, is_limited=is_limited)
            except EventConflict:
                session, rest = await self._unstored(home, session, batch)
                session = await self._append(home, session, rest, closings, is_limited=is_limited)
            for draft in batch:
                draft.is_stored = True
        if self._contexts.recalled:
            self._contexts.were_recorded(drafts)
        if session is opened:
            self._conversation.take_prompt(session)
        else:
            self._conversation.adopt(session)
        return until, session.id

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
            said, is_begun = await unanswered(self._conversation, self._beginning)
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

    async def _with_what_is_known(
        self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]
    ) -> Sequence[Draft]:
        """Complete drafts by what the conversation has already: its prompt, and the calls of results."""
        if drafts and drafts[0].event.source == EventSource.SYSTEM:
            drafts = await self._keep_prompt(home, session, drafts)
        if not has_begun(session):
            mark_told(drafts, self._conversation.system_prompt)
        await self._find_calls(home, session, drafts)
        return drafts

    async def _keep_prompt(
        self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]
    ) -> Sequence[Draft]:
        """Store the system message that begins a conversation as its prompt; return the other drafts."""
        rest, prompt = without_prompt(drafts)
        if prompt is None:
            return drafts
        session = await latest(session, home, with_events=False)
        if has_begun(session):
            return drafts
        await self._conversation.save_prompt(home, session, prompt)
        return rest

    async def _unstored(
        self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]
    ) -> tuple[Session[Any], Sequence[Draft]]:
        """The live segment, and the drafts without answers that are stored already: the store refused one.

        Raises:
            EventConflict: none of the drafts is such an answer.
        """
        ids = [draft.event.id for draft in drafts]
        session, unstored = await self._replays.unstored(home, session, drafts)
        if [draft.event.id for draft in unstored] == ids:
            raise EventConflict(f"Session {session.id} has another event with the id of a new one")
        return session, unstored

    async def _append(
        self,
        home: HomeStore,
        session: Session[Any],
        drafts: Sequence[Draft],
        closings: list[asyncio.Task[None]],
        *,
        is_limited: bool,
    ) -> Session[Any]:
        """Store drafts, in a new segment if the live one is full; return the segment that they are in."""
        if not drafts:
            return session
        events = [draft.event for draft in drafts]
        was_stored = False
        # Only if nobody else wrote: the conversation may have continued in another segment meanwhile.
        only_if_current = True
        while not (was_stored or self._conversation.is_infinite):
            await self._prepare(home, drafts, events, is_limited, session)
            if is_of_segments(session):
                session = await self._conversation.follow(session)
                continue
            was_stored, session = await append(session, events, home, only_if_current=only_if_current)
            # On what is stored depends whether a limit is reached, and whether an answer is late.
            only_if_current = is_limited or _answers_a_question(drafts)
        if not was_stored:
            session = await append_to_live(
                session,
                events,
                home,
                thresholds=self._conversation.thresholds,
                is_full=partial(self._is_full, drafts, events),
                on_closed=lambda closed: closings.append(self.closing.start(closed, home)),
                prepare=partial(self._prepare, home, drafts, events, is_limited),
                check=partial(self._replays.check_before, home, drafts) if have_keys(drafts) else None,
                looks_again=_answers_a_question(drafts),
            )
        if self.allowance.spending is not None:
            for draft in drafts:
                await self.allowance.charge(home, draft.event)
        return session

    async def _is_full(
        self, drafts: Sequence[Draft], events: Sequence[SessionEvent[Any]], live: Session[Any]
    ) -> bool:
        """Whether a new segment must be opened for drafts. Late answers open none."""
        return len(events) == len(drafts) and await self._is_over(drafts, live)

    async def _is_over(self, drafts: Sequence[Draft], live: Session[Any]) -> bool:
        """Whether drafts go to a new segment after this one."""
        has_message = bool(drafts) and drafts[0].event.type == EventType.MESSAGE
        if not (self._conversation.is_infinite and has_message):
            return False
        # A compaction closes the segment: from there on, the provider's messages begin with the compaction.
        is_border = is_compaction(drafts[0].event) and bool(live.totals.messages)
        return is_border or self._conversation.thresholds.are_reached(live)

    async def _prepare(
        self,
        home: HomeStore,
        drafts: Sequence[Draft],
        events: list[SessionEvent[Any]],
        is_limited: bool,
        live: Session[Any],
    ) -> None:
        """Complete drafts by what depends on the live segment; then `events` are to be stored."""
        if is_limited:
            await self.allowance.check_limits(home, live, drafts)
        if have_keys(drafts):
            await self._replays.check_before(home, drafts, live)
        self._conversation.check_owner(live)
        newest = live.newest_event_time
        is_estimated, may_be_late = False, bool(live.totals.choices)
        for draft in drafts:
            # The clock may have been set back, or another machine's clock be ahead.
            if newest is not None and not draft.is_dated and is_before(draft.event.timestamp, newest):
                draft.event.timestamp = newest
            is_estimated = is_estimated or (draft.is_call and draft.reported is None)
            if draft.question_in and (draft.question_in != live.id or await self._is_over(drafts, live)):
                draft.event.metadata[QUESTION_IN] = draft.question_in
                may_be_late = True
        if may_be_late:
            events[len(drafts) :] = await late_notes(drafts, live, home)
        if is_estimated:
            await self._estimate(home, live, drafts)

    async def _find_calls(self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]) -> None:
        """Find the earlier calls of tool results that came without them."""
        results = [draft.event for draft in drafts if lacks_call(draft)]
        if not results:
            return
        # Another writer may have continued in a new segment.
        known = await latest(session, home, with_events=False)
        session = await latest(await live_segment(known, home), home, with_events=False)
        log = LogEnd(session, home, may_lack=True)
        earlier, is_infinite = segments_before(session, home, may_lack=True), self._conversation.is_infinite
        call_ids = [event.metadata["tool_call_id"] for event in results]
        found = await self._open_calls.find(call_ids, log, earlier if is_infinite else no_log_ends())
        for event in results:
            calls = found.get(event.metadata["tool_call_id"])
            if calls:
                event.message.update(asked_of(calls.pop(0)))

    async def _estimate(self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]) -> None:
        """Estimate the calls whose usage no provider reported."""
        totals = session.totals
        length, rows = session.token_summary.total_tokens, totals.messages + totals.tool_calls
        if totals.choices:  # otherwise, everything is on the path
            held = await self._beginning.held_length(home, session)
            length, rows = held.tokens, held.messages + held.tool_calls
        around = rows * TOKENS_A_MESSAGE
        is_alone = self._beginning.is_empty(session)
        preface_length = None if is_alone else partial(self._beginning.length, home, session)
        if not self._corrections.is_settled:
            await self._corrections.load_once(session, home, is_infinite=self._conversation.is_infinite)
        await bill_estimated(drafts, length, around, preface_length, self._corrections.factor)


def _answers_a_question(drafts: Sequence[Draft]) -> bool:
    """Whether one of the drafts names the question that it answers, so that the answer may be late."""
    return any(draft.event.parent_event_id is not None for draft in drafts)


def _in(seconds: float) -> float:
    """The time of the event loop's clock after so many seconds."""
    return asyncio.get_running_loop().time() + seconds
