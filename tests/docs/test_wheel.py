"""What is installed from a built wheel, as its users get it: without extras, and with all of them.

Builds and installs for real, from the package index that uv is set up for, or pip where uv does not work.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from email import message_from_string
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest
from servers import RedisServer

import chuk_ai_session_manager

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SCRIPTS = PROJECT.get("scripts", {})
TALK = """
import asyncio, sys
from chuk_ai_session_manager import SessionManager, track_conversation
from chuk_ai_session_manager.stores import open_store

async def talk(url):
    async with open_store(url) as store:
        sm = SessionManager("chat", store=store, infinite_context=True, max_turns_per_segment=2)
        for number in range(3):
            await sm.user_says(f"Question {number}?")
            await sm.ai_responds("An answer.", model="gpt-4o-mini", provider="openai")
    async with open_store(url) as store:
        sm = SessionManager("chat", store=store, infinite_context=True)
        return await sm.get_stats() if url != "memory://" else {}

stats = asyncio.run(talk(sys.argv[1]))
print(stats.get("total_messages"), stats.get("session_segments"), stats.get("unpriced_calls"))
"""


PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
UV = shutil.which("uv", path=PATH)  # where `make` installs it; it takes a fraction of pip's time


def run(*command: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def succeed(*command: str | Path) -> str:
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source archive, so that nothing is missing in that either."""
    folder = tmp_path_factory.mktemp("dist")
    if not UV or run(UV, "build", "--quiet", "--out-dir", folder, ROOT).returncode:
        succeed(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


def make(folder: Path) -> Path:
    """An environment with nothing in it."""
    venv.create(folder)
    return folder / "bin" / "python"


def install(package: str | Path, into: Path) -> None:
    """What `pip install` installs."""
    if not UV or run(UV, "pip", "install", "--quiet", "--python", into, package).returncode:
        pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", into)
        succeed(*pip, "install", package)


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel installed, and nothing else but what that brings."""
    python = make(tmp_path_factory.mktemp("bare"))
    install(wheel, python)
    return python


@pytest.fixture(scope="module")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel and all extras."""
    python = make(tmp_path_factory.mktemp("full"))
    install(f"{wheel}[all]", python)
    return python


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode())


def test_the_wheel_holds_the_package_and_no_tests(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = {each for each in archive.namelist() if ".dist-info/" not in each}
    package = ROOT / "src" / "chuk_ai_session_manager"
    sources = {path.relative_to(package.parent).as_posix() for path in package.rglob("*") if path.is_file()}
    assert names == {each for each in sources if "__pycache__" not in each}
    assert "chuk_ai_session_manager/py.typed" in names
    assert not [each for each in names if "test_" in each or "conftest" in each]


def test_the_metadata_say_what_it_is(metadata: Message) -> None:
    assert metadata["Name"] == "chuk-ai-session-manager"
    assert metadata["Version"] == chuk_ai_session_manager.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"redis", "tiktoken", "all", "dev"} <= set(metadata.get_all("Provides-Extra", []))
    needed = [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert not [each for each in needed if each.startswith(("redis", "tiktoken", "rich"))]


def test_importing_it_says_nothing(bare: Path) -> None:
    assert succeed(bare, "-I", "-W", "error", "-c", "import chuk_ai_session_manager") == ""
    version = succeed(bare, "-I", "-c", "import chuk_ai_session_manager as c; print(c.__version__)")
    assert version.strip() == chuk_ai_session_manager.__version__


def test_memory_and_sqlite_need_no_extra(bare: Path, tmp_path: Path) -> None:
    assert succeed(bare, "-I", "-W", "error", "-c", TALK, "memory://").strip() == "None None None"
    assert succeed(bare, "-I", "-W", "error", "-c", TALK, f"sqlite:///{tmp_path}/chats.db").strip() == "6 3 0"


def test_without_the_extra_redis_says_what_to_install(bare: Path) -> None:
    failed = run(bare, "-I", "-c", TALK, "redis://localhost:6379/0")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].endswith(
        "StorageError: The Redis store needs the redis client: pip install chuk-ai-session-manager[redis]"
    )


def test_tools_run_without_an_extra(bare: Path) -> None:
    code = "from chuk_ai_session_manager import SessionAwareToolProcessor as tools; print(tools.__name__)"
    assert succeed(bare, "-I", "-c", code).strip() == "SessionAwareToolProcessor"


@pytest.mark.parametrize("script", SCRIPTS)
def test_commands_work_or_say_what_to_install(bare: Path, script: str) -> None:
    done = run(bare.with_name(script), "--help")
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or "pip install chuk-ai-session-manager[" in done.stderr


def test_with_all_extras_redis_and_exact_counts_are_there(full: Path, redis_server: RedisServer) -> None:
    code = "import chuk_ai_session_manager as c; print(all(c.is_available().values()))"
    assert succeed(full, "-I", "-c", code).strip() == "True"
    assert succeed(full, "-I", "-W", "error", "-c", TALK, redis_server.url).strip() == "6 3 0"
