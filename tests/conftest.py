"""What all tests share: a default store of their own, and how they ask for what may not be there."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from places import Place, place_on
from servers import RedisCluster, RedisServer

from chuk_ai_session_manager import session_storage
from chuk_ai_session_manager.accounts import pricing

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import local_llm

# How long an example takes says how busy the machine is.
# In CI the examples are the same in each run, so that no change is blamed for another's; elsewhere they vary.
hypothesis.settings.register_profile("any machine", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("any machine")

# The store contract starts processes as the application does.
multiprocessing.set_start_method("forkserver", force=True)

# In the background (`nohup make test &`) interrupts are ignored, also by the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before any test module imports it: its asserts then say what differs.
pytest.register_assert_rewrite("chuk_ai_session_manager.testing")

# tiktoken's file names of cl100k_base and o200k_base.
VOCABULARIES = ("9b5ad71b2ce5302211f9c61530b329a4922fc6a4", "fb374d419588a4632f3f557e76b4b70aebbca790")

# What the environment may say about the default store.
SETTINGS = ("SESSION_PROVIDER", "SESSION_REDIS_URL", "SESSION_SQLITE_PATH", "REDIS_URL", "CHUK_SANDBOX_ID")


# Tests that drive a package which is not installed: `make test-lowest` does without the providers' SDKs.
SDKS = ("anthropic", "fastapi", "google.genai", "litellm", "openai")
MISSING = [name for name in SDKS if find_spec(name.partition(".")[0]) is None]
collect_ignore = [
    str(path)
    for path in Path(__file__).parent.rglob("test_*.py")
    if any(re.search(rf"^(from|import) {name}", path.read_text("utf-8"), re.MULTILINE) for name in MISSING)
]


@pytest.fixture(scope="module")
def no_garbage_later() -> Iterator[None]:
    """What a module's tests leave behind goes at its end, with the warnings about it."""
    yield
    gc.collect()


@pytest.fixture
def small_heap(no_garbage_later: None) -> Iterator[None]:
    """Garbage collections look at the test's own objects only: with all the SDKs, each takes long."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def default_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins with no default store and leaves none; its prices go with it."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(session_storage, "_backend", None)
    own_prices = dict(pricing._own_prices)
    yield
    pricing._own_prices.clear()
    pricing._own_prices.update(own_prices)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A server for all tests: each keeps to a sandbox of its own there."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """A cluster of three for all tests: each keeps to a sandbox of its own there."""
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place of the test's own on the kind of store that it is parametrized with."""
    return place_on(request.param, request, tmp_path)


@pytest.fixture
def exact_counting() -> None:
    """Only where tiktoken's vocabularies are at hand: nobody's download is triggered."""
    folder = Path(os.environ.get("TIKTOKEN_CACHE_DIR", ""))
    if not all((folder / name).is_file() for name in VOCABULARIES):
        pytest.skip("tiktoken's vocabularies are not at hand: set TIKTOKEN_CACHE_DIR")


@pytest.fixture(scope="session")
def chats() -> list[dict[str, Any]]:
    """Real conversations: the 20 of the file that CHATS names."""
    path = os.environ.get("CHATS")
    if not path:
        pytest.skip("no real conversations are at hand: set CHATS to a JSONL file of them")
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


# -- the SDKs' clients of the local server -------------------------------------------------------


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with local_llm.running() as address:
        yield address


@pytest.fixture
async def gpt(address: str) -> AsyncIterator[Any]:
    openai = pytest.importorskip("openai")
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(address: str) -> AsyncIterator[Any]:
    anthropic = pytest.importorskip("anthropic")
    async with anthropic.AsyncAnthropic(base_url=address, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def gemini(address: str) -> AsyncIterator[Any]:
    genai = pytest.importorskip("google.genai")
    client = genai.Client(api_key="none", http_options=genai.types.HttpOptions(base_url=address))
    async with client.aio as aio:
        yield aio
