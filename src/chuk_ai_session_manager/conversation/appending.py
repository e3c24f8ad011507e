"""Storing drafts at the end of a conversation: complete, and in a new segment if the live one is full."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from ..exceptions import EventConflict
from ..models import EventSource, EventType, Session, SessionEvent
from ..models.amounts import fields_of
from ..models.collisions import is_calm, one_after_the_other
from ..models.home import HomeStore
from ..models.record import is_before
from ..models.session_totals import SessionTotals
from ..providers.messages import asked_of
from .billing import TOKENS_A_MESSAGE, bill_estimated
from .closing import Closing
from .context.beginning import Beginning
from .context.chain import is_compaction, mark_told
from .count_corrections import Corrections
from .drafts import Draft, lacks_call, without_prompt
from .late import late_notes
from .limits import Allowance
from .log_end import LogEnd, no_log_ends
from .open_calls import OpenCalls
from .opening import Conversation
from .order import QUESTION_IN
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


class Appender:
    """Stores counted drafts at the end of a conversation.

    Args:
        conversation: the conversation.
        beginning: what stands before its messages, for which calls are billed too.
        allowance: the most that the conversation, and its user, may use.
        closing: summarises the segments that are closed here.
        corrections: the corrections of our token counts, from the counts of providers.
    """

    def __init__(
        self,
        conversation: Conversation,
        beginning: Beginning,
        allowance: Allowance,
        closing: Closing,
        corrections: Corrections,
    ) -> None:
        self._conversation = conversation
        self._beginning = beginning
        self._allowance = allowance
        self._closing = closing
        self._corrections = corrections
        self._open_calls = OpenCalls()
        self.replays: Replays = Replays()
        """Tells which drafts the conversation has already."""

    async def completed(
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

    async def unstored(
        self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]
    ) -> tuple[Session[Any], Sequence[Draft]]:
        """Return the live segment and the drafts that are not stored yet, after the store refused one.

        Raises:
            EventConflict: none of the drafts is such an answer.
        """
        ids = [draft.event.id for draft in drafts]
        session, unstored = await self.replays.unstored(home, session, drafts)
        if [draft.event.id for draft in unstored] == ids:
            raise EventConflict(f"Session {session.id} has another event with the id of a new one")
        return session, unstored

    async def append_plain(
        self,
        home: HomeStore,
        session: Session[Any],
        drafts: Sequence[Draft],
        closings: list[asyncio.Task[None]],
    ) -> Session[Any]:
        """The same as `append` for one message without limits and keys, as most are.

        If the conversation has no segments and no choices, nothing else is to be considered.
        """
        (draft,) = drafts
        index = session.event_index
        totals = index.totals
        if draft.question_in or totals.choices or is_of_segments(session) or not is_calm(session, home):
            return await self.append(home, session, drafts, closings, is_limited=False)
        self._conversation.check_owner(session)
        _keep_order(draft, index.newest)
        if draft.is_call and draft.reported is None:
            await self._estimate(home, session, totals, drafts)
        is_stored, session = await append(session, [draft.event], home, only_if_current=True)
        if not (is_stored or _answers_a_question(drafts)):
            is_stored, session = await self._append_behind(home, drafts, [draft.event], session)
        return session if is_stored else await self._append_in_line(home, session, drafts, closings)

    async def append(
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
        is_stored = False
        if is_calm(session, home):
            events = [draft.event for draft in drafts]
            is_stored, session = await self._try(home, drafts, events, closings, is_limited, session)
        if not is_stored:
            session = await self._append_in_line(home, session, drafts, closings, is_limited=is_limited)
        if self._allowance.spending is not None:
            for draft in drafts:
                await self._allowance.charge(home, draft.event)
        return session

    async def _append_in_line(
        self,
        home: HomeStore,
        session: Session[Any],
        drafts: Sequence[Draft],
        closings: list[asyncio.Task[None]],
        *,
        is_limited: bool = False,
    ) -> Session[Any]:
        """The same after a collision: the writers of this process try one after the other."""
        events = [draft.event for draft in drafts]
        write = partial(self._try, home, drafts, events, closings, is_limited)
        return await one_after_the_other(write, session, home)

    async def _try(
        self,
        home: HomeStore,
        drafts: Sequence[Draft],
        events: list[SessionEvent[Any]],
        closings: list[asyncio.Task[None]],
        is_limited: bool,
        session: Session[Any],
    ) -> tuple[bool, Session[Any]]:
        """Store drafts if no other writer is faster; return whether they are stored, and the last segment."""
        if not self._conversation.is_infinite:
            await self._prepare(home, drafts, events, is_limited, session)
            if not is_of_segments(session):
                was_stored, session = await append(session, events, home, only_if_current=True)
                # What others wrote decides whether a limit is reached, and whether an answer is late.
                if was_stored or is_limited or _answers_a_question(drafts):
                    return was_stored, session
                was_stored, session = await self._append_behind(home, drafts, events, session)
                if was_stored or not is_of_segments(session):
                    return was_stored, session
            session = await self._conversation.follow(session)
        return await append_to_live(
            session,
            events,
            home,
            thresholds=self._conversation.thresholds,
            is_full=partial(self._is_full, drafts, events),
            on_closed=lambda closed: closings.append(self._closing.start(closed, home)),
            prepare=partial(self._prepare, home, drafts, events, is_limited),
            check=partial(self.replays.check_before, home, drafts) if have_keys(drafts) else None,
            looks_again=_answers_a_question(drafts),
        )

    async def _append_behind(
        self,
        home: HomeStore,
        drafts: Sequence[Draft],
        events: list[SessionEvent[Any]],
        session: Session[Any],
    ) -> tuple[bool, Session[Any]]:
        """Store drafts after what others wrote, unless somebody opened a segment; return what `_try` does.

        This takes longer: the store checks whether another writer closed the segment.
        """
        await self._prepare(home, drafts, events, False, session)
        if is_of_segments(session):
            return False, session
        return await append(session, events, home, only_if_current=False)

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
            await self._allowance.check_limits(home, live, drafts)
        if have_keys(drafts):
            await self.replays.check_before(home, drafts, live)
        self._conversation.check_owner(live)
        index = live.event_index
        newest, totals = index.newest, index.totals
        may_be_late, is_estimated = bool(totals.choices), False
        for draft in drafts:
            _keep_order(draft, newest)
            if draft.is_call and draft.reported is None:
                is_estimated = True
            if draft.question_in and (draft.question_in != live.id or await self._is_over(drafts, live)):
                draft.event.metadata[QUESTION_IN] = draft.question_in
                may_be_late = True
        if may_be_late:
            events[len(drafts) :] = await late_notes(drafts, live, home)
        if is_estimated:
            await self._estimate(home, live, totals, drafts)

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

    async def _estimate(
        self, home: HomeStore, session: Session[Any], totals: SessionTotals, drafts: Sequence[Draft]
    ) -> None:
        """Estimate the calls whose usage no provider reported; `totals` are the session's."""
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


def _keep_order(draft: Draft, newest: datetime | None) -> None:
    """Make an event no older than the newest one: the clock may have been set back, or another's be ahead."""
    if newest is not None and not draft.is_dated:
        fields = fields_of(draft.event)
        if is_before(fields["timestamp"], newest):
            fields["timestamp"] = newest


def _answers_a_question(drafts: Sequence[Draft]) -> bool:
    """Whether one of the drafts names the question that it answers, so that the answer may be late."""
    return any(draft.event.parent_event_id is not None for draft in drafts)
