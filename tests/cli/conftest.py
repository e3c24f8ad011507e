"""The command line, as tests call it in their own process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from command import Ended
from places import Place

from chuk_ai_session_manager.cli.commands import run_command


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """The command line, in this process."""
    for name in ("FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object, at: Place | None = None) -> Ended:
        where = ["--store", at.url, "--sandbox", at.sandbox] if at else []
        code = run_command([*map(str, arguments), *where])
        return Ended(code, *capfd.readouterr())

    return call
