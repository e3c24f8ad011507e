"""What can go wrong, and how it is said: one family of errors, each saying what to do.

python examples/19_errors.py
"""

from __future__ import annotations

import asyncio

from chuk_ai_session_manager import (
    SessionManager,
    SessionManagerError,
    SessionNotFound,
    StorageError,
    TokenLimitExceeded,
    get_session_stats,
)
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.stores import SqliteStore, open_store


async def main() -> None:
    try:
        await get_session_stats("nobody")  # reading makes no session
    except SessionNotFound as error:
        print(f"SessionNotFound:    {error}")
    try:
        await SessionManager("nobody", create=False).user_says("Hello?")
    except SessionNotFound as error:
        print(f"SessionNotFound:    {error}")
    try:
        await SessionManager(token_limit=5).user_says("This is more than five tokens, is it not?")
    except TokenLimitExceeded as error:
        print(f"TokenLimitExceeded: {error}")
    try:
        await SessionManager().user_says("Hello", when=asyncio)  # metadata have to be JSON
    except InvalidInput as error:
        print(f"InvalidInput:       {error}")
    try:
        open_store("redsi://localhost")
    except StorageError as error:
        print(f"StorageError:       {error}")
    try:
        await SessionManager("diary", store=SqliteStore("no/such/folder/chats.db")).user_says("Hello")
    except SessionManagerError as error:  # the base of them all
        print(f"{type(error).__name__}:       {error}")


if __name__ == "__main__":
    asyncio.run(main())
