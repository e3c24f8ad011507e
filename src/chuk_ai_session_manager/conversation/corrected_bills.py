"""The present bill of a recorded call, which its newest correction says; and storing such corrections."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from ..accounts.pricing import load_prices
from ..exceptions import InvalidInput
from ..models import CallUsage, Session, SessionEvent
from ..models.correction import Correction, correction_in
from ..models.home import HomeStore
from ..providers.usage import ReportedUsage
from .billing import call_usage
from .limits import Allowance
from .log_end import LogEnd
from .opening import Conversation
from .segments import append, segments_before


async def correct_bill(
    conversation: Conversation, allowance: Allowance, event_id: str, usage: ReportedUsage
) -> str:
    """Store a correction of a recorded call's bill; the id of the session that it was written to.

    Raises:
        InvalidInput: the conversation has no model call's event with this id.
        SessionNotFound, StorageError: as for `user_says`.
    """
    await conversation.open_to_write()
    while True:
        home, session = await conversation.current(with_events=False)
        called, billed = await bill_now(home, session, event_id)
        if (missing := usage.get("unreported")) is not None:
            usage = usage.copy()
            usage[missing] = getattr(billed, missing)
        right = call_usage(billed.model, billed.provider, usage, when=called.timestamp)
        event = Correction(event_id, called.timestamp, billed, right).as_event()
        # Only on top of the log that was read: another correction may come in between.
        was_stored, session = await append(session, [event], home, only_if_current=True)
        if was_stored:
            conversation.adopt(session)
            if allowance.spending is not None:
                difference = (right.cost_usd or 0.0) - (billed.cost_usd or 0.0)
                await allowance.spending.charge(home, difference, event.id)
            return session.id


async def bill_now(
    home: HomeStore, session: Session[Any], event_id: str
) -> tuple[SessionEvent[Any], CallUsage]:
    """An event, and its present bill: that of the newest correction, or the recorded one.

    Raises:
        InvalidInput: the conversation has no model call's event with this id.
        StorageError: the store failed.
    """
    await load_prices()
    latest_bill: CallUsage | None = None
    log: LogEnd | None = LogEnd(session, home, may_lack=True)
    earlier = segments_before(session, home, may_lack=True)
    while log is not None:
        async with aclosing(log.newest_first()) as events:
            async for event in events:
                correction = correction_in(event)
                if correction is not None and correction.event_id == event_id:
                    latest_bill = latest_bill or correction.usage
                if event.id == event_id and event.usage is not None:
                    return event, latest_bill or event.usage
        log = await anext(earlier, None)
    raise InvalidInput("correct_usage", "the conversation has no model call's event with this id")
