"""Commands that erase a conversation, all conversations of a user, or all that are too old."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from ..conversation.segments import segment_ids_of
from ..exceptions import InvalidInput, SessionNotFound, UnreadableData
from ..exceptions.validation import check_name
from ..stores import EventStore
from ..stores.erasing import checked_age
from ..stores.receipts import ErasureReceipt
from .figures import counted
from .options import AsJson, Sandbox, StoreUrl, UserId, Yes
from .program import app
from .running import NOT_THERE, Where, ask_or_end, check_confirmable, end_with, result_of, run
from .screen import Screen, tell

T = TypeVar("T")


@app.command()
def erase(
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="SESSION", help="The id of any segment of the conversation.", show_default=False
        ),
    ] = None,
    user: UserId = None,
    yes: Yes = False,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Erase a conversation, or all conversations of a user, with every copy.

    Copies in forks, summaries, lists, records, accounts, and the space in the file that they took up are
    erased too. The receipt says what was erased, and which places cannot be reached. After an interruption,
    the same command does the rest.
    """
    if (session is None) == (user is None):
        raise typer.BadParameter("name a session, or a user with --user")
    if user is not None:
        _checked(lambda: check_name(user, "user_id", "erase a user"))
    check_confirmable(yes=yes)
    what = f"all conversations of user {user}" if session is None else f"the conversation of {session}"
    if not yes:
        ask_or_end(f"Erase {what}, with every copy?", "Nothing was erased.")

    async def work(opened: EventStore) -> ErasureReceipt:
        return await (opened.erase_user(user or "") if session is None else _erased(session, opened))

    receipt = result_of(Where(store, sandbox), work)
    _show(receipt, "Erased", as_json=as_json)
    is_nothing = not (receipt.sessions or receipt.copies or receipt.accounts)
    end_with(NOT_THERE if is_nothing else 0)


@app.command()
def prune(
    older_than: Annotated[
        str,
        typer.Option("--older-than", metavar="AGE", help="How old: 90d, 12h or 4w.", show_default=False),
    ],
    user: UserId = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be erased.")] = False,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Erase conversations to which nothing was said for so long.

    It does not ask for confirmation, so that a timer can run it: try it with --dry-run first.
    """
    age = _checked(lambda: checked_age(older_than, "prune"))
    if user is not None:
        _checked(lambda: check_name(user, "user_id", "prune"))

    async def work(opened: EventStore) -> None:
        receipt = await opened.prune(age, user_id=user, dry_run=dry_run)
        _show(receipt, "Would erase" if dry_run else "Erased", as_json=as_json)

    run(Where(store, sandbox), work)


async def _erased(session_id: str, store: EventStore) -> ErasureReceipt:
    """Erase a conversation, also the segments that an application linked under ids of its own."""
    try:
        ids = await segment_ids_of(session_id, store)
    except (SessionNotFound, UnreadableData):
        ids = []
    receipt = await store.erase_conversation(session_id)
    for each in ids:
        if each not in receipt.sessions:
            receipt = receipt.followed_by(await store.erase_conversation(each))
    return receipt


def _checked(check: Callable[[], T]) -> T:
    """The result of a check of arguments; invalid ones are reported as errors of the command line."""
    try:
        return check()
    except InvalidInput as problem:
        raise typer.BadParameter(problem.reason or str(problem)) from None


def _show(receipt: ErasureReceipt, verb: str, *, as_json: bool) -> None:
    """Show a receipt: as JSON, or in words."""
    if as_json:
        Screen().json(receipt.as_dict())
        return
    counts = [counted(len(receipt.conversations), "conversation"), counted(len(receipt.sessions), "segment")]
    counts.append(counted(receipt.events, "event"))
    counts += [counted(receipt.copies, "copied event")] if receipt.copies else []
    counts += [counted(receipt.accounts, "account")] if receipt.accounts else []
    tell(f"{verb} {', '.join(counts)}.")
    for place in receipt.unreached:
        tell(f"Not reached: {place}.")
