"""Run the rows of the fault matrix, in their large sizes, and print what came of each."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rig import MATRIX, Outcome, Row, all_rows, run_row

COLUMNS = (
    f"{'row':<52} {'tried':>8} {'acknowledged':>12} {'lost':>5} {'doubled':>7} {'worst delay':>11}  window"
)

MARK = "<!-- what make faults printed -->\n"
HEAD = """
| Harm | Tried | Acknowledged | Lost | Doubled | Worst delay, s | Window, remarks |
|---|---:|---:|---:|---:|---:|---|
"""


def main(words: Sequence[str] | None = None) -> int:
    """The table, row by row; 1 if a row is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help="rows to run: a part of their names is enough (default: all)")
    parser.add_argument("--small", action="store_true", help="the size that they have among the tests")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes there, too")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table into this page, too")
    options = parser.parse_args(words)
    chosen = [one for name, one in all_rows().items() if is_wanted(name, options.rows)]
    if not chosen:
        parser.error("no row has such a name; they are: " + ", ".join(MATRIX))
    logging.getLogger().setLevel(logging.CRITICAL)  # the library says of each failure that it saw it
    print(COLUMNS, flush=True)
    told = [tell(one, is_small=options.small) for one in sorted(chosen, key=place_in_matrix)]
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if options.page:
        above, mark, _ = options.page.read_text(encoding="utf-8").partition(MARK)
        options.page.write_text(above + mark + HEAD + rows_for_people(told), encoding="utf-8")
    broken = [each["row"] for each in told if each["broken"]]
    print(
        f"{len(told) - len(broken)} of {len(told)} rows hold"
        + "".join(f"; broken: {name}" for name in broken)
    )
    return bool(broken)


def rows_for_people(told: Sequence[dict[str, Any]]) -> str:
    """The outcomes as rows of a table in Markdown."""
    return "".join(
        f"| {each['row']}{' **BROKEN**' if each['broken'] else ''} | {each['tried']:,} "
        f"| {each['acknowledged']:,} | {each['lost']:,} | {each['doubled']:,} | {each['worst_delay']:.2f} "
        f"| {each['window'] or each['note']} |\n"
        for each in told
    )


def is_wanted(name: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(part.lower() in name.lower() for part in wanted)


def place_in_matrix(one: Row) -> int:
    return MATRIX.index(one.scenario)


def tell(one: Row, *, is_small: bool) -> dict[str, Any]:
    """Run a row and print its line."""
    begun, outcome = time.monotonic(), Outcome(one.scenario)
    failure = ""
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(run_row(one, Path(folder), outcome, is_small=is_small))
        except Exception:  # noqa: BLE001  (whatever a row fails by, the others are run)
            failure = traceback.format_exc()
    broken = bool(failure) or outcome.is_broken
    print(
        f"{outcome.row:<52} {outcome.tried:>8} {outcome.acknowledged:>12} {outcome.lost:>5} "
        f"{outcome.doubled:>7} {outcome.worst_delay:>9.3f} s  {outcome.window or outcome.note or '-'}"
        + (" BROKEN" if broken else ""),
        flush=True,
    )
    if failure:
        print(failure, file=sys.stderr, flush=True)
    return asdict(outcome) | {"broken": broken, "seconds": round(time.monotonic() - begun, 1)}


if __name__ == "__main__":
    sys.exit(main())
