"""The same API without `await`: for scripts, Flask, Django, Streamlit, notebooks, and any number of threads.

::

    from chuk_ai_session_manager.sync import SessionManager

    with SessionManager() as sm:
        sm.user_says("Hello!")
        sm.ai_responds("Hi there!", model="gpt-4")
        stats = sm.get_stats()

Each name here is one of the async API: the same arguments, results and errors. `async with` is `with`,
`async for` is `for`, and `aclose` is `close`. Functions that are handed over (a model's, a summary callback)
may be plain or async. What has nothing to await (errors, records, enums) is the same object as there; the few
methods of records that are async are run by `run(session.add_event_and_save(event))`.

The work is done by one event loop for each process, in a thread that the first call starts.
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
    """A name of the async API, made to be used without `await` when it is first asked for."""
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
    """All names, those too that were not used yet."""
    return sorted({*_HOME_OF, *import_module(_PACKAGE).__all__})
