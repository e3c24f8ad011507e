"""The logs that are searched, and their present states: those of one conversation, or of all of a user's."""

from __future__ import annotations

import asyncio

from ...exceptions import InvalidInput, session_not_found
from ...models.event_page import LogState
from ...models.home import HomeStore
from ...stores.base import AnySession, EventStore
from ..segments import whole_chain_of

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

    async def read(self) -> list[list[LogState]]:
        """Read the states of all logs.

        Raises:
            SessionNotFound: the conversation expired or was deleted.
            StorageError: the store failed.
        """
        states = await self._home.log_states(self._live.id)
        if not states:
            if isinstance(self._home, EventStore):
                raise session_not_found(self._live.id)
            return [[LogState(self._live.id, "", len(self._live.events))]]  # not every home can tell
        known = {state.session_id for state in states}
        earlier = []
        if states[0].session_id == self._live.id and self._live.parent_id:
            # Segments that an application linked itself, and segments of the original package.
            earlier = [each for each in await whole_chain_of(self._live, self._home) if each not in known]
        before = [state for each in earlier for state in await self._home.log_states(each)]
        return [[*before, *states]]


class UserLogs:
    """The logs of all conversations of a user in a store's sandbox.

    Args:
        user_id: the user; `None` for all conversations, also those without a user.
        home: the store of the conversations.
    """

    def __init__(self, user_id: str | None, home: HomeStore) -> None:
        self._user_id = user_id
        self._home = home

    async def read(self) -> list[list[LogState]]:
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
        found: list[list[LogState]] = []
        for at in range(0, len(waiting), _TOGETHER):
            ids = [each for each in waiting[at : at + _TOGETHER] if each not in known]
            for states in await asyncio.gather(*map(self._home.log_states, ids)):
                if states and states[0].session_id not in known:
                    known |= {state.session_id: states for state in states}
                    found.append(states)
        return found[::-1]
