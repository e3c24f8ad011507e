"""Pyright, where it is installed: the public names have known types, and requests are those of the SDKs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYRIGHT = shutil.which("pyright", path=str(Path(sys.executable).parent)) or shutil.which("pyright")
APPLICATION = """
from anthropic import AsyncAnthropic
from anthropic.types import Message
from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.anthropic_messages import for_anthropic


async def ask(sm: SessionManager, client: AsyncAnthropic) -> Message:
    rows = await sm.get_messages_for_llm(include_tools=True)
    return await client.messages.create(model="m", max_tokens=9, **for_anthropic(rows))


async def ask_again(sm: SessionManager, client: AsyncAnthropic) -> Message:
    request = await sm.get_messages_for_llm(include_tools=True, format="anthropic")
    return await client.messages.create(model="m", max_tokens=9, **request)
"""

pytestmark = pytest.mark.skipif(PYRIGHT is None, reason="pyright is not installed")


def pyright(*arguments: str, folder: Path = ROOT) -> dict[str, Any]:
    run = subprocess.run(
        [str(PYRIGHT), "--pythonpath", sys.executable, "--outputjson", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},  # it does not find an editable installation
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    report: dict[str, Any] = json.loads(run.stdout)
    return report


def test_every_public_name_has_a_known_type() -> None:
    report = pyright("--verifytypes", "chuk_ai_session_manager", "--ignoreexternal")
    assert report["typeCompleteness"]["completenessScore"] == 1


def test_requests_are_what_the_sdk_takes(tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APPLICATION, "utf-8")
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT / "src")]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    report = pyright(folder=tmp_path)
    assert report["summary"]["filesAnalyzed"] == 1
    assert report["generalDiagnostics"] == []


def test_the_blocking_api_has_the_same_types_for_pyright(tmp_path: Path) -> None:
    text = (ROOT / "tests/typing/sync_api.py").read_text("utf-8")
    right = [
        line for line in text.splitlines() if "# type: ignore" not in line and "await_nothing" not in line
    ]
    (tmp_path / "application.py").write_text("\n".join(right), "utf-8")
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT / "src")]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    report = pyright(folder=tmp_path)
    assert report["summary"]["filesAnalyzed"] == 1
    assert report["generalDiagnostics"] == []
