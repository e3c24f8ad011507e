"""The command that finds what no provider accepts in a conversation, and sets it aside."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from ..conversation.unsendable import LARGEST
from ..session_manager import SessionManager
from ..stores import EventStore
from .figures import counted
from .options import AsJson, Sandbox, SessionId, StoreUrl, Yes
from .program import app
from .running import NOT_THERE, Where, ask_or_end, can_ask, end_with, result_of
from .screen import Screen, tell


@app.command()
def repair(
    session: SessionId,
    largest: Annotated[
        int, typer.Option(min=1, metavar="TOKENS", help="The most tokens of one message or result.")
    ] = LARGEST,
    yes: Yes = False,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Show what no provider would accept of a conversation, and set it aside after asking for confirmation.

    Such are results and messages that are too large, and images whose data is broken. Nothing is deleted:
    contexts leave them out from then on, and have a short text in the place of a result.
    """
    where = Where(store, sandbox)
    found = result_of(where, partial(_found, session, largest))
    may_go_on = yes or can_ask()
    if not (as_json and found and may_go_on):  # JSON is printed once, and says whether they were set aside
        _show(found, set_aside=False, as_json=as_json)
    if not found:
        return
    if not may_go_on:
        tell("Nothing was set aside: without a terminal, confirm with --yes.")
        end_with(NOT_THERE)
    if not yes:
        ask_or_end(f"Set {counted(len(found), 'event')} aside?", "Nothing was set aside.")
    result_of(where, partial(_set_aside, session, found))
    if as_json:
        _show(found, set_aside=True, as_json=True)
    else:
        tell(f"Set {counted(len(found), 'event')} aside; nothing was deleted.")


async def _found(session_id: str, largest: int, store: EventStore) -> list[dict[str, Any]]:
    sm = SessionManager(session_id, store=store, create=False)
    return await sm.find_unsendable(largest=largest)


async def _set_aside(session_id: str, found: list[dict[str, Any]], store: EventStore) -> None:
    sm = SessionManager(session_id, store=store, create=False)
    for fault in found:
        await sm.set_aside(fault["event_id"])


def _show(found: list[dict[str, Any]], *, set_aside: bool, as_json: bool) -> None:
    if as_json:
        Screen().json({"found": found, "set_aside": set_aside})
        return
    screen = Screen()
    for fault in found:
        screen.line(f"{fault['event_id']}  {fault['what']}: {fault['reason']}")
    if not found:
        tell("Providers accept all of it.")
