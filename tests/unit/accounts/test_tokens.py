"""Counting tokens: exact where tiktoken can, by the estimator elsewhere, and never in the loop's way."""

# ruff: noqa: RUF001 - the look-alike characters are the point

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chuk_ai_session_manager.accounts import tokens
from chuk_ai_session_manager.accounts.tokens import count_tokens, estimate_tokens, is_estimated
from chuk_ai_session_manager.accounts.vocabularies import Vocabulary

if TYPE_CHECKING:
    from types import ModuleType

VOCABULARIES = ("cl100k_base", "o200k_base")
MODELS = {"gpt-4": "cl100k_base", "gpt-4o": "o200k_base"}

ENGLISH = (
    "The committee met on Tuesday to discuss the repair of the old bridge. Most of its members agreed that "
    "the work could not wait another winter, but nobody knew where the money should come from. In the end "
    "they asked two engineers for a new estimate, and promised the village an answer before the first snow. "
    "Until then, lorries have to take the longer road."
)
CODE = '''class Account:
    """Money of one customer."""

    def __init__(self, owner: str, balance: int = 0) -> None:
        self.owner = owner
        self._balance = balance

    def withdraw(self, amount: int) -> int:
        if amount > self._balance:
            raise ValueError(f"{self.owner} has only {self._balance}")
        self._balance -= amount
        return self._balance
'''
JSON = json.dumps(
    {
        "order": {"id": "A-20817", "total": 129.95, "currency": "EUR", "paid": True},
        "lines": [
            {"sku": "TB-4471", "name": "Table lamp", "quantity": 2, "price": 49.5},
            {"sku": "CB-0032", "name": "Cable, 3 m", "quantity": 1, "price": 30.95},
        ],
        "address": {"street": "12 Mill Lane", "city": "Ghent", "postcode": "9000"},
    }
)
CHINESE = "市图书馆从下周开始延长开放时间，周末晚上九点才关门。很多学生说，这样他们下班以后也能来看书了。"
OTHER_TEXTS = (
    "Привет! Как дела? Завтра мы едем на море.",
    "مرحبا، كيف يمكنني مساعدتك اليوم؟",
    "नमस्ते, मैं आपकी क्या सहायता कर सकता हूँ?",
    "😀🎉🚀 👩‍💻 👍🏽",
    "TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24=",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "3.14159265358979 2.71828182845904 1618033988749894",
)
ODD_TEXTS = (
    "<|endoftext|>",
    "\ud83d alone \udc00",
    "\ud83d\ude00",
    "\x00",
    "\x00" * 50,
    "\ufeff",
    "\u202e\u0301",
)


def vocabularies_at_hand() -> bool:
    """Whether tiktoken would find both on disk, under the SHA-1 of the addresses they come from."""
    directory = os.environ.get("TIKTOKEN_CACHE_DIR")
    if not directory or not importlib.util.find_spec("tiktoken"):
        return False
    for vocabulary in VOCABULARIES:
        address = f"https://openaipublic.blob.core.windows.net/encodings/{vocabulary}.tiktoken"
        name = hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
        if not (Path(directory) / name).is_file():
            return False
    return True


@pytest.fixture(scope="session")
def encodings() -> dict[str, Any]:
    """The real vocabularies by name: tiktoken's where their files are at hand, else those in splintr's wheel.

    test_vocabularies.py compares the two.
    """
    if vocabularies_at_hand():
        tiktoken = importlib.import_module("tiktoken")
        return {name: tiktoken.get_encoding(name) for name in VOCABULARIES}
    splintr = pytest.importorskip("splintr", reason="neither splintr-rs nor tiktoken's files are there")
    return {name: splintr.Tokenizer.from_pretrained(name) for name in VOCABULARIES}


def readable(text: str) -> str:
    """A text with half of a surrogate pair replaced, as tiktoken does itself."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A copy of the module that has loaded nothing yet."""
    spec = importlib.util.spec_from_file_location(f"{tokens.__package__}.fresh_tokens", tokens.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def loaded(module: ModuleType, model: str) -> None:
    """Wait until a load that was let go has arrived."""
    while module.is_estimated(model):  # noqa: ASYNC110 - the thread has no event to await
        await asyncio.sleep(0.001)


class FakeLoader:
    """Loads vocabularies when told to; each counts every character as a token."""

    def __init__(self) -> None:
        self.may_load = threading.Event()
        self.loading = threading.Event()
        self.loads: list[str] = []
        self.failure: Exception | None = None
        self.count: Any = len

    def vocabulary_of(self, model: str) -> Vocabulary | None:
        return Vocabulary("fake_base") if model.startswith("gpt-") else None

    def load_counter(self, name: str) -> Any:
        if name != "fake_base":
            return None
        self.loads.append(name)
        self.loading.set()
        assert self.may_load.wait(30)
        if self.failure:
            raise self.failure
        return self.counted

    def counted(self, text: str) -> int:
        return int(self.count(text))


@pytest.fixture
def fake(fresh: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads for the fresh module; lets its threads go at the end."""
    fake = FakeLoader()
    monkeypatch.setattr(fresh, "vocabulary_of", fake.vocabulary_of)
    monkeypatch.setattr(fresh, "load_counter", fake.load_counter)
    yield fake
    fake.may_load.set()


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 30)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(tokens.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": source, **environment}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


# --- the estimator


@pytest.mark.parametrize("text", [ENGLISH, CODE, JSON])
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_the_estimate_is_within_15_percent(text: str, vocabulary: str, encodings: dict[str, Any]) -> None:
    exact = len(encodings[vocabulary].encode_ordinary(text))
    assert abs(estimate_tokens(text) - exact) <= 0.15 * exact


@pytest.mark.parametrize(("text", "low", "high"), [(ENGLISH, 60, 80), (CODE, 85, 115), (JSON, 105, 140)])
def test_the_estimate_without_tiktoken_at_hand(text: str, low: int, high: int) -> None:
    assert low <= estimate_tokens(text) <= high


def test_chinese_is_between_the_vocabularies(encodings: dict[str, Any]) -> None:
    few, many = sorted(len(encoding.encode_ordinary(CHINESE)) for encoding in encodings.values())
    assert few < estimate_tokens(CHINESE) < many


@pytest.mark.parametrize("text", OTHER_TEXTS)
def test_other_texts_are_not_far_beyond_the_vocabularies(text: str, encodings: dict[str, Any]) -> None:
    few, many = sorted(len(encoding.encode_ordinary(text)) for encoding in encodings.values())
    assert few * 0.75 <= estimate_tokens(text) <= many * 1.25


def test_short_messages_are_not_underestimated(encodings: dict[str, Any]) -> None:
    texts = [
        "Hi there!",
        "OK, thanks",
        "No idea why",
        "Cancel my order",
        "What is it?",
        "yes please",
        "42 euros",
    ]
    exact = sum(len(encodings["o200k_base"].encode_ordinary(text)) for text in texts)
    assert sum(map(estimate_tokens, texts)) == pytest.approx(exact, rel=0.15)


def test_small_texts() -> None:
    assert estimate_tokens("") == 0
    assert estimate_tokens("Hello") == 1
    assert 2 <= estimate_tokens("Hello") + estimate_tokens("Hi there!") <= 9


@given(st.text(st.characters(codec=None), min_size=1), st.text(st.characters(codec=None)))
def test_a_text_has_a_token_and_never_fewer_when_it_grows(text: str, more: str) -> None:
    assert 1 <= estimate_tokens(text) <= estimate_tokens(text + more)


@given(st.text(st.characters(categories=["Cs"]), min_size=1))
def test_lone_surrogates_are_estimated(text: str) -> None:
    assert estimate_tokens(text) >= 1


def test_a_long_text_is_estimated_as_the_sum_of_its_parts() -> None:
    copies = 1000
    assert estimate_tokens((ENGLISH + "\n") * copies) == pytest.approx(
        estimate_tokens(ENGLISH) * copies, rel=0.02
    )


@pytest.mark.parametrize("character", ["a", " "])
def test_a_long_run_of_one_character_is_not_almost_free(character: str, encodings: dict[str, Any]) -> None:
    exact = len(encodings["cl100k_base"].encode_ordinary(character * 50_000))
    assert exact / 3 <= estimate_tokens(character * 50_000) <= exact * 3


# --- exact counts


def real_texts() -> list[str]:
    texts = [ENGLISH, CODE, JSON, CHINESE, *OTHER_TEXTS, *ODD_TEXTS]
    if chats := os.environ.get("CHATS"):
        for line in Path(chats).read_text("utf-8").splitlines():
            texts += [message.get("content") or "" for message in json.loads(line)["messages"]]
    return texts


@pytest.mark.parametrize("model", MODELS)
async def test_counts_are_exact(model: str, encodings: dict[str, Any]) -> None:
    encoding = encodings[MODELS[model]]
    texts = real_texts()
    assert [await count_tokens(text, model) for text in texts] == [
        len(encoding.encode_ordinary(readable(text))) for text in texts
    ]
    assert not is_estimated(model)


@pytest.mark.parametrize("model", MODELS)
async def test_a_long_text_is_counted_exactly(model: str, encodings: dict[str, Any]) -> None:
    text = "\n".join(real_texts()[:4]) * 100
    assert len(text) > 5 * 16_384
    assert await count_tokens(text, model) == len(encodings[MODELS[model]].encode_ordinary(text))


FRAGMENTS = (
    *(
        "a",
        "Z",
        "word",
        "Word",
        "aB",
        "1",
        "12345",
        "é",
        "e\u0301",
        "\u0301",
        "ſ",
        "中",
        "中文",
        "の",
        "١",
        "ǅ",
    ),
    *(" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\x1c", "\x00"),
    *(
        "'",
        "'s",
        "'S",
        "'ll",
        "’s",
        ".",
        "/",
        "//",
        "_",
        '"',
        '":',
        ",",
        "，",
        "。",
        "：",
        "、",
        "-",
        "€",
        "😀",
    ),
)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=3)), min_size=2, max_size=40))
def test_no_token_spans_a_cut(vocabulary: str, encodings: dict[str, Any], parts: list[str]) -> None:
    text = "".join(parts)

    def count(text: str) -> int:
        return len(encodings[vocabulary].encode_ordinary(text))

    for found in tokens._cut().finditer(text):
        assert count(text[: found.end()]) + count(text[found.end() :]) == count(text)


def test_a_word_is_not_cut_before_its_apostrophe(encodings: dict[str, Any]) -> None:
    assert len(encodings["o200k_base"].encode_ordinary("don't")) == 1
    assert tokens._cut().search("don't") is None


@pytest.mark.parametrize("model", MODELS)
async def test_a_long_text_with_nowhere_to_cut(model: str, encodings: dict[str, Any]) -> None:
    assert await count_tokens("a" * 1_000_000, model) == pytest.approx(125_000, rel=0.01)
    # tiktoken 0.14 panics over so many spaces at once.
    assert 3_900 <= await count_tokens(" " * 1_000_000, model) <= 8_000
    unbroken = "中文字" * 30_000
    whole = len(encodings[MODELS[model]].encode_ordinary(unbroken))
    assert await count_tokens(unbroken, model) == pytest.approx(whole, rel=0.01)


async def test_an_unknown_model_is_counted_by_a_borrowed_vocabulary(encodings: dict[str, Any]) -> None:
    exact = len(encodings["cl100k_base"].encode_ordinary(CHINESE))
    for model in ("claude-sonnet-4", "unknown", ""):
        assert await count_tokens(CHINESE, model) == exact
        assert is_estimated(model)


async def test_the_names_of_models_do_not_pile_up(fresh: ModuleType, fake: FakeLoader) -> None:
    fake.may_load.set()
    for number in range(1200):
        assert await fresh.count_tokens("four", f"gpt-{number}") == 4
    assert len(fresh._found) <= fresh._MAXIMUM_CACHED_MODELS


# --- loading


async def test_many_first_counts_load_once(fresh: ModuleType, fake: FakeLoader) -> None:
    counts = [asyncio.create_task(fresh.count_tokens("four", f"gpt-{number}")) for number in range(100)]
    await until(fake.loading)  # the loop goes on although the load does not
    fake.may_load.set()
    assert await asyncio.gather(*counts) == [4] * 100
    assert fake.loads == ["fake_base"]


def test_an_overtaken_loader_uses_the_vocabulary_that_was_loaded(
    fresh: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = object()

    class OvertakenLock:
        def __enter__(self) -> None:
            fresh._loads["name"] = other

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(fresh, "_loads_lock", OvertakenLock())
    assert fresh._load("name") is other


def test_loops_of_two_threads_load_once(fresh: ModuleType, fake: FakeLoader) -> None:
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(asyncio.run(fresh.count_tokens("four", "gpt-x"))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    assert fake.loading.wait(30)
    fake.may_load.set()
    for thread in threads:
        thread.join(30)
    assert counts == [4, 4]
    assert fake.loads == ["fake_base"]


async def test_a_cancelled_waiter_leaves_the_load_to_the_others(fresh: ModuleType, fake: FakeLoader) -> None:
    first = asyncio.create_task(fresh.count_tokens("four", "gpt-x"))
    second = asyncio.create_task(fresh.count_tokens("seventh", "gpt-x"))
    await until(fake.loading)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    fake.may_load.set()
    assert await second == 7
    assert fake.loads == ["fake_base"]


async def test_a_vocabulary_that_comes_late_makes_counts_exact(
    fresh: ModuleType, fake: FakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh, "VOCABULARY_WAIT_SECONDS", 0.05)
    while not fake.loads:  # importing a fake is quick, but this machine may not be
        assert await fresh.count_tokens(ENGLISH, "gpt-x") == estimate_tokens(ENGLISH)
        assert fresh.is_estimated("gpt-x")
    fake.may_load.set()
    await loaded(fresh, "gpt-x")
    assert await fresh.count_tokens(ENGLISH, "gpt-x") == len(ENGLISH)


async def test_a_vocabulary_that_fails_is_reported_once(
    fresh: ModuleType, fake: FakeLoader, caplog: pytest.LogCaptureFixture
) -> None:
    fake.failure = OSError("no route to host")
    fake.may_load.set()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert await fresh.count_tokens(ENGLISH, "gpt-x") == estimate_tokens(ENGLISH)
    assert fresh.is_estimated("gpt-x")
    assert fake.loads == ["fake_base"]
    (record,) = caplog.records
    assert "fake_base could not be loaded (OSError)" in record.getMessage()
    assert "committee" not in caplog.text


async def test_a_long_text_is_counted_off_the_loop(fresh: ModuleType, fake: FakeLoader) -> None:
    fake.may_load.set()
    counted_in: set[str] = set()

    def count(text: str) -> int:
        counted_in.add(threading.current_thread().name)
        return len(text)

    fake.count = count
    assert await fresh.count_tokens("a" * 100_000, "gpt-x") == 100_000
    assert threading.current_thread().name not in counted_in
    assert await fresh.count_tokens("a" * 100, "gpt-x") == 100
    assert threading.current_thread().name in counted_in


def test_before_the_first_count_all_are_estimates(fresh: ModuleType) -> None:
    assert fresh.is_estimated("gpt-4o")
    assert fresh._loads == {}


COUNT = """
import asyncio, logging, sys
logging.basicConfig(level=logging.WARNING)
from chuk_ai_session_manager.accounts import tokens
assert not {{"splintr", "tiktoken"}} & set(sys.modules), "imported too early"
sys.modules["splintr"] = None
{preparation}
for text in ("Hello", "word " * 9000):
    for model in ("gpt-4o", "unknown"):
        count = asyncio.run(tokens.count_tokens(text, model))
        assert count == tokens.estimate_tokens(text), (count, model)
assert tokens.is_estimated("gpt-4o")
print("counted")
"""


def test_without_tiktoken_the_estimator_counts() -> None:
    finished = run_python(COUNT.format(preparation="sys.modules['tiktoken'] = None"))
    assert (finished.stdout, finished.stderr, finished.returncode) == ("counted\n", "", 0)


def test_a_download_that_hangs_holds_up_neither_counts_nor_the_exit(tmp_path: Path) -> None:
    pytest.importorskip("tiktoken", reason="tiktoken is not installed: nothing downloads")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        finished = run_python(
            COUNT.format(preparation="tokens.VOCABULARY_WAIT_SECONDS = 1.5"),
            TIKTOKEN_CACHE_DIR=str(tmp_path),
            HTTPS_PROXY=proxy,
            https_proxy=proxy,
            NO_PROXY="",
            no_proxy="",
        )
        silent.settimeout(1)
        silent.accept()[0].close()  # it did try to download
    assert (finished.stdout, finished.stderr, finished.returncode) == ("counted\n", "", 0)
