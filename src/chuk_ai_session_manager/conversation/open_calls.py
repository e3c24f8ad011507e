"""Finding the tool call that a result answers, however long ago the call was recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from ..models import EventType
from ..providers.messages import ChatMessage, call_id_of, calls_of
from .log_end import LogEnd


class OpenCalls:
    """The tool calls of a conversation that have no result yet.

    Many servers number call ids anew in every turn, so an id alone does not identify a call: a result answers
    the newest call with its id that has no result yet. Logs are read backwards, page by page, until the
    calls are found; a log that was read to its beginning is not read again.
    """

    def __init__(self) -> None:
        self._known: dict[str, list[ChatMessage]] = {}
        """The open calls up to the newest event that was read, by id, the newest one last."""
        self._newest_read: str | None = None
        self._rewritten = 0

    async def find(
        self, call_ids: Sequence[str], log: LogEnd, earlier: AsyncIterator[LogEnd]
    ) -> dict[str, list[ChatMessage]]:
        """Return the calls that new results answer, by id, the newest one first.

        Args:
            call_ids: the results' ids, each as often as there are results with it.
            log: the live segment's log.
            earlier: the logs of earlier segments, the nearest first.

        Raises:
            SessionNotFound: a segment expired or was deleted.
            StorageError: the store failed.
        """
        if log.session.metadata.rewritten != self._rewritten:  # arguments may have been redacted
            self._rewritten = log.session.metadata.rewritten
            self._known, self._newest_read = {}, None
        wanted = Counter(call_ids)
        answered: Counter[str] = Counter()  # results that were found, whose calls are further back
        found: dict[str, list[ChatMessage]] = {}
        newest: str | None = None
        reading: LogEnd | None = log
        while reading is not None:
            async with aclosing(reading.newest_first()) as events:
                async for event in events:
                    if event.id == self._newest_read:
                        return self._go_on(newest, answered, found)
                    newest = newest or event.id
                    if event.type == EventType.TOOL_CALL:
                        answered[call_id_of(event) or ""] += 1
                        continue
                    for call in reversed(calls_of(event.message)):
                        _meet(call, answered, found)
                    if all(len(found.get(call_id, ())) >= count for call_id, count in wanted.items()):
                        return found
            reading = await anext(earlier, None)
        self._known = {}
        return self._go_on(newest, answered, found)

    def _go_on(
        self, newest: str | None, answered: Counter[str], found: dict[str, list[ChatMessage]]
    ) -> dict[str, list[ChatMessage]]:
        """Remember what was read now; return all open calls, the newest first."""
        for call_id, count in answered.items():
            if calls := self._known.get(call_id):
                del calls[max(0, len(calls) - count) :]
        for call_id, calls in found.items():
            self._known.setdefault(call_id, []).extend(reversed(calls))
        self._known = {call_id: calls for call_id, calls in self._known.items() if calls}
        self._newest_read = newest or self._newest_read
        return {call_id: calls[::-1] for call_id, calls in self._known.items()}


def _meet(call: ChatMessage, answered: Counter[str], found: dict[str, list[ChatMessage]]) -> None:
    """Handle a call that was found while reading backwards."""
    call_id = str(call.get("id"))
    if answered[call_id] > 0:
        answered[call_id] -= 1
    else:
        found.setdefault(call_id, []).append(call)
