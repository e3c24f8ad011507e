"""Counting with toktok: the counts of tiktoken and of splintr whatever the text is, and counts without it."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chuk_ai_session_manager.accounts import counters
from chuk_ai_session_manager.accounts.tokens import count_tokens, is_estimated

pytest.importorskip("splintr", reason="splintr-rs is not installed")
pytest.importorskip("toktok", reason="toktok-rs is not installed")

VOCABULARIES = ["cl100k_base", "o200k_base", "o200k_harmony"]

# Letters and marks of Unicode 17 (its file DerivedAge.txt), which toktok knows and tiktoken does not.
UNICODE_17 = """
88f c5c cdc 1acf-1add 1ae0-1aeb a7ce-a7cf a7d2 a7d4 a7f1 10940-10959 10ec5-10ec7 10efa-10efb 11b60-11b67
11db0-11ddb 11de0-11de9 16ea0-16eb8 16ebb-16ed3 16ff2-16ff6 187f8-187ff 18d09-18d1e 18d80-18df2 1e6c0-1e6de
1e6e0-1e6f5 1e6fe-1e6ff 2b73a-2b73f 2cea2-2cead 323b0-33479
"""
NEW_LETTERS = [
    chr(code)
    for first, _, last in (each.partition("-") for each in UNICODE_17.split())
    for code in range(int(first, 16), int(last or first, 16) + 1)
]

ASCII = st.one_of(
    st.text(st.characters(max_codepoint=127), max_size=400),
    st.lists(
        st.sampled_from(
            ["the ", "don't", " I'LL", "'s", "'S", "'", "  ", "\n\n", "\r\n", "\t", " \n ", "123", "4567.89",
             "camelCase", "HTTPServer", "XMLHttpRequest2", "snake_case", "def f(x):\n    return x",
             "<|endoftext|>", "<|im_start|>", "<|", "</s>", "{\"a\": [1, 2]}", "https://a.b/c?d=e", "A" * 30,
             "-" * 80, " " * 20, "\n" * 9, "\x00", "\x1f\x7f", "/*", "//", "!=", "...", "a", "Z"]
        ),
        max_size=40,
    ).map("".join),
)  # fmt: skip
MIXED = st.lists(
    st.one_of(
        ASCII,
        st.text(max_size=20),
        st.sampled_from(NEW_LETTERS),
        st.sampled_from(["é", "\u2019", "中文", "नमस्ते", "😀"]),
    ),
    max_size=8,
).map("".join)


@cache
def counter(vocabulary: str) -> counters.Counter:
    """With toktok."""
    found = counters._with_toktok(vocabulary, of_splintr(vocabulary))
    assert found is not None
    return found


@cache
def of_splintr(vocabulary: str) -> counters.Counter:
    found = counters._from_splintr(vocabulary)
    assert found is not None
    return found


@pytest.fixture(scope="module", params=VOCABULARIES)
def vocabulary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def reference(vocabulary: str) -> counters.Counter:
    """tiktoken's count, where its files are at hand; splintr's elsewhere."""
    if not os.environ.get("TIKTOKEN_CACHE_DIR"):
        return of_splintr(vocabulary)
    encode = pytest.importorskip("tiktoken").get_encoding(vocabulary).encode_ordinary
    return lambda text: len(encode(text))


@settings(max_examples=300, deadline=None)
@given(text=ASCII)
def test_any_ascii_counts_as_tiktoken_counts(vocabulary: str, reference: counters.Counter, text: str) -> None:
    assert counter(vocabulary)(text) == reference(text)


@settings(max_examples=300, deadline=None)
@given(text=MIXED)
def test_any_other_text_counts_as_tiktoken_counts(
    vocabulary: str, reference: counters.Counter, text: str
) -> None:
    assert counter(vocabulary)(text) == reference(text)


def test_every_letter_of_unicode_17_counts_as_tiktoken_counts(
    vocabulary: str, reference: counters.Counter
) -> None:
    assert len(NEW_LETTERS) == 4_699
    texts = [f"{letter}'T{letter}A a{letter}1" for letter in NEW_LETTERS]
    assert [*map(counter(vocabulary), texts)] == [*map(reference, texts)]


def test_real_conversations_count_as_tiktoken_counts(
    vocabulary: str, reference: counters.Counter, chats: list[dict[str, Any]]
) -> None:
    texts = [json.dumps(row) for chat in chats for row in chat["messages"]]
    texts += [row["content"] for chat in chats for row in chat["messages"] if row.get("content")]
    assert [*map(counter(vocabulary), texts)] == [*map(reference, texts)]


@pytest.mark.parametrize("character", " a0-\n\0")
def test_a_megabyte_of_one_character_counts_as_splintr_counts(vocabulary: str, character: str) -> None:
    text = character * 1_000_000
    assert counter(vocabulary)(text) == of_splintr(vocabulary)(text)


def test_special_tokens_are_text(vocabulary: str) -> None:
    for special in ("<|endoftext|>", "<|im_start|>", "<|fim_prefix|>", "<|start|>", "<|endofprompt|>"):
        assert counter(vocabulary)(special) > 1
        assert counter(vocabulary)(f"a {special} b") > counter(vocabulary)("a  b")


@pytest.fixture
def loads_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """toktok is loaded from the first text on."""
    monkeypatch.setattr(counters, "BUSY", 1)
    yield
    wait_for_loads()


def wait_for_loads() -> None:
    for thread in threading.enumerate():
        if thread.name == "load-toktok":
            thread.join(30)


class Toktok(ModuleType):
    """Another release of toktok."""

    def __init__(self, truncate: Any) -> None:
        super().__init__("toktok")
        self.asked: list[str] = []
        if truncate is not None:

            def truncate_and_note(text: str, *rest: Any) -> Any:
                self.asked.append(text)
                return truncate(text, *rest)

            self.truncate = truncate_and_note


def right(text: str, most: int, name: str) -> tuple[str, int]:
    return text, of_splintr(name)(text)


def raises(text: str, most: int, name: str) -> tuple[str, int]:
    raise KeyError(name)


WRONG: dict[str, Any] = {
    "no function truncate": None,
    "raises": raises,
    "one token more": lambda text, most, name: (text, of_splintr(name)(text) + 1),
    "special tokens are one token": lambda text, most, name: (
        text,
        of_splintr(name)(text.replace("<|endoftext|>", " a")),
    ),
    "a number alone": lambda text, most, name: of_splintr(name)(text),
    "only the text": lambda text, most, name: (text,),
    "a text for the number": lambda text, most, name: (text, str(of_splintr(name)(text))),
}


@pytest.mark.usefixtures("loads_at_once")
def test_toktok_counts_ascii_once_the_process_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    toktok = Toktok(right)
    monkeypatch.setitem(sys.modules, "toktok", toktok)
    monkeypatch.setattr(counters, "BUSY", 3)
    count = counters.load_counter("o200k_base")
    assert count is not None
    assert [count("two words") for _ in range(2)] == [2, 2]
    wait_for_loads()
    assert not toktok.asked, "too early"
    assert count("two words") == 2
    wait_for_loads()
    toktok.asked.clear()
    assert (count("two words"), count("zwei Wörter")) == (2, of_splintr("o200k_base")("zwei Wörter"))
    assert toktok.asked == ["two words"]


@pytest.mark.usefixtures("loads_at_once")
@pytest.mark.parametrize("wrong", WRONG)
def test_a_release_that_counts_otherwise_is_not_used(
    wrong: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    toktok = Toktok(WRONG[wrong])
    monkeypatch.setitem(sys.modules, "toktok", toktok)
    count = counters.load_counter("o200k_base")
    assert count is not None
    with caplog.at_level(logging.INFO):
        assert count("two words") == 2
        wait_for_loads()
    toktok.asked.clear()
    assert count("a<|endoftext|>b") == of_splintr("o200k_base")("a<|endoftext|>b")
    assert not toktok.asked
    if wrong != "no function truncate":
        assert [record.levelname for record in caplog.records] == ["INFO"]


@pytest.mark.usefixtures("loads_at_once")
def test_without_toktok_splintr_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "toktok", None)
    count = counters.load_counter("cl100k_base")
    assert count is not None
    assert count("two words") == 2
    wait_for_loads()
    assert count("two words") == 2
    assert not caplog.records


@pytest.mark.usefixtures("loads_at_once")
def test_where_no_thread_can_be_started_splintr_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    count = counters.load_counter("cl100k_base")
    assert count is not None
    assert [count("two words") for _ in range(3)] == [2] * 3


def test_threads_count_alike(vocabulary: str) -> None:
    texts = [f"Message {number}: don't panic,\n it's only {number**3} tokens. " * 40 for number in range(200)]
    expected = [*map(of_splintr(vocabulary), texts)]
    count = counters.load_counter(vocabulary)
    assert count is not None
    found: list[list[int]] = []

    def work() -> None:
        found.extend([*map(count, texts)] for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for_loads()
    assert found == [expected] * 20


async def test_a_surrogate_and_a_long_text_count_as_with_splintr_alone() -> None:
    text = "The quick brown fox, 123 times: it doesn't jump! " * 30_000
    expected = await count_tokens(text, "gpt-4o"), await count_tokens("a \ud83d b", "gpt-4o")
    for _ in range(counters.BUSY):
        await count_tokens("two words", "gpt-4o")
    wait_for_loads()
    assert (await count_tokens(text, "gpt-4o"), await count_tokens("a \ud83d b", "gpt-4o")) == expected
    assert expected[0] == of_splintr("o200k_base")(text)
    assert not is_estimated("gpt-4o")


PROGRAM = """
import asyncio, multiprocessing, os, sys, threading
from chuk_ai_session_manager.accounts import counters
from chuk_ai_session_manager.accounts.tokens import count_tokens, is_estimated

async def texts(number):
    return [await count_tokens(f"Don't count {i} twice.", "gpt-4o") for i in range(number)]

def same(expected):
    assert asyncio.run(texts(20)) == expected[:20]

if __name__ == "__main__":
    expected = asyncio.run(texts(counters.BUSY // 2))
    assert "toktok" not in sys.modules, "too early"
    expected = asyncio.run(texts(counters.BUSY))
    for thread in threading.enumerate():
        if thread.name == "load-toktok":
            thread.join()
    assert "toktok" in sys.modules
    same(expected)
    child = os.fork()
    if not child:
        same(expected)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    for method in ("fork", "spawn"):
        process = multiprocessing.get_context(method).Process(target=same, args=(expected,))
        process.start()
        process.join()
        assert process.exitcode == 0, method
    print("counted")
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
def test_forked_and_new_processes_count_alike(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("counted\n", 0), done.stderr
