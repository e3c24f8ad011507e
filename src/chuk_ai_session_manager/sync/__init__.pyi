"""The types of the blocking API, made from the async API by tests/support/sync_types.py."""

# ruff: noqa

from chuk_ai_session_manager import Budget as Budget
from chuk_ai_session_manager import EventSource as EventSource
from chuk_ai_session_manager import EventType as EventType
from chuk_ai_session_manager import InvalidSessionOperation as InvalidSessionOperation
from chuk_ai_session_manager import PromptStrategy as PromptStrategy
from chuk_ai_session_manager import Recalled as Recalled
from chuk_ai_session_manager import RecalledTurn as RecalledTurn
from chuk_ai_session_manager import RunStatus as RunStatus
from chuk_ai_session_manager import Session as Session
from chuk_ai_session_manager import SessionAlreadyExists as SessionAlreadyExists
from chuk_ai_session_manager import SessionEvent as SessionEvent
from chuk_ai_session_manager import SessionManagerError as SessionManagerError
from chuk_ai_session_manager import SessionMetadata as SessionMetadata
from chuk_ai_session_manager import SessionNotFound as SessionNotFound
from chuk_ai_session_manager import SessionRun as SessionRun
from chuk_ai_session_manager import StorageError as StorageError
from chuk_ai_session_manager import SummarizationStrategy as SummarizationStrategy
from chuk_ai_session_manager import TokenLimitExceeded as TokenLimitExceeded
from chuk_ai_session_manager import TokenSummary as TokenSummary
from chuk_ai_session_manager import TokenUsage as TokenUsage
from chuk_ai_session_manager import ToolProcessingError as ToolProcessingError
from chuk_ai_session_manager import __version__ as __version__
from chuk_ai_session_manager.api.tracking import Exchange
from chuk_ai_session_manager.conversation.recall.hooks import Embedder
from chuk_ai_session_manager.conversation.recall.hooks import Reranker
from chuk_ai_session_manager.conversation.recall.languages import Stem
from chuk_ai_session_manager.conversation.segments import Placed
from chuk_ai_session_manager.conversation.summaries import SummaryCallback
from chuk_ai_session_manager.conversation.tool_results import ToolProcessor
from chuk_ai_session_manager.conversation.tool_results import ToolResult
from chuk_ai_session_manager.conversation.usage_report import UsageRow
from chuk_ai_session_manager.infinite_conversation import SummaryModel
from chuk_ai_session_manager.models.absent_text import AbsentText
from chuk_ai_session_manager.models.event_page import EventPage
from chuk_ai_session_manager.models.event_page import LogState
from chuk_ai_session_manager.models.home import HomeStore
from chuk_ai_session_manager.providers.answers import Answer
from chuk_ai_session_manager.providers.anthropic_messages import AnthropicRequest
from chuk_ai_session_manager.providers.formats import BedrockRequest
from chuk_ai_session_manager.providers.formats import ContextOptions
from chuk_ai_session_manager.providers.formats import Format
from chuk_ai_session_manager.providers.formats import GoogleRequest
from chuk_ai_session_manager.providers.formats import OpenAIMessages
from chuk_ai_session_manager.providers.formats import ResponsesInput
from chuk_ai_session_manager.providers.formats import ResponsesRequest
from chuk_ai_session_manager.providers.messages import ChatMessage
from chuk_ai_session_manager.providers.parts import Content
from chuk_ai_session_manager.stores import SessionPage
from chuk_ai_session_manager.stores import SessionStore
from chuk_ai_session_manager.stores.base import AnyEvent
from chuk_ai_session_manager.stores.base import AnySession
from chuk_ai_session_manager.stores.base import SessionPage
from chuk_ai_session_manager.stores.durability import DurabilityReport
from chuk_ai_session_manager.stores.receipts import ErasureReceipt
from chuk_ai_session_manager.stores.redaction import RedactHook
from chuk_ai_session_manager.sync.blocking import BlockingIterator
from chuk_ai_session_manager.sync.blocking import BlockingStore
from chuk_sessions import SessionManager as ChukSessionManager
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from contextvars import Context
from datetime import datetime
from datetime import timedelta
from redis.credentials import CredentialProvider
from typing import Any
from typing import Literal
from typing import Self
from typing import TypeVar
from typing import Unpack
from typing import overload
import os

__all__ = [
    "Budget",
    "ChukSessionsStore",
    "EventSource",
    "EventStore",
    "EventType",
    "InfiniteConversationManager",
    "InvalidSessionOperation",
    "LLMStream",
    "MemoryStore",
    "PromptStrategy",
    "Recalled",
    "RecalledTurn",
    "RedisStore",
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
    "SessionStorage",
    "SqliteStore",
    "StorageError",
    "SummarizationStrategy",
    "TokenLimitExceeded",
    "TokenSummary",
    "TokenUsage",
    "ToolProcessingError",
    "__version__",
    "build_prompt_from_session",
    "configure_storage",
    "export_chat",
    "export_conversation",
    "follow",
    "get_backend",
    "get_conversation_history",
    "get_session_stats",
    "get_storage_info",
    "get_version",
    "import_chats",
    "import_conversations",
    "import_sessions",
    "is_available",
    "open_store",
    "quick_conversation",
    "recall_user",
    "run",
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
T = TypeVar("T")
Client = TypeVar("Client")

class ChukSessionsStore:
    backend: Any
    def __init__(self, backend: Any = None) -> None: ...
    def get(self, session_id: str) -> AnySession | None: ...
    def save(self, session: AnySession) -> None: ...
    def delete(self, session_id: str) -> None: ...
    def list_sessions(self, prefix: str = "") -> list[str]: ...

class EventStore:
    def erase_conversation(self, session_id: str) -> ErasureReceipt: ...
    def erase_user(self, user_id: str) -> ErasureReceipt: ...
    def prune(
        self, older_than: timedelta | str, *, user_id: str | None = None, dry_run: bool = False
    ) -> ErasureReceipt: ...
    def rewrite_events(
        self,
        session_id: str,
        change: Callable[[SessionEvent[Any]], SessionEvent[Any] | None],
        *,
        with_state: bool = False,
    ) -> int: ...
    def forks_of(self, conversation_id: str) -> BlockingIterator[str]: ...
    def scrub(self) -> list[str]: ...
    def get(self, session_id: str) -> AnySession | None: ...
    def head(self, session_id: str) -> AnySession | None: ...
    def save(self, session: AnySession) -> None: ...
    def update(self, session: AnySession, change: Callable[[AnySession], None]) -> None: ...
    def segment_ids(self, session_id: str) -> list[str]: ...
    def last_segment_id(self, session_id: str) -> str | None: ...
    def delete(self, session_id: str) -> None: ...
    def delete_conversation(self, session_id: str) -> int: ...
    def list_sessions(
        self,
        prefix: str = "",
        *,
        parent_id: str | None = None,
        user_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> SessionPage: ...
    def create(self, session: AnySession) -> None: ...
    def create_next(self, session: AnySession, before: AnySession) -> bool: ...
    def append(
        self, session: AnySession, events: Sequence[AnyEvent], *, only_if_current: bool = False
    ) -> bool: ...
    def append_while_live(self, session: AnySession, events: Sequence[AnyEvent]) -> bool: ...
    def latest(self, session: AnySession, *, with_events: bool = True) -> AnySession | None: ...
    def newest_events(
        self,
        session: AnySession,
        *,
        before: int | None = None,
        limit: int | None = None,
        tokens: int | None = None,
    ) -> EventPage | None: ...
    def newest_outlines(
        self,
        session: AnySession,
        *,
        before: int | None = None,
        limit: int | None = None,
        tokens: int | None = None,
    ) -> EventPage | None: ...
    def texts_of(self, absent: Iterable[AbsentText]) -> Mapping[AbsentText, str]: ...
    def events_by_id(self, session_id: str, event_ids: Sequence[str]) -> list[AnyEvent]: ...
    def log_states(self, session_id: str) -> list[LogState]: ...
    def save_header(self, session: AnySession) -> None: ...
    def extend_session_ttl(self, session_id: str, additional_hours: float) -> bool: ...
    def time_to_live(self, session_id: str) -> float | None: ...
    def change_account(
        self,
        name: str,
        change: Callable[[dict[str, Any] | None], dict[str, Any] | None],
        *,
        hours: float | None = None,
    ) -> None: ...
    def durability_report(self) -> DurabilityReport: ...
    def backup(self, path: str | os.PathLike[str]) -> None: ...
    def server_version(self) -> str | None: ...
    def get_stats(self) -> dict[str, Any]: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

class InfiniteConversationManager:
    token_threshold: int
    max_turns_per_segment: int
    summarization_strategy: SummarizationStrategy
    def __init__(
        self,
        token_threshold: int = 3000,
        max_turns_per_segment: int = 20,
        summarization_strategy: SummarizationStrategy = ...,
    ) -> None: ...
    def process_message(
        self,
        session_id: str,
        message: str,
        source: EventSource,
        llm_callback: SummaryModel | None,
        model: str = "gpt-3.5-turbo",
    ) -> str: ...
    def build_context_for_llm(
        self, session_id: str, max_messages: int = 10, include_summaries: bool = True
    ) -> list[ChatMessage]: ...
    def get_session_chain(self, session_id: str) -> list[Session[Any]]: ...
    def get_full_conversation_history(self, session_id: str) -> list[tuple[str, EventSource, Any]]: ...

class LLMStream:
    def __init__(self, exchange: Exchange, question: Content, llm_function: Callable[[Any], Any]) -> None: ...
    @property
    def session_id(self) -> str: ...
    @property
    def text(self) -> str: ...
    def __iter__(self) -> BlockingIterator[Any]: ...
    def close(self) -> None: ...

class MemoryStore(EventStore):
    def __init__(
        self,
        *,
        ttl_hours: float | None = ...,
        max_sessions: int | None = ...,
        clock: Callable[[], float] = ...,
        redact: RedactHook | None = None,
    ) -> None: ...
    @property
    def sessions(self) -> Mapping[str, AnySession]: ...

class RedisStore(EventStore):
    sandbox_id: str
    ttl_hours: float | None
    def __init__(
        self,
        address: str | Client,
        *,
        sandbox_id: str = ...,
        ttl_hours: float | None = ...,
        timeout: float = 5.0,
        credential_provider: CredentialProvider | None = None,
        redact: RedactHook | None = None,
    ) -> None: ...

class SessionAwareToolProcessor:
    session_id: str
    enable_caching: bool
    max_retries: int
    retry_delay: float
    timeout: float | None
    cache: Any
    def __init__(
        self,
        session_id: str,
        *,
        enable_caching: bool = True,
        max_retries: int = 2,
        retry_delay: float = 1.0,
        processor: ToolProcessor | None = None,
        timeout: float | None = None,
        store: SessionStore | EventStore | ChukSessionsStore | BlockingStore | None = None,
    ) -> None: ...
    @classmethod
    def create(cls, session_id: str, **kwargs: Any) -> Self: ...
    def process_llm_message(
        self,
        llm_msg: Mapping[str, Any],
        _: Any = None,
        *,
        model: str | None = None,
        provider: str = "unknown",
        usage: object | None = None,
    ) -> list[ToolResult]: ...

class SessionManager:
    def recall(self, query: str, *, max_tokens: int = 2000, limit: int | None = None) -> Recalled: ...
    def tools(self, format: Format | None = None) -> list[dict[str, Any]]: ...
    def run_tool(self, call: object, *, of_user: bool = False) -> str: ...
    @overload
    def get_messages_for_llm(
        self, include_system: bool = ..., *, format: None = ..., **options: Unpack[ContextOptions]
    ) -> list[ChatMessage]: ...
    @overload
    def get_messages_for_llm(
        self, include_system: bool = ..., *, format: Literal["openai"], **options: Unpack[ContextOptions]
    ) -> OpenAIMessages: ...
    @overload
    def get_messages_for_llm(
        self,
        include_system: bool = ...,
        *,
        format: Literal["openai-responses"],
        server_state: Literal[False] = ...,
        **options: Unpack[ContextOptions],
    ) -> ResponsesInput: ...
    @overload
    def get_messages_for_llm(
        self,
        include_system: bool = ...,
        *,
        format: Literal["openai-responses"],
        server_state: Literal[True],
        **options: Unpack[ContextOptions],
    ) -> ResponsesRequest: ...
    @overload
    def get_messages_for_llm(
        self, include_system: bool = ..., *, format: Literal["anthropic"], **options: Unpack[ContextOptions]
    ) -> AnthropicRequest: ...
    @overload
    def get_messages_for_llm(
        self, include_system: bool = ..., *, format: Literal["google"], **options: Unpack[ContextOptions]
    ) -> GoogleRequest: ...
    @overload
    def get_messages_for_llm(
        self, include_system: bool = ..., *, format: Literal["bedrock"], **options: Unpack[ContextOptions]
    ) -> BedrockRequest: ...
    def get_conversation(
        self,
        include_all_segments: bool | None = None,
        *,
        include_tools: bool = False,
        with_ids: bool = False,
        limit: int | None = None,
        include_origin: bool = False,
    ) -> list[dict[str, Any]]: ...
    def get_session_chain(self) -> list[str]: ...
    def load_session_chain(self) -> None: ...
    def get_stats(self, include_all_segments: bool | None = None) -> dict[str, Any]: ...
    def get_state(self) -> dict[str, Any]: ...
    def undo(self) -> str: ...
    def edit(self, event_id: str, message: Content) -> str: ...
    def regenerate(self, event_id: str) -> None: ...
    def variants(self, event_id: str) -> list[dict[str, Any]]: ...
    def choose(self, event_id: str) -> None: ...
    def retract(self, event_id: str) -> None: ...
    def find_unsendable(self, *, largest: int = ...) -> list[dict[str, Any]]: ...
    def set_aside(self, event_id: str) -> None: ...
    def clear(self) -> None: ...
    def pin(self, event_id: str) -> None: ...
    def unpin(self, event_id: str) -> None: ...
    def redact(self, event_id: str) -> ErasureReceipt: ...
    @property
    def model(self) -> str: ...
    def user_says(
        self,
        message: Content,
        *,
        event_id: str | None = None,
        timestamp: datetime | str | None = None,
        pinned: bool = False,
        **metadata: Any,
    ) -> str: ...
    def ai_responds(
        self,
        response: object,
        model: str = "unknown",
        provider: str = "unknown",
        usage: object | None = None,
        *,
        service_tier: str | None = None,
        event_id: str | None = None,
        timestamp: datetime | str | None = None,
        pinned: bool = False,
        **metadata: Any,
    ) -> str: ...
    def correct_usage(self, event_id: str, usage: object, *, service_tier: str | None = None) -> str: ...
    def tool_used(
        self,
        tool_name: str,
        arguments: Any,
        result: Any,
        error: str | None = None,
        *,
        tool_call_id: str | None = None,
        event_id: str | None = None,
        timestamp: datetime | str | None = None,
        pinned: bool = False,
        **metadata: Any,
    ) -> str: ...
    def add_messages(
        self,
        messages: Sequence[ChatMessage],
        *,
        model: str = "unknown",
        provider: str = "unknown",
        event_id: str | None = None,
        timestamp: datetime | None = None,
    ) -> str: ...
    def update_system_prompt(self, prompt: str) -> None: ...
    def update_state(self, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]: ...
    def __init__(
        self,
        session_id: str | None = None,
        system_prompt: str | None = None,
        parent_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        store: SessionStore | EventStore | ChukSessionsStore | BlockingStore | None = None,
        infinite_context: bool = False,
        token_threshold: int = ...,
        max_turns_per_segment: int = ...,
        *,
        user_id: str | None = None,
        model: str | None = None,
        create: bool = True,
        token_limit: int | None = None,
        cost_limit: float | None = None,
        budget: Budget | None = None,
        summary_callback: SummaryCallback | None = None,
        summary_timeout: float = 30.0,
        summary_max_tokens: int = 500,
        recall_tokens: int | None = None,
        correct_counts: bool = True,
        embedder: Embedder | None = None,
        reranker: Reranker | None = None,
        stemmer: Stem | str | None = None,
        redact: RedactHook | None = None,
    ) -> None: ...
    @property
    def session_id(self) -> str: ...
    @property
    def conversation_id(self) -> str: ...
    @property
    def prompt_cache_key(self) -> str: ...
    @property
    def system_prompt(self) -> str | None: ...
    @property
    def is_infinite(self) -> bool: ...
    def claim(self, user_id: str) -> None: ...
    def fork(self, at: str | None = None, session_id: str | None = None) -> SessionManager: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None: ...
    def set_summary_callback(self, callback: SummaryCallback) -> None: ...
    def wait_for_summaries(self) -> None: ...

class SessionStorage:
    sandbox_id: str
    default_ttl_hours: float | None
    def __init__(
        self, sandbox_id: str = "ai-session-manager", default_ttl_hours: float | None = ...
    ) -> None: ...
    @property
    def store(self) -> EventStore: ...
    @property
    def chuk(self) -> ChukSessionManager: ...
    def get(self, session_id: str) -> AnySession | None: ...
    def save(self, session: AnySession) -> None: ...
    def delete(self, session_id: str) -> None: ...
    def list_sessions(self, prefix: str = "") -> SessionPage: ...
    def extend_session_ttl(self, session_id: str, additional_hours: float) -> bool: ...
    def close(self) -> None: ...
    def get_stats(self) -> dict[str, Any]: ...

class SqliteStore(EventStore):
    sandbox_id: str
    ttl_hours: float | None
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sandbox_id: str = ...,
        ttl_hours: float | None = ...,
        busy_timeout: float = 10.0,
        redact: RedactHook | None = None,
    ) -> None: ...

def build_prompt_from_session(
    session: AnySession,
    strategy: PromptStrategy | str = ...,
    max_tokens: int | None = None,
    model: str = "gpt-3.5-turbo",
    include_parent_context: bool = False,
    current_query: str | None = None,
    max_history: int = 5,
) -> list[ChatMessage]: ...
def configure_storage(sandbox_id: str = ..., default_ttl_hours: float | None = ...) -> bool: ...
def export_chat(session_id: str, store: EventStore) -> dict[str, Any]: ...
def export_conversation(session_id: str, store: EventStore) -> BlockingIterator[str]: ...
def follow(
    session_id: str,
    home: HomeStore | EventStore,
    *,
    last: int = 10,
    interval: float = 0.5,
    on_outage: Callable[[StorageError], object] | None = None,
) -> BlockingIterator[Placed]: ...
def get_backend() -> SessionStorage: ...
def get_conversation_history(
    session_id: str,
    include_all_segments: bool = False,
    *,
    user_id: str | None = None,
    store: SessionStore | EventStore | ChukSessionsStore | BlockingStore | None = None,
) -> list[dict[str, Any]]: ...
def get_session_stats(
    session_id: str,
    include_all_segments: bool = False,
    *,
    user_id: str | None = None,
    store: SessionStore | EventStore | ChukSessionsStore | BlockingStore | None = None,
) -> dict[str, Any]: ...
def get_storage_info() -> dict[str, Any]: ...
def get_version() -> str: ...
def import_chats(lines: Iterable[str | bytes], store: EventStore) -> list[str]: ...
def import_conversations(content: bytes | str, store: EventStore) -> list[str]: ...
def import_sessions(lines: Iterable[str | bytes], store: EventStore) -> list[str]: ...
def is_available() -> dict[str, bool]: ...
def open_store(
    url: str,
    *,
    sandbox_id: str | None = None,
    ttl_hours: float | None = ...,
    credential_provider: CredentialProvider | None = None,
    redact: RedactHook | None = None,
) -> EventStore: ...
def quick_conversation(
    user_message: Content,
    ai_response: str,
    model: str = "unknown",
    provider: str = "unknown",
    infinite_context: bool = False,
    *,
    user_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    usage: object | None = None,
    store: SessionStore | EventStore | ChukSessionsStore | BlockingStore | None = None,
) -> dict[str, Any]: ...
def recall_user(
    user_id: str,
    query: str,
    *,
    store: SessionStore | EventStore | ChukSessionsStore | BlockingStore | None = None,
    max_tokens: int = 2000,
    limit: int | None = None,
    model: str | None = None,
    embedder: Embedder | None = None,
    reranker: Reranker | None = None,
    stemmer: Stem | str | None = None,
) -> Recalled: ...
def setup_chuk_sessions_storage(
    sandbox_id: str = "ai-session-manager", default_ttl_hours: float | None = ...
) -> SessionStorage: ...
def stream_llm_call(
    user_input: Content,
    llm_function: Callable[[Any], Any],
    model: str = "unknown",
    provider: str = "unknown",
    session_manager: SessionManager | None = None,
    session_id: str | None = None,
    infinite_context: bool = False,
    token_threshold: int = ...,
    *,
    user_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    usage: object | None = None,
    store: SessionStore | EventStore | ChukSessionsStore | BlockingStore | None = None,
) -> LLMStream: ...
def track_client(client: Client, session_manager: SessionManager, *, provider: str = "unknown") -> Client: ...
def track_conversation(
    user_message: Content,
    ai_response: str,
    model: str = "unknown",
    provider: str = "unknown",
    session_id: str | None = None,
    infinite_context: bool = False,
    token_threshold: int = ...,
    *,
    user_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    usage: object | None = None,
    store: SessionStore | EventStore | ChukSessionsStore | BlockingStore | None = None,
) -> str: ...
def track_infinite_conversation(
    user_message: Content,
    ai_response: str,
    model: str = "unknown",
    provider: str = "unknown",
    session_id: str | None = None,
    token_threshold: int = ...,
    max_turns: int = ...,
    *,
    user_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    usage: object | None = None,
    store: SessionStore | EventStore | ChukSessionsStore | BlockingStore | None = None,
) -> str: ...
def track_llm_call(
    user_input: Content,
    llm_function: Callable[[Any], Any],
    model: str = "unknown",
    provider: str = "unknown",
    session_manager: SessionManager | None = None,
    session_id: str | None = None,
    infinite_context: bool = False,
    token_threshold: int = ...,
    *,
    user_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    usage: object | None = None,
    store: SessionStore | EventStore | ChukSessionsStore | BlockingStore | None = None,
) -> tuple[str, str]: ...
def track_tool_use(
    tool_name: str,
    arguments: dict[str, Any],
    result: Any,
    session_id: str | None = None,
    error: str | None = None,
    *,
    user_id: str | None = None,
    store: SessionStore | EventStore | ChukSessionsStore | BlockingStore | None = None,
    **metadata: Any,
) -> str: ...
def truncate_prompt_to_token_limit(
    prompt: list[ChatMessage], max_tokens: int, model: str = "gpt-3.5-turbo"
) -> list[ChatMessage]: ...
def usage_report(
    store: SessionStore | EventStore | ChukSessionsStore | BlockingStore,
    by: Sequence[str] | str = ...,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    user_id: str | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> list[UsageRow]: ...
def run(work: Coroutine[Any, Any, T], context: Context | None = None) -> T: ...
