"""Summarising closed segments in the background: a slow summary delays nobody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ..models.home import HomeStore
from ..models.turns import pulse_of
from ..stores.base import AnyEvent, AnySession
from ..stores.redaction import redact_events
from .background import background_of, carry_over
from .log_end import whole_outline
from .notes import Notes
from .order import late_questions
from .path import on_path
from .segments import latest
from .summaries import TIMED_OUT, Reply, Summarizer, notes_of, show

logger: logging.Logger = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that a message which opens a new segment waits for the summary of the one before.

Most models have answered by then; a slower summary is finished in the background.
"""

# Seconds between two looks at another thread's event loop, which cannot be awaited.
_LOOK_EVERY = 0.02

# What is under way in this process, by store and segment: the next segment's summary is made from this
# one's. It also keeps the tasks, of which asyncio itself holds none.
_under_way: dict[tuple[int, str], asyncio.Task[None]] = {}


class Closing:
    """Summarises the segments that one manager closes.

    Args:
        summarizer: makes the summaries.
        on_summary: called with each summary, once it is stored.
        shown_after: returns what models were told of a segment, by its id, while its summary was being made.
    """

    def __init__(
        self,
        summarizer: Summarizer,
        on_summary: Callable[[HomeStore, AnyEvent], Awaitable[None]] | None = None,
        shown_after: Callable[[str], Notes | None] = lambda _: None,
    ) -> None:
        self.summarizer = summarizer
        self._on_summary = on_summary
        self._shown_after = shown_after
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, segment: AnySession, home: HomeStore) -> asyncio.Task[None]:
        """Begin to summarise a segment; this goes on even if the task that closed it is cancelled."""
        place = id(home), segment.id
        previous = _under_way.get((id(home), segment.parent_id or ""))
        # A callback does not summarise its own segments: it might close another one, without end.
        may_ask = not self.summarizer.is_calling
        task = asyncio.create_task(self._close(segment, home, previous, may_ask=may_ask))
        _under_way[place] = task
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._done(place, task))
        return task

    def _done(self, place: tuple[int, str], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if _under_way.get(place) is task:
            del _under_way[place]

    async def _close(
        self, segment: AnySession, home: HomeStore, previous: asyncio.Task[None] | None, *, may_ask: bool
    ) -> None:
        if previous is not None:
            await _ended([previous])
        waited = previous is not None
        try:
            summary = await close_segment(
                segment,
                home,
                self.summarizer,
                after_waiting=waited,
                may_ask=may_ask,
                shown_after=self._shown_after,
            )
            if self._on_summary is not None:
                await self._on_summary(home, summary)
        except Exception as problem:  # noqa: BLE001  (the message is stored, so no error may be raised now)
            logger.warning("The summary of session %s was not stored: %s", segment.id, type(problem).__name__)

    async def wait(self, tasks: list[asyncio.Task[None]], until: float) -> None:
        """Wait for summaries until a time of the loop's clock, except in the callback that makes them."""
        pending = [task for task in tasks if not task.done()]
        left = until - asyncio.get_running_loop().time()
        if pending and left > 0 and not self.summarizer.is_calling:
            await asyncio.wait(pending, timeout=left)

    async def finish(self) -> None:
        """Wait for all summaries that are being made, in whatever event loop."""
        ended: set[asyncio.Task[None]] = set()
        while not self.summarizer.is_calling:
            pending = [task for task in tuple(self._tasks) if task not in ended]
            if not pending:
                return
            await _ended(pending)
            ended.update(pending)


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for tasks, but not for those of an event loop that does not run."""
    loop = asyncio.get_running_loop()
    own = [task for task in tasks if task.get_loop() is loop]
    if own:
        await asyncio.wait(own)
    others = [(task, pulse_of(task.get_loop())) for task in tasks if task not in own]
    # Nothing can be awaited here: an event that another loop should set may never be set.
    while any(not task.done() and pulse.is_felt() for task, pulse in others):  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_EVERY)


async def close_segment(
    segment: AnySession,
    home: HomeStore,
    summarizer: Summarizer,
    *,
    after_waiting: bool = False,
    may_ask: bool = True,
    shown_after: Callable[[str], Notes | None] = lambda _: None,
) -> AnyEvent:
    """Close a segment that another one follows with a summary of it and of everything before it.

    Args:
        segment: the segment to close.
        home: the store.
        summarizer: makes the summary.
        after_waiting: whether the segment before was still being summarised. If that took too long, the
            callback is not called again at once: one wait is enough.
        may_ask: whether the callback may be called at all.
        shown_after: returns what models were told of the segment until now. Their contexts keep that, so that
            their beginning does not change; later segments get the summary.

    Returns:
        The summary, as it is stored.

    Raises:
        SessionNotFound: the session expired or was deleted.
        StorageError: the store failed; until the next summary, readers do without this one.
    """
    stored = await latest(segment, home, with_events=summarizer.through is not None)
    events = await whole_outline(stored, home)
    background = await background_of(stored, home)
    before = background.summary
    hung = after_waiting and before is not None and before.metadata.get("callback_failure") == TIMED_OUT
    reply = Reply(failure=TIMED_OUT) if hung else None if may_ask else Reply()
    held = events if background.held is None else background.held
    late = await late_questions(on_path(events) if held is events else held, home)
    summary = await summarizer.summarise(background.notes, stored, reply, late, held)
    carry_over(background, events, summary)
    shown = shown_after(segment.id)
    if shown is not None and str(shown) != str(notes_of(summary)):
        show(summary, shown)
    if summarizer.redact is not None:
        await redact_events([summary], summarizer.redact)
    await home.append(stored, [summary])
    return summary
