"""The installed version, and the optional packages."""

from __future__ import annotations

from importlib.util import find_spec

from ..models.token_usage import TIKTOKEN_AVAILABLE

_RELEASE = "1.0.0.dev0"
"""The version of this release, for copies without package metadata: in a zip, frozen, or vendored."""


def get_version() -> str:
    """The version of this library."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  (15 ms that few need)

    try:
        return version("chuk-ai-session-manager")
    except PackageNotFoundError:
        return _RELEASE


def is_available() -> dict[str, bool]:
    """Which parts of the library are usable: those that need another package, if that is installed."""
    always = (
        "core_enums",
        "core_models",
        "simple_api",
        "storage",
        "infinite_context",
        "prompt_builder",
        "token_tracking",
        "exceptions",
        "session_manager",
    )
    needed = {
        "tool_processor": "chuk_tool_processor",
        "redis_support": "redis",
    }
    found = {part: find_spec(package) is not None for part, package in needed.items()}
    return dict.fromkeys(always, True) | found | {"enhanced_token_counting": TIKTOKEN_AVAILABLE}
