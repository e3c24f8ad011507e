"""A conversation's state, which all its segments share, changed as it is stored."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..exceptions import InvalidInput
from ..exceptions.validation import check_json_object, copied
from ..models import Session
from .opening import Conversation
from .segments import update_live


async def changed_state(
    conversation: Conversation, change: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """Change the state by a function, which runs again where another writer came first.

    Returns:
        A copy of the state after it.

    Raises:
        InvalidInput: the function is async, or leaves what is not JSON; nothing was written.
        SessionNotFound, StorageError: as for `SessionManager.user_says`.
    """
    after: dict[str, Any] = {}

    def changed(stored: Session[Any]) -> None:
        nonlocal after
        after = copied(stored.state)
        if inspect.isawaitable(outcome := change(after)):
            if inspect.iscoroutine(outcome):
                outcome.close()
            raise InvalidInput("update_state", "the function must not be async: it may run several times")
        check_json_object(after, "the state", "update_state")
        stored.state.clear()
        stored.state.update(copied(after))

    await conversation.open_to_write()
    home, session = await conversation.current(with_events=False)
    conversation.adopt(await update_live(session, changed, home))
    return after
