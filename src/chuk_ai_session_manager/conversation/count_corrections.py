"""Corrections of our token counts, learned from the counts that providers report.

Each answer's event keeps our count of its context beside the input tokens that the provider reported.
Providers whose tokenizers are not public count 0.7 to 1.5 tokens for each that we count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from statistics import median

from ..models.amounts import billed_in
from ..models.home import HomeStore
from ..stores.base import AnyEvent, AnySession
from .log_end import LogEnd
from .segments import segments_before

# The correction is the median of this many reports, the newest ones among this many events.
_LAST, _SEARCHED = 5, 60
# If there are fewer reports, the missing ones count as 1.0, so that a single absurd report changes nothing.
_FEWEST = 3
# A ratio outside these bounds does not come from a tokenizer: the request was not the one that was counted.
_LEAST, _MOST = 0.5, 2.0
# Shorter contexts say little, because the tokens around a message outweigh the message.
_SHORTEST = 40
# Limits are corrected in steps of this size, so that windows do not move with each report.
_STEP = 0.05
# The date of a snapshot, which may follow a model's name in a response.
_SNAPSHOT = re.compile(r"[-@:](?:20\d{2}-?\d{2}-?\d{2}|\d{4}|latest)$")


class Corrections:
    """The corrections for the models of a manager's conversation.

    Args:
        is_on: whether counts are corrected at all.
    """

    def __init__(self, *, is_on: bool) -> None:
        self.is_on = is_on
        self._reports: dict[str, list[float]] = {}
        self.is_settled: bool = not is_on
        """Whether there is nothing left to read. Asked before each estimate."""
        self._earlier: tuple[str, dict[str, list[float]]] | None = None

    async def load(self, session: AnySession, home: HomeStore, *, is_infinite: bool) -> None:
        """Read the reports in the newest events; if a new segment has few, also the earlier segment's."""
        if not self.is_on:
            return
        log = LogEnd(session, home, may_lack=True)
        while len(log.events) < _SEARCHED and not log.is_whole:
            await log.read_back(limit=_SEARCHED)
        found = _reports_in(log.events)
        if is_infinite and session.parent_id and min(map(len, found.values()), default=0) < _FEWEST:
            for model, earlier in (await self._before(session, home)).items():
                found[model] = [*found.get(model, []), *earlier][:_LAST]
        self._reports, self.is_settled = found, True

    async def load_once(self, session: AnySession, home: HomeStore, *, is_infinite: bool) -> None:
        """Read the reports, unless they were read before."""
        if not self.is_settled:
            await self.load(session, home, is_infinite=is_infinite)

    async def _before(self, session: AnySession, home: HomeStore) -> dict[str, list[float]]:
        if self._earlier is None or self._earlier[0] != session.id:
            found: dict[str, list[float]] = {}
            async for log in segments_before(session, home, may_lack=True):
                await log.read_back(limit=_SEARCHED)
                found = _reports_in(log.events)
                break
            self._earlier = session.id, found
        return self._earlier[1]

    @property
    def shown(self) -> dict[str, float]:
        """By model: how many tokens the provider counts for each that we count."""
        return {model: round(_middle(reports), 3) for model, reports in self._reports.items()}

    def factor(self, model: str | None) -> float:
        """The factor for our counts of a model; `None` is the model that answered last."""
        if not self.is_on or not self._reports:
            return 1.0
        name = next(iter(self._reports)) if model is None else _bare(model)
        reports = self._reports.get(name)
        if reports is None:
            return 1.0
        return math.ceil(round(_middle(reports) / _STEP, 6)) * _STEP


def _reports_in(events: Iterable[AnyEvent]) -> dict[str, list[float]]:
    """The newest ratios of each model; the model that answered last comes first."""
    found: dict[str, list[float]] = {}
    for event in list(events)[: -_SEARCHED - 1 : -1]:
        billed = billed_in(event)
        if billed is None:
            continue
        model, _, sent, _, _, _, _, _, is_estimated, _, _, _, counted, _ = billed
        if not counted or counted < _SHORTEST or is_estimated:
            continue
        ratio = sent / counted
        if _LEAST <= ratio <= _MOST:
            reports = found.setdefault(_bare(model), [])
            if len(reports) < _LAST:
                reports.append(ratio)
    return found


def _middle(reports: list[float]) -> float:
    return median([*reports, *[1.0] * (_FEWEST - len(reports))])


def _bare(model: str) -> str:
    """A model's name without its maker and its snapshot."""
    return _SNAPSHOT.sub("", model.rpartition("/")[2].lower())
