"""Statistics and results of checks, for people at a terminal."""

from __future__ import annotations

from .checkup import Checkup
from .figures import Tally, billed_text, cost_text, counted, dollars
from .screen import NUMBER, Screen, bar

# Numbers of characters: the longest bar, the shortest "longest" bar worth drawing, and the columns before it.
_BAR, _LEAST_BAR, _BEFORE_BARS = 12, 4, 52


def show_stats(screen: Screen, ids: tuple[str, ...], user: str, time: str, tally: Tally) -> None:
    """Write a conversation's statistics."""
    totals = tally.all.totals
    screen.facts(
        [
            ("Conversation", ids[0]),
            ("Segments", f"{len(ids)}, the last is {ids[-1]}" if len(ids) > 1 else ""),
            ("User", user),
            ("Time", time),
            ("Messages", f"{totals.messages:,} ({totals.user_messages:,} user, {totals.ai_messages:,} AI)"),
            ("Tool calls", f"{totals.tool_calls:,}"),
            ("Content", f"{tally.all.tokens:,} tokens"),
            (
                "Billed",
                f"{billed_text(totals)}, by {counted(totals.llm_calls, 'call')} ({totals.usage_source})",
            ),
            ("Cost", cost_text(tally.all)),
        ]
    )
    models = tally.models()
    if not models:
        return
    most_tokens = max(sums.totals.billed_tokens for _, sums in models) or 1
    most_cost = max(sums.cost for _, sums in models) or 1.0
    room = (screen.width - _BEFORE_BARS - max(len(model) for model, _ in models)) // 2
    width = min(_BAR, room) if screen.is_terminal and room >= _LEAST_BAR else 0
    bars = ("Tokens", "Cost") if width else ()
    screen.line()
    screen.table(
        ("Model", *(NUMBER + name for name in ("Calls", "Input", "Cached", "Output", "Cost")), *bars),
        (
            [
                model or "(no name)",
                *(f"{count:,}" for count in (of.totals.llm_calls, of.totals.input_tokens)),
                *(f"{count:,}" for count in (of.totals.cache_read_tokens, of.totals.output_tokens)),
                "unknown" if of.totals.unpriced_calls and not of.cost else dollars(of.cost),
                *(
                    (bar(of.totals.billed_tokens / most_tokens, width), bar(of.cost / most_cost, width))
                    if bars
                    else ()
                ),
            ]
            for model, of in models
        ),
    )


def show_checkup(screen: Screen, where: str, sandbox: str, found: Checkup) -> None:
    """Write the results of a check."""
    durability = found.durability
    settings = [f"{name} {value}" for name, value in durability.settings.items() if value is not None]
    screen.facts(
        [
            ("Store", where),
            ("Sandbox", sandbox),
            ("Provider", f"{durability.provider} {found.server_version or ''}".strip()),
            ("Settings", ", ".join(settings)),
            ("May lose", durability.loss_window),
            *(("Warning", warning) for warning in durability.warnings),
            ("Schema", f"{found.schema}, the newest that this release reads"),
            ("Sessions", f"{found.sessions:,} with {counted(found.events, 'event')}"),
            ("Damaged", f"{len(found.damaged):,}" if found.damaged else "none"),
        ]
    )
    for session_id, problem in found.damaged.items():
        screen.line((f"  ✗ {session_id}", "red bold"), f"  {problem}")
    screen.line()
    packages = {"chuk-ai-session-manager": found.release} | found.packages
    screen.facts([(name, version or "not installed") for name, version in packages.items()])
