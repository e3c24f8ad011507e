"""Which tool call a result answers, however long ago the call was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

from ..models import EventType
from ..providers.messages import ChatMessage, call_id_of, calls_of
from .log_end import LogEnd


async def unanswered_calls(
    call_ids: Iterable[str], log: LogEnd, earlier: AsyncIterator[LogEnd]
) -> dict[str, list[ChatMessage]]:
    """For results that come now, the calls that they answer, the newest first.

    That is, of each id, the newest call that has no result yet: many servers count ids anew in every turn,
    so that an id alone is no identity. Logs are read backwards, page by page, and only as far as it takes.

    Args:
        call_ids: the results' ids, each as often as there are results of it.
        log: the live segment's log.
        earlier: those of the segments before it, the nearest first.

    Raises:
        SessionNotFound: a segment expired or was deleted.
        StorageError: the store could not say.
    """
    wanted = Counter(call_ids)
    answered: Counter[str] = Counter()  # of results that were met, whose calls are further back
    found: dict[str, list[ChatMessage]] = {}
    reading: LogEnd | None = log
    while reading is not None and wanted:
        async with aclosing(reading.newest_first()) as events:
            async for event in events:
                if event.type == EventType.TOOL_CALL:
                    call_id = call_id_of(event)
                    if call_id is not None and call_id in wanted:
                        answered[call_id] += 1
                    continue
                for call in reversed(calls_of(event.message)):
                    call_id = str(call.get("id"))
                    if call_id not in wanted:
                        continue
                    if answered[call_id]:
                        answered[call_id] -= 1
                        continue
                    found.setdefault(call_id, []).append(call)
                    wanted -= Counter([call_id])
                if not wanted:
                    break
        reading = await anext(earlier, None)
    return found
