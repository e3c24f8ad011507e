"""The same API without `await`: for scripts, Flask, Django, Streamlit, notebooks, and any number of threads.

::

    from chuk_ai_session_manager.sync import SessionManager

    with SessionManager() as sm:
        sm.user_says("Hello!")
        sm.ai_responds("Hi there!", model="gpt-4")
        stats = sm.get_stats()

Each name here is one of the async API, with the same arguments, results and errors. Write `with` for
`async with`, `for` for `async for`, and `close` for `aclose`. Functions that you pass in (a model's, a
summary callback) may be plain or async. Names that have nothing to await (errors, records, enums) are the
same objects as in the async API; call the few async methods of records with
`run(session.add_event_and_save(event))`.

One event loop for each process does the work, in a thread that the first call starts.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PACKAGE = __name__.rpartition(".")[0]
_HOMES = {
    "api.simple_api": ("LLMStream",),
    "api.importing": ("import_conversations",),
    "api.transfer": ("export_chat", "export_conversation", "import_chats", "import_sessions"),
    "conversation.following": ("follow",),
    "session_storage": ("ChukSessionsStore", "SessionStorage", "get_backend"),
    "stores": ("EventStore", "MemoryStore", "SqliteStore", "open_store"),
    "stores.redis": ("RedisStore",),
    "sync.background": ("run",),
    "sync.clients": ("track_client",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Find a name of the async API, and make it usable without `await` when it is first used."""
    if name == "__all__":
        return __dir__()
    package = import_module(_PACKAGE)
    if name in _HOME_OF:
        value = getattr(import_module(f"{_PACKAGE}.{_HOME_OF[name]}"), name)
    elif name in package.__all__:
        value = getattr(package, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in {"run", "track_client"}:
        value = import_module(f"{__name__}.blocking").blocking(value)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All names, also those that were not used yet."""
    return sorted({*_HOME_OF, *import_module(_PACKAGE).__all__})
