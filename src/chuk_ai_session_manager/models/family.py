"""The family of a session: its parents and its children."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from .home import HomeStore

if TYPE_CHECKING:
    from .session import Session


async def enter_with_parent(session: Session[Any], home: HomeStore) -> None:
    """Enter a session's id as a child of its parent, if the parent exists."""
    parent = await home.head(session.parent_id) if session.parent_id else None
    if parent is not None and session.id not in parent.child_ids:
        await home.update(parent, lambda stored: stored.enter_child(session.id))


async def ancestors_of(
    session: Session[Any], home: HomeStore, *, with_events: bool = True
) -> AsyncIterator[Session[Any]]:
    """A session's parent, its parent and so on, as far as a store has them; each only once."""
    read = home.get if with_events else home.head
    seen, parent_id = {session.id}, session.parent_id
    while parent_id and parent_id not in seen:
        seen.add(parent_id)
        parent = await read(parent_id)
        if parent is None:
            return
        yield parent
        parent_id = parent.parent_id


async def descendants_of(session: Session[Any], home: HomeStore) -> list[Session[Any]]:
    """A session's stored children and their children, depth first, the last child first; each only once."""
    found: list[Session[Any]] = []
    seen = {session.id}
    stored = await home.head(session.id) if session.is_bound else None
    waiting = list((stored or session).child_ids)
    while waiting:
        child_id = waiting.pop()
        if child_id in seen:
            continue
        seen.add(child_id)
        child = await home.get(child_id)
        if child is not None:
            found.append(child)
            waiting.extend(child.child_ids)
    return found


async def remove_child_of(session: Session[Any], child_id: str, home: HomeStore) -> None:
    """Remove a child's id from a session, where it is stored and here."""

    def remove(stored: Session[Any]) -> None:
        stored.child_ids = [known for known in stored.child_ids if known != child_id]

    await home.update(session, remove)
