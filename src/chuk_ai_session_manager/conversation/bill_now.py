"""The present bill of a recorded call: that of the newest correction, if there is one."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from ..accounts.pricing import load_prices
from ..exceptions import InvalidInput
from ..models import CallUsage, Session, SessionEvent
from ..models.correction import correction_in
from ..models.home import HomeStore
from .log_end import LogEnd
from .segments import segments_before


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
    log: LogEnd | None = LogEnd(session, home)
    earlier = segments_before(session, home)
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
