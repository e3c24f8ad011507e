"""What an application sees of the package before it uses it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import chuk_ai_session_manager

PUBLIC = [
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
    "track_conversation",
    "track_infinite_conversation",
    "track_llm_call",
    "track_tool_use",
    "truncate_prompt_to_token_limit",
]

# Slow to import, optional, or both: imported when they are first needed.
LATE = ["chuk_tool_processor", "chuk_sessions", "redis", "tiktoken", "genai_prices"]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    # -I: nothing from the environment or the working folder; but the same package as in this process.
    beginning = (
        f"import sys\nsys.path.insert(0, {str(Path(chuk_ai_session_manager.__file__).parents[1])!r})\n"
    )
    command = [sys.executable, "-I", "-W", "error", "-c", beginning + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_import_is_silent_and_loads_nothing_heavy() -> None:
    run = run_python(
        "from chuk_ai_session_manager import SessionManager\nimport json, sys\n"
        f"print(json.dumps([name for name in {LATE} if name in sys.modules]))"
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout) == []


def test_import_reads_none_of_its_settings() -> None:
    run = run_python(
        "import os\n"
        "class Watched(type(os.environ)):\n"
        "    def __getitem__(self, name):\n"
        "        assert not name.startswith(('SESSION_', 'REDIS_', 'CHUK_', 'TIKTOKEN_')), name\n"
        "        return super().__getitem__(name)\n"
        "os.environ.__class__ = Watched\n"
        "from chuk_ai_session_manager import SessionManager"
    )
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


def test_the_first_call_imports_redis_outside_the_event_loop() -> None:
    run = run_python(
        "import asyncio, os, sys, threading\n"
        "from chuk_ai_session_manager import SessionManager, StorageError\n"
        "threads = set()\n"
        "def watch(event, arguments):\n"
        "    if event == 'import' and arguments[0].partition('.')[0] == 'redis':\n"
        "        threads.add(threading.current_thread() is threading.main_thread())\n"
        "os.environ |= {'SESSION_PROVIDER': 'redis', 'SESSION_REDIS_URL': 'redis://127.0.0.1:1'}\n"
        "sys.addaudithook(watch)\n"
        "try:\n"
        "    asyncio.run(SessionManager().user_says('Hello!'))\n"
        "except StorageError:\n"  # nobody listens on that port
        "    print(threads)"
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "{False}\n", "")


# To the original's names.
ADDED = [
    "Recalled",
    "RecalledTurn",
    "recall_user",
    "Budget",
    "stream_llm_call",
    "track_client",
    "usage_report",
]


def test_public_names() -> None:
    assert len(PUBLIC) == 36
    assert sorted(chuk_ai_session_manager.__all__) == sorted([*PUBLIC, *ADDED])
    assert all(getattr(chuk_ai_session_manager, name) is not None for name in PUBLIC)
    assert set(PUBLIC) <= set(dir(chuk_ai_session_manager))


def test_version_is_that_of_the_installation() -> None:
    version = importlib.metadata.version("chuk-ai-session-manager")
    assert chuk_ai_session_manager.__version__ == chuk_ai_session_manager.get_version() == version


def test_package_is_typed() -> None:
    assert (Path(chuk_ai_session_manager.__file__).parent / "py.typed").is_file()


def test_what_can_be_used_here_is_what_is_installed() -> None:
    available = chuk_ai_session_manager.is_available()
    assert set(available) == {
        "core_enums",
        "core_models",
        "simple_api",
        "storage",
        "infinite_context",
        "tool_processor",
        "prompt_builder",
        "token_tracking",
        "exceptions",
        "session_manager",
        "redis_support",
        "enhanced_token_counting",
    }
    run = run_python(
        "import importlib.util, json\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'redis' else real(name, *rest)\n"
        "import chuk_ai_session_manager\n"
        "print(json.dumps(chuk_ai_session_manager.is_available()))"
    )
    assert json.loads(run.stdout) == available | {"redis_support": False}
