"""The logs that are searched, and their present states: those of one conversation, or of all of a user's."""

from __future__ import annotations

import asyncio

from ...exceptions import InvalidInput, session_not_found
from ...models.event_page import LogState
from ...models.home import HomeStore
from ...models.session_metadata import FORKED_FROM
from ...stores.base import AnySession, EventStore
from ..originals import original_of
from ..segments import whole_chain_of
from .keeping import Log

# How many sessions are listed, and how many conversations are looked up, at a time.
_LISTED, _TOGETHER = 500, 50


class ConversationLogs:
    """The logs of a conversation's segments.

    Args:
        live: the conversation's last segment.
        home: the store of the conversation.
    """

    def __init__(self, live: AnySession, home: HomeStore) -> None:
        self._live = live
        self._home = home

    async def read(self) -> list[Log]:
        """Read the states of all logs; of a fork, those of the original first, as long as that exists.

        Raises:
            SessionNotFound: the conversation expired or was deleted.
            StorageError: the store failed.
        """
        states = await self._home.log_states(self._live.id)
        if not states:
            if isinstance(self._home, EventStore):
                raise session_not_found(self._live.id)
            return [Log([LogState(self._live.id, "", len(self._live.events))])]  # not every home can tell
        known = {state.session_id for state in states}
        earlier = []
        if states[0].session_id == self._live.id and self._live.parent_id:
            # Segments that an application linked itself, and segments of the original package.
            earlier = [each for each in await whole_chain_of(self._live, self._home) if each not in known]
        before = [state for each in earlier for state in await self._home.log_states(each)]
        own = Log([*before, *states])
        is_fork = FORKED_FROM in self._live.metadata.properties
        return [*(await self._originals(own.id) if is_fork else ()), own]

    async def _originals(self, root_id: str) -> list[Log]:
        """The logs of a fork's original, of the original's own original, and so on, the earliest first."""
        found: dict[str, Log] = {}
        while root_id not in found:
            root = await self._home.get(root_id)
            original = None if root is None else await original_of(root, self._home)
            states = [] if original is None else await self._home.log_states(original.segment.id)
            if original is None or not states:
                break
            ids = [state.session_id for state in states]
            if original.segment.id not in ids:
                break
            log = Log(states[: ids.index(original.segment.id) + 1], original.event_id)
            found[root_id], root_id = log, log.id
        return [*found.values()][::-1]


class UserLogs:
    """The logs of all conversations of a user in a store's sandbox.

    Args:
        user_id: the user; `None` for all conversations, also those without a user.
        home: the store of the conversations.
    """

    def __init__(self, user_id: str | None, home: HomeStore) -> None:
        self._user_id = user_id
        self._home = home

    async def read(self) -> list[Log]:
        """Read the states of all logs; the conversation that was used last comes last.

        Raises:
            InvalidInput: the store cannot list its sessions.
            StorageError: the store failed.
        """
        if not isinstance(self._home, EventStore):
            reason = f"{type(self._home).__name__} cannot list its sessions; memory, SQLite and Redis can"
            raise InvalidInput("recall over all conversations of a user", reason)
        waiting: list[str] = []
        cursor: str | None = None
        while True:
            page = await self._home.list_sessions(user_id=self._user_id, limit=_LISTED, cursor=cursor)
            waiting += page
            cursor = page.next_cursor
            if cursor is None:
                break
        known: dict[str, list[LogState]] = {}
        found: list[Log] = []
        for at in range(0, len(waiting), _TOGETHER):
            ids = [each for each in waiting[at : at + _TOGETHER] if each not in known]
            for states in await asyncio.gather(*map(self._home.log_states, ids)):
                if states and states[0].session_id not in known:
                    known |= {state.session_id: states for state in states}
                    found.append(Log(states))
        return found[::-1]
