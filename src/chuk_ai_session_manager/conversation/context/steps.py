"""Where a window begins whose start moves in steps, so that a provider can cache what calls repeat."""

from __future__ import annotations

from collections.abc import Sequence

STEP = 0.4
"""How far a window's start moves at a time, as a share of the window.

Small steps move the start at nearly every call, and then nothing of the prompt is cached. Large steps leave
room unused. Measured on agents' conversations (`benchmarks/contexts.py`), with cached tokens at a tenth of
the price: 0.4 costs 1.9 to 2.9 times less input than a start that moves at every call, 0.3 costs 1.8 to 2.7
times less; the contexts are 0.85 (0.89) times as long.
"""


def first_in_step(positions: Sequence[int], before: Sequence[int | None], fits_from: int, step: float) -> int:
    """The first place that fits and at which a step begins.

    Steps are counted from the beginning of the conversation, so that every process finds the same places
    without knowing which one another process chose. Where no step begins at a place that fits, the steps are
    halved.

    Args:
        positions: how many tokens stand before each place, the oldest first.
        before: how many tokens stand before the place in front of each place; `None` where there is none.
        fits_from: the first place from which on all places fit.
        step: the length of a step, in tokens.
    """
    while step >= 1:
        for at in range(fits_from, len(positions)):
            earlier = before[at]
            if earlier is None or positions[at] // step != earlier // step:
                return at
        step /= 2
    return fits_from
