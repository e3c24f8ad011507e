"""Remembers AI conversations: messages, tool calls, tokens and cost, beyond the model's context window.

::

    from chuk_ai_session_manager import SessionManager

    sm = SessionManager()
    await sm.user_says("Hello!")
    await sm.ai_responds("Hi there!", model="gpt-4")
    stats = await sm.get_stats()

Importing the package does no I/O and configures nothing; the default store opens when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api.installed import get_version, is_available
    from .api.recall import recall_user
    from .api.simple_api import (
        get_conversation_history,
        get_session_stats,
        quick_conversation,
        stream_llm_call,
        track_client,
        track_conversation,
        track_infinite_conversation,
        track_llm_call,
        track_tool_use,
    )
    from .conversation.budgets import Budget
    from .conversation.recall.excerpts import Recalled, RecalledTurn
    from .conversation.usage_report import usage_report
    from .exceptions import (
        InvalidSessionOperation,
        SessionAlreadyExists,
        SessionManagerError,
        SessionNotFound,
        StorageError,
        TokenLimitExceeded,
        ToolProcessingError,
    )
    from .infinite_conversation import InfiniteConversationManager, SummarizationStrategy
    from .models import (
        EventSource,
        EventType,
        RunStatus,
        Session,
        SessionEvent,
        SessionMetadata,
        SessionRun,
        TokenSummary,
        TokenUsage,
    )
    from .session_aware_tool_processor import SessionAwareToolProcessor
    from .session_manager import SessionManager
    from .session_prompt_builder import (
        PromptStrategy,
        build_prompt_from_session,
        truncate_prompt_to_token_limit,
    )
    from .session_storage import configure_storage, get_storage_info, setup_chuk_sessions_storage

    __version__: str

__all__ = [
    "Budget",
    "EventSource",
    "EventType",
    "InfiniteConversationManager",
    "InvalidSessionOperation",
    "PromptStrategy",
    "Recalled",
    "RecalledTurn",
    "RunStatus",
    "Session",
    "SessionAlreadyExists",
    "SessionAwareToolProcessor",
    "SessionEvent",
    "SessionManager",
    "SessionManagerError",
    "SessionMetadata",
    "SessionNotFound",
    "SessionRun",
    "StorageError",
    "SummarizationStrategy",
    "TokenLimitExceeded",
    "TokenSummary",
    "TokenUsage",
    "ToolProcessingError",
    "__version__",
    "build_prompt_from_session",
    "configure_storage",
    "get_conversation_history",
    "get_session_stats",
    "get_storage_info",
    "get_version",
    "is_available",
    "quick_conversation",
    "recall_user",
    "setup_chuk_sessions_storage",
    "stream_llm_call",
    "track_client",
    "track_conversation",
    "track_infinite_conversation",
    "track_llm_call",
    "track_tool_use",
    "truncate_prompt_to_token_limit",
    "usage_report",
]

# Where the public names live. A module is imported when a name in it is first used, so that importing
# the package costs next to nothing.
_HOMES = {
    "api.installed": (
        "get_version",
        "is_available",
    ),
    "api.recall": ("recall_user",),
    "api.simple_api": (
        "get_conversation_history",
        "get_session_stats",
        "quick_conversation",
        "stream_llm_call",
        "track_client",
        "track_conversation",
        "track_infinite_conversation",
        "track_llm_call",
        "track_tool_use",
    ),
    "conversation.budgets": ("Budget",),
    "conversation.recall.excerpts": ("Recalled", "RecalledTurn"),
    "conversation.usage_report": ("usage_report",),
    "exceptions": (
        "InvalidSessionOperation",
        "SessionAlreadyExists",
        "SessionManagerError",
        "SessionNotFound",
        "StorageError",
        "TokenLimitExceeded",
        "ToolProcessingError",
    ),
    "infinite_conversation": (
        "InfiniteConversationManager",
        "SummarizationStrategy",
    ),
    "models": (
        "EventSource",
        "EventType",
        "RunStatus",
        "Session",
        "SessionEvent",
        "SessionMetadata",
        "SessionRun",
        "TokenSummary",
        "TokenUsage",
    ),
    "session_aware_tool_processor": ("SessionAwareToolProcessor",),
    "session_manager": ("SessionManager",),
    "session_prompt_builder": (
        "PromptStrategy",
        "build_prompt_from_session",
        "truncate_prompt_to_token_limit",
    ),
    "session_storage": (
        "configure_storage",
        "get_storage_info",
        "setup_chuk_sessions_storage",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
# Modules as attributes of the package, some of them under the shorter names of earlier releases.
_MODULES = {
    "following": "conversation.following",
    "pricing": "accounts.pricing",
    "tokens": "accounts.tokens",
    "transfer": "api.transfer",
} | {
    name: name
    for name in (
        "accounts",
        "anthropic_messages",
        "api",
        "conversation",
        "exceptions",
        "infinite_conversation",
        "models",
        "providers",
        "sample_tools",
        "session_aware_tool_processor",
        "session_manager",
        "session_prompt_builder",
        "session_storage",
        "simple_api",
        "stores",
        "sync",
    )
}
# Python looks for the package's modules in two more folders: for those at the paths of earlier releases, and
# for `__main__`, which `python -m chuk_ai_session_manager` runs.
__path__ += [f"{__path__[0]}/api/earlier_paths", f"{__path__[0]}/cli/as_module"]


def __getattr__(name: str) -> Any:
    """A public name, a module or the version, looked up when it is first used."""
    if name in _HOME_OF:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        return value
    if name in _MODULES:
        return import_module(f"{__name__}.{_MODULES[name]}")
    if name == "__version__":
        return import_module(f"{__name__}.api.installed").get_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List all public names, including those that were not used yet."""
    return sorted(set(globals()) | set(__all__) | set(_MODULES))
