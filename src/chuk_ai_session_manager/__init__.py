"""Remembers AI conversations: what was said, tool calls, tokens and dollars, and context that carries over.

::

    from chuk_ai_session_manager import SessionManager

    sm = SessionManager()
    await sm.user_says("Hello!")
    await sm.ai_responds("Hi there!", model="gpt-4")
    stats = await sm.get_stats()

Importing it does no I/O and configures nothing; the default store opens on first use.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .api import simple_api
from .api.installed import get_version, is_available
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
from .session_manager import SessionManager
from .session_prompt_builder import (
    PromptStrategy,
    build_prompt_from_session,
    truncate_prompt_to_token_limit,
)
from .session_storage import configure_storage, get_storage_info, setup_chuk_sessions_storage

if TYPE_CHECKING:
    from .session_aware_tool_processor import SessionAwareToolProcessor

    __version__: str

__all__ = [
    "Budget",
    "EventSource",
    "EventType",
    "InfiniteConversationManager",
    "InvalidSessionOperation",
    "PromptStrategy",
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


# The one-liners under the shorter path that the original's examples print.
sys.modules[f"{__name__}.simple_api"] = simple_api

_LAZY_MODULES = {
    "following": "conversation.following",
    "pricing": "accounts.pricing",
    "tokens": "accounts.tokens",
    "transfer": "api.transfer",
}


def __getattr__(name: str) -> Any:
    """Names that are looked up at first use: the tool processor (its library takes 0.3 s), the version."""
    if name == "SessionAwareToolProcessor":
        from .session_aware_tool_processor import SessionAwareToolProcessor  # noqa: PLC0415  (see above)

        return SessionAwareToolProcessor
    if name == "__version__":
        return get_version()
    if name in _LAZY_MODULES:
        return import_module(f"{__name__}.{_LAZY_MODULES[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """All public names, the lazy ones too."""
    return sorted(set(globals()) | set(__all__) | set(_LAZY_MODULES))
