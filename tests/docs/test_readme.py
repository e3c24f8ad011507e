"""Every ```python block of the README and of `docs` runs, in order, offline; shell blocks name what exists.

The blocks of a page share one namespace, as a reader's session would: a block sees what those above it made.
What an application would bring along is there from the start: `request` (a chat request: `message`, and
`session_id`, which is `None`) and `ai_response` (a text). Files land in a temporary folder.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import re
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import local_llm

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))


class Block(NamedTuple):
    page: Path
    language: str
    heading: str
    line: int
    text: str


def read_blocks(page: Path) -> list[Block]:
    """A page's fenced blocks, each with the heading it is under and the line that it begins at."""
    blocks, heading, opened = [], "top", None
    inside: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = re.match(r"\s*```\s*(\w*)", line)
        if opened is not None:
            if fence:
                blocks.append(Block(page, opened.group(1), heading, number - len(inside), "\n".join(inside)))
                opened, inside = None, []
            else:
                inside.append(line)
        elif fence:
            opened = fence
        elif line.startswith("#"):
            heading = re.sub(r"\W+", "-", line).strip("-").lower()
    return blocks


TEXT = README.read_text(encoding="utf-8")
BLOCKS = [block for page in PAGES for block in read_blocks(page)]
PYTHON = [block for block in BLOCKS if block.language in {"python", "py"}]
SHELL = "\n".join(block.text for block in BLOCKS if block.language in {"bash", "sh", "shell", "console"})


class Reader:
    """Runs the blocks of a page from the top; each once, so that a single test can be run alone too."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.blocks = [block for block in PYTHON if block.page == page]
        self.folder = folder
        request = SimpleNamespace(message="When do you open tomorrow?", session_id=None)
        ai_response = "We open at nine."
        self.names: dict[str, Any] = {"__name__": "readme", "request": request, "ai_response": ai_response}
        self.next = 0

    async def read_to(self, last: Block) -> None:
        with contextlib.chdir(self.folder):
            while self.next <= self.blocks.index(last):
                block = self.blocks[self.next]
                self.next += 1
                await self.run(block)

    async def run(self, block: Block) -> None:
        code = compiled(block)
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, self.names)  # noqa: S307  (our own README)
        else:
            # In a thread: a block may call asyncio.run, as a script would.
            await asyncio.to_thread(exec, code, self.names)


def compiled(block: Block) -> CodeType:
    # The empty lines give errors the README's line numbers.
    source = "\n" * (block.line - 1) + block.text
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(source, str(block.page), "exec", flags=flags, dont_inherit=True)
    return code


@pytest.fixture(scope="module", autouse=True)
def default_store() -> Iterator[None]:
    """In place of the one a test that others have: here the blocks share it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SESSION_PROVIDER", "SESSION_REDIS_URL", "REDIS_URL", "CHUK_SANDBOX_ID"):
            patch.delenv(name, raising=False)
        patch.setattr("chuk_ai_session_manager.session_storage._backend", None)
        patch.setattr("chuk_ai_session_manager.accounts.pricing._own_prices", {})
        with local_llm.running() as address:  # where the SDKs look for their providers
            patch.setenv("OPENAI_BASE_URL", f"{address}/v1")
            patch.setenv("OPENAI_API_KEY", "none")
            yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def readers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[Path, Reader]]:
    readers = {page: Reader(page, tmp_path_factory.mktemp(page.stem)) for page in PAGES}
    yield readers
    for reader in readers.values():
        if "client" in reader.names:
            await reader.names["client"].close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "block", PYTHON, ids=[f"{each.page.stem}-{each.heading}-line-{each.line}" for each in PYTHON]
)
async def test_python_block_runs(readers: dict[Path, Reader], block: Block) -> None:
    await readers[block.page].read_to(block)


def test_readme_shows_how_to_try_it_at_the_top() -> None:
    top = "\n".join(TEXT.splitlines()[:40])
    assert "make demo" in top
    assert "make test" in top


def test_pages_have_python_blocks() -> None:
    assert {block.page.stem for block in PYTHON} >= {"README", "storage"}


def test_extras_that_the_readme_installs_exist() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = re.findall(r"(?:chuk-ai-session-manager|\.)\[([\w,-]+)\]", TEXT)
    extras = {extra for names in named for extra in names.split(",")}
    assert extras <= set(pyproject["project"]["optional-dependencies"])


def test_make_targets_of_the_readme_exist() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = re.findall(r"(?:^|`)(?:\$ )?make ([a-z-]+)", TEXT, flags=re.MULTILINE)
    assert set(named) <= set(targets)


def test_environment_that_the_readme_sets_is_read() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    for name in re.findall(r"export (\w+)=", SHELL):
        assert f'"{name}"' in source, name
