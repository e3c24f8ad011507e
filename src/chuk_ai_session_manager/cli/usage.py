"""The bills of model calls, as tables, JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ..conversation.usage_report import BY, UsageRow, usage_report
from ..exceptions import InvalidInput
from ..stores import EventStore
from .figures import counted, dollars
from .files import output_to
from .screen import NUMBER, Screen, bar, tell

__all__ = ["BY", "Asked", "tell_usage"]

# Numbers of characters: the longest bar, and the columns before it, without the groups.
_BAR, _BEFORE_BAR = 16, 56
# A report shows its progress after so many sessions.
_PROGRESS_EACH = 1_000

_HEADINGS = tuple(NUMBER + name for name in ("Calls", "Input", "Cached", "Output", "Cost"))
_FIGURES = (
    "calls",
    "estimated_calls",
    "unpriced_calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


def groups_in(text: str) -> list[str]:
    """The groups of `--by`: a list separated by commas.

    Raises:
        InvalidInput: a group is unknown.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = next((name for name in names if name not in BY), None)
    if unknown is not None or not names:
        raise InvalidInput(
            "show usage", f"--by takes {', '.join(BY)}, with commas between, not {unknown or text!r}"
        )
    return names


def moment_in(text: str | None, option: str) -> datetime | None:
    """The time of an option: a day, which means its beginning in UTC, or a time.

    Raises:
        InvalidInput: the text is neither.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput("show usage", f"{option} takes a day such as 2026-11-01, or a time") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a report."""

    by: str
    since: str | None
    until: str | None
    user: str | None


async def tell_usage(asked: Asked, how: str, opened: EventStore) -> None:
    """Write the bills of the calls in a store: as a "table", as "json" or as "csv"."""

    def tell_progress(done: int) -> None:
        if done % _PROGRESS_EACH == 0:
            tell(f"{counted(done, 'session')} read")

    names = groups_in(asked.by)
    rows = await usage_report(
        opened,
        names,
        since=moment_in(asked.since, "--since"),
        until=moment_in(asked.until, "--until"),
        user_id=asked.user,
        on_progress=tell_progress,
    )
    screen = Screen()
    if how == "json":
        screen.json([row.as_json() for row in rows])
    elif how == "csv":
        with output_to(None) as write:
            for line in usage_as_csv(names, rows):
                write(line)
    elif rows:
        show_usage(screen, names, rows)
    else:
        tell("No model call was billed.")


def show_usage(screen: Screen, names: Sequence[str], rows: Sequence[UsageRow]) -> None:
    """Write the groups as a table, with their sum, and with bars if there is room."""
    most = max((row.cost_usd for row in rows), default=0.0) or 1.0
    longest = sum(max(len(row.key[name]) for row in rows) + 2 for name in names) if rows else 0
    width = min(_BAR, screen.width - _BEFORE_BAR - longest) if screen.is_terminal else 0
    with_bars = width >= _BAR // 2
    total = UsageRow(dict.fromkeys(names, ""))
    for row in rows:
        _add(total, row)
    total.key[names[0]] = "all"
    screen.table(
        (*(name.capitalize() for name in names), *_HEADINGS, *(("",) if with_bars else ())),
        (
            [
                *(row.key[name] or "-" for name in names),
                *(f"{count:,}" for count in (row.calls, row.input_tokens)),
                *(f"{count:,}" for count in (row.cache_read_tokens, row.output_tokens)),
                _cost(row),
                *((bar(row.cost_usd / most, width) if row is not total else "",) if with_bars else ()),
            ]
            for row in [*rows, *([total] if len(rows) > 1 else [])]
        ),
    )
    if total.unpriced_calls:
        screen.line(f"{total.unpriced_calls:,} of {total.calls:,} calls have no known price: they cost more.")


def _cost(row: UsageRow) -> str:
    if row.unpriced_calls and not row.cost_usd:
        return "unknown"
    return dollars(row.cost_usd) + ("+" if row.unpriced_calls else "")


def _add(total: UsageRow, row: UsageRow) -> None:
    for name in _FIGURES:
        setattr(total, name, getattr(total, name) + getattr(row, name))
    total.cost_usd += row.cost_usd
    total.cache_saved_usd += row.cache_saved_usd


def usage_as_csv(names: Sequence[str], rows: Sequence[UsageRow]) -> Iterator[str]:
    """The groups as lines of a CSV file, with headings."""
    details = sorted({name for row in rows for name in row.details})
    columns = [*names, *_FIGURES, *details, "cached_share", "cache_saved_usd", "cost_usd"]
    line = io.StringIO()
    writer = csv.DictWriter(line, columns, restval=0, lineterminator="")
    for values in ({name: name for name in columns}, *(row.as_json() for row in rows)):
        writer.writerow(values)
        yield line.getvalue()
        line.seek(0)
        line.truncate()
