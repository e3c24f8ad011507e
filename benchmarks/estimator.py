"""How far `estimate_tokens` is from tiktoken, and what counting a long text costs the event loop.

    python benchmarks/estimator.py --chats chats.jsonl    # errors, by kind of text and vocabulary
    python benchmarks/estimator.py --stall                # microseconds a text, event-loop stall for 10 MB

Needs tiktoken and its vocabularies (TIKTOKEN_CACHE_DIR). Chats are one JSON a line, with OpenAI `messages`.
The estimator was fitted on the odd passages of 500 characters; the table is made of the even ones.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import sys
import sysconfig
import time
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING

import tiktoken

from chuk_ai_session_manager.accounts.tokens import count_tokens, estimate_tokens

sys.path.insert(0, str(Path(__file__).parent / "drivers"))
from driver import stalled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PASSAGE, PASSAGES_IN_LONG, MAXIMUM_PASSAGES = 500, 6, 1000


def chat_texts(path: Path) -> tuple[str, str]:
    """What was said in the chats, and the JSON that the tools answered; each text once."""
    said, answered = dict[str, None](), dict[str, None]()
    for line in path.read_text("utf-8").splitlines():
        for message in json.loads(line)["messages"]:
            content = message.get("content") or ""
            if message["role"] in {"user", "assistant"}:
                said[content] = None
            elif message["role"] == "tool" and content.startswith(("{", "[")):
                answered[content] = None
    return "\n".join(said), "\n".join(answered)


def docstrings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            yield str(ast.get_docstring(node))


def corpora(chats: Path | None) -> dict[str, str]:
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    sources = [file.read_text("utf-8", "replace") for file in files]
    kinds = {
        "English (docs)": "\n".join(text for source in sources for text in docstrings(source)),
        "code (Python)": "\n".join(sources),
        "Chinese": (Path(__file__).parent / "data" / "chinese.txt").read_text("utf-8"),
    }
    if chats:
        kinds["English (chat)"], kinds["JSON"] = chat_texts(chats)
    return kinds


def reported_passages(text: str) -> dict[int, list[str]]:
    """The even passages; long ones are six of them in a row, or as many as there are."""
    even = [text[start : start + PASSAGE] for start in range(0, len(text), 2 * PASSAGE)]
    even = even[:: max(1, len(even) // MAXIMUM_PASSAGES)]
    long = ["".join(even[at : at + PASSAGES_IN_LONG]) for at in range(0, len(even), PASSAGES_IN_LONG)]
    return {PASSAGE: even, PASSAGE * PASSAGES_IN_LONG: long}


def error(passages: list[str], count: Callable[[str], float], encoding: tiktoken.Encoding) -> str:
    errors = [100 * (count(text) / len(encoding.encode_ordinary(text)) - 1) for text in passages]
    return f"{mean(map(abs, errors)):5.1f} % ({mean(errors):+6.1f})"


def print_errors(chats: Path | None) -> None:
    print(f"{'text':16}{'vocabulary':14}{'characters':>10}{'texts':>7}{'estimate_tokens':>20}{'len / 4':>20}")
    for kind, text in sorted(corpora(chats).items()):
        for vocabulary in ("cl100k_base", "o200k_base"):
            encoding = tiktoken.get_encoding(vocabulary)
            for size, passages in reported_passages(text).items():
                ours = error(passages, estimate_tokens, encoding)
                quarter = error(passages, lambda text: len(text) / 4, encoding)
                print(f"{kind:16}{vocabulary:14}{size:>10}{len(passages):>7}{ours:>20}{quarter:>20}")


async def print_stalls() -> None:
    stall, took = await stalled(count_tokens("x", "gpt-4o"))
    print(f"first count (tiktoken's import, o200k_base's load): stall {stall * 1e3:.0f} ms, {took:.2f} s")
    prose = "Here is a line of plain prose, with 42 numbers and a few names in it. "
    texts = {"prose": prose, "a": "a", "spaces": " ", "Chinese, unbroken": "中文字", "emoji": "😀"}
    for name, unit in texts.items():
        text = (unit * 10_000_000)[: 10_000_000 // len(unit[0].encode())]
        stall, took = await stalled(count_tokens(text, "gpt-4o"))
        print(f"10 MB of {name}: stall {stall * 1e3:.1f} ms, {took:.1f} s")
        stall, took = await stalled(asyncio.to_thread(estimate_tokens, text))
        print(f"    estimated: stall {stall * 1e3:.1f} ms, {took:.2f} s")
    await print_short_times(prose)


async def print_short_times(prose: str) -> None:
    for size in (30, 300, 4000):
        text = (prose * 60)[:size]
        estimated, counted = [], []
        for _ in range(1000):
            start = time.perf_counter()
            estimate_tokens(text)
            estimated.append((time.perf_counter() - start) * 1e6)
            start = time.perf_counter()
            await count_tokens(text, "gpt-4o")
            counted.append((time.perf_counter() - start) * 1e6)
        print(f"{size} characters: estimate {median(estimated):.1f} us, exact {median(counted):.1f} us")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chats", type=Path)
    parser.add_argument("--stall", action="store_true")
    arguments = parser.parse_args()
    asyncio.run(print_stalls()) if arguments.stall else print_errors(arguments.chats)


if __name__ == "__main__":
    main()
