"""Each row of the fault matrix in its small size, and that its check catches what is known to be bad."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig import MATRIX, CheckFailed, Outcome, all_rows, run_row

ROWS = all_rows()


def test_each_row_of_the_matrix_is_there() -> None:
    assert sorted(ROWS) == sorted(MATRIX)


@pytest.mark.usefixtures("small_heap")
@pytest.mark.parametrize("scenario", ROWS)
async def test_row(scenario: str, tmp_path: Path) -> None:
    outcome = Outcome(scenario)
    await run_row(ROWS[scenario], tmp_path, outcome)
    assert outcome.tried
    assert not outcome.is_broken, outcome


@pytest.mark.usefixtures("small_heap")
@pytest.mark.parametrize("scenario", [each.scenario for each in ROWS.values() if each.control])
async def test_what_is_known_to_be_bad_is_caught(scenario: str, tmp_path: Path) -> None:
    outcome = Outcome(scenario)
    try:
        await run_row(ROWS[scenario], tmp_path, outcome, is_control=True)
    except CheckFailed:
        return
    assert outcome.is_broken, outcome
