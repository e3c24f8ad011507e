"""Exact counts: which model counts with which vocabulary, and that all who count with it agree."""

from __future__ import annotations

import json
import logging
import operator
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chuk_ai_session_manager import TokenUsage
from chuk_ai_session_manager.accounts import counters, tokens
from chuk_ai_session_manager.accounts.tokens import count_tokens, is_estimated, set_tokenizer
from chuk_ai_session_manager.accounts.vocabularies import vocabulary_of
from chuk_ai_session_manager.exceptions import InvalidInput

pytest.importorskip("splintr", reason="splintr-rs is not installed")

HINDI = "नमस्ते, मैं आपकी क्या सहायता कर सकता हूँ? " * 5

NAMES = {
    "o200k_base": [
        "gpt-4o", "GPT-4o", "gpt-4o-mini-2024-07-18", "openai/gpt-4o", "openai:gpt-4o", "openai/gpt-4o:online",
        "azure/gpt-4.1", "azure/eu/gpt-4o", "ft:gpt-4.1-mini:acme::x", "ft:gpt-4o-2024-08-06:acme:suffix:id",
        "ft:o4-mini:acme::1", "ft:gpt-4o-mini:acme:my-llama-3:id", "gpt-5", "gpt-5.6-mini", "openrouter/openai/gpt-5.1:free", "chatgpt-4o-latest", "o1",
        "o1-preview", "o3-mini", "o3", "openai/o4-mini-2025-04-16", "gpt-4.5-preview",
    ],
    "cl100k_base": [
        "gpt-4", "gpt-4[1m]", "openai/gpt-4:nitro", "gpt-4-0613", "gpt-4-turbo", "gpt-3.5-turbo", "gpt-35-turbo", "azure/gpt-4", "openai/gpt-4-32k",
        "ft:gpt-3.5-turbo:acme::x", "text-embedding-3-small", "text-embedding-ada-002",
    ],
    "o200k_harmony": ["gpt-oss:20b", "openai/gpt-oss-120b", "groq/openai/gpt-oss-20b", "openai.gpt-oss-120b-1:0"],
    "llama3": [
        "llama3.3:70b", "llama3", "llama3[128k]", "meta-llama/llama-3:online:nitro", "llama3.2:1b", "meta-llama/Llama-3.3-70B-Instruct", "llama-3.1-8b-instant",
        "us.meta.llama3-3-70b-instruct-v1:0", "meta.llama3-8b-instruct-v1:0", "llama3-8b-8192",
        "accounts/fireworks/models/llama-v3p1-405b-instruct", "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        "publishers/meta/models/llama-3.1-405b-instruct-maas", "NousResearch/Hermes-3-Llama-3.1-70B",
        "nvidia/llama-3.1-nemotron-70b-instruct", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "deepseek-r1:70b",
        "deepseek-r1:8b-llama-distill-q4_K_M", "hfl/llama-3-chinese-8b-instruct", "ollama/llama3.1:8b",
    ],
    "llama2": ["llama2", "meta-llama/Llama-2-70b-chat-hf", "meta.llama2-13b-chat-v1", "tinyllama", "lmsys/vicuna-7b-v1.5"],
    "codellama": ["codellama:34b", "codellama/CodeLlama-7b-hf"],
    "mistral_sentencepiece": [
        "mixtral-8x7b-32768", "mistralai/Mixtral-8x22B-Instruct-v0.1", "mistralai/Mistral-7B-Instruct-v0.2",
        "mistral.mistral-7b-instruct-v0:2", "mistral.mistral-large-2407-v1:0", "mistral:7b",
    ],
    "mistral_tekken": [
        "open-mistral-nemo-2407", "mistral-nemo", "mistralai/Mistral-Small-3.2-24B-Instruct-2506", "pixtral-12b-2409",
        "ministral-8b-2410", "magistral-small-2506", "devstral-small-2507",
        "mistral-small3.2:24b", "mistral-small:24b", "devstral:24b",
    ],
    "deepseek_v3": [
        "deepseek-chat", "deepseek-reasoner", "deepseek/deepseek-r1", "deepseek-ai/DeepSeek-V3.1", "deepseek-v3p1",
        "us.deepseek.r1-v1:0", "deepseek-r1:671b", "accounts/fireworks/models/deepseek-v3",
    ],
    "qwen3": [
        "Qwen/Qwen3-32B", "qwen2.5:7b", "qwen3:8b", "qwen/qwen3-coder", "qwq-32b", "Qwen/Qwen2.5-72B-Instruct-Turbo",
        "accounts/fireworks/models/qwen2p5-72b-instruct", "deepseek-r1-distill-qwen-32b", "deepseek-r1:14b",
        "deepseek-r1:8b-0528-qwen3-q4_K_M", "deepseek/deepseek-r1-0528-qwen3-8b:free", "hf:Qwen/Qwen3-32B-GGUF:Q4_K_M",
    ],
    "glm4": ["glm-4.5", "THUDM/glm-4-9b-chat", "zai-org/GLM-4.6", "glm4:9b"],
    "kimi_k2": ["kimi-k2-0905-preview", "moonshotai/Kimi-K2-Instruct"],
    "kimi_k3": ["kimi-k3"],
    "phi4": ["phi4", "microsoft/phi-4", "phi4:14b"],
    "olmo2": ["olmo2:7b", "allenai/OLMo-2-1124-13B-Instruct"],
}  # fmt: skip
UNKNOWN = [
    "claude-sonnet-4-5", "grok-4", "my-gpt-4o-clone", "not-llama", "llama", "llamaindex-7b", "mistral",
    "gpt-neox-20b", "gpt4all-j", "o5", "unknown", "", "phi-3-mini", "deepseek-v2", "deepseek-coder", "command-r",
    "acme/qwenlike-2", "glm-5", "codestral-latest", "go1-model", "foo/o3x",
]  # fmt: skip
NOT_EXACT = [
    # The name of such a model does not say which of the two families' vocabularies it has.
    "gpt-4-x-alpaca", "unsloth/Llama-3.1-8B-DeepSeek-R1", "deepseek-r1-distill-phi-4", "gemma3-deepseek-r1",
    "TeichAI/Qwen3-8B-DeepSeek-v3.2-Distill", "ollama/llama3-mistral", "acme/Llama-3-8B-gpt-4o",
    # Fine-tunes that added tokens for another language.
    "hfl/chinese-llama-2-7b", "beomi/llama-2-ko-7b", "ELYZA-japanese-Llama-2-7b-fast", "Chinese-Mixtral-8x7B",
    "itpossible/Chinese-Mistral-7B-v0.1",
    # Google's SDK counts with these vocabularies; nothing says that splintr's copies are the same.
    "gemini-2.5-pro", "google/gemini-3.5-flash", "gemini-flash-latest", "google/gemma-3-27b-it", "gemma2-9b-it", "codegemma",
    # Ollama's default of this name is a small distilled model.
    "ollama/deepseek-r1", "deepseek-r1:latest",
    "llama-4-scout",
    "meta-llama/Llama-4-Maverick",
    "mistral-large-latest",
    "qwen3.5:9b",
    "deepseek-r1:8b",
]  # fmt: skip


@pytest.mark.parametrize(
    ("vocabulary", "name"), [(key, name) for key, names in NAMES.items() for name in names]
)
def test_a_known_name_has_its_vocabulary(vocabulary: str, name: str) -> None:
    found = vocabulary_of(name)
    assert found is not None
    assert (found.name, found.is_exact) == (vocabulary, True)


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_name_has_none(name: str) -> None:
    assert vocabulary_of(name) is None


@pytest.mark.parametrize("name", [*UNKNOWN, *NOT_EXACT])
async def test_a_borrowed_vocabulary_is_never_called_exact(name: str) -> None:
    assert await count_tokens("Some words.", name) > 0
    assert is_estimated(name)


@pytest.mark.parametrize("vocabulary", NAMES)
def test_every_vocabulary_counts_special_tokens_as_text(vocabulary: str) -> None:
    count = splintr_counter(vocabulary)
    assert count is not None
    for special in ("<|endoftext|>", "<|im_start|>", "<s>", "[INST]", "<|eot_id|>", "</s>", "<think>"):
        assert count(special) > 1
        assert count(f"a {special} b") > count("a  b")


@cache  # some take 0.4 s to load
def splintr_counter(vocabulary: str) -> counters.Counter | None:
    return counters._from_splintr(vocabulary)


@pytest.fixture(scope="module")
def references() -> dict[str, Any]:
    """tiktoken's own encodings by name, where their files are at hand."""
    if not os.environ.get("TIKTOKEN_CACHE_DIR"):
        pytest.skip("tiktoken's vocabularies are not at hand: set TIKTOKEN_CACHE_DIR")
    import tiktoken

    return {name: tiktoken.get_encoding(name) for name in ("cl100k_base", "o200k_base")}


TEXTS = st.one_of(
    st.text(max_size=400),
    st.lists(
        st.sampled_from(
            ["the ", "don't", " I'll", "  ", "\n\n", "123", "4567.89", "def f(x):", "\t", "é", "ß", "中文", "日本語",
             "안녕", "नमस्ते", "สวัสดี", "مرحبا", "שלום", "😀", "👩‍💻", "<|endoftext|>", "<|im_start|>", "</", "{\"a\": 1}",
             "https://a.b/c?d=e", "A" * 30, " " * 20, "\r\n", "\x00", "\u202e", "ﬁ", "ǅ"]
        ),
        max_size=40,
    ).map("".join),
)  # fmt: skip


@pytest.mark.parametrize("vocabulary", ["cl100k_base", "o200k_base"])
@settings(max_examples=1500, deadline=None)
@given(text=TEXTS)
def test_the_packages_agree_on_any_text(references: dict[str, Any], vocabulary: str, text: str) -> None:
    count = splintr_counter(vocabulary)
    assert count is not None
    assert count(text) == len(references[vocabulary].encode_ordinary(text))


@pytest.mark.parametrize("vocabulary", ["cl100k_base", "o200k_base"])
def test_the_packages_agree_on_real_conversations(
    references: dict[str, Any], vocabulary: str, chats: list[dict[str, Any]]
) -> None:
    count = splintr_counter(vocabulary)
    assert count is not None
    texts = [json.dumps(row) for chat in chats for row in chat["messages"]]
    texts += [row["content"] for chat in chats for row in chat["messages"] if row.get("content")]
    assert [count(text) for text in texts] == [
        len(references[vocabulary].encode_ordinary(text)) for text in texts
    ]


def test_qwen_composes_characters_before_it_counts() -> None:
    count = splintr_counter("qwen3")
    assert count is not None
    # The counts of dashscope 1.x, in which Qwen's makers publish their tokenizer.
    assert [
        count(text)
        for text in (
            "\u095ba\u0e17\u0e2e\u0595\u099ba",
            "\u0999 \u06c5\u0648\u0654\u0688 \u09ae\u09f2",
            "e\u0301te\u0301",
        )
    ] == [10, 9, count("\u00e9t\u00e9")]


@pytest.mark.parametrize("model", ["llama2", "mixtral-8x7b", "gpt-4o", "deepseek-chat", "qwen3:8b"])
async def test_a_long_text_counts_as_its_whole(model: str) -> None:
    text = "The quick brown fox, 123 times: it jumps! " * 3000
    found = vocabulary_of(model)
    assert found is not None
    whole = splintr_counter(found.name)
    assert whole is not None
    assert await count_tokens(text, model) == whole(text)


async def test_half_of_a_surrogate_pair_is_counted_as_what_replaces_it() -> None:
    assert await count_tokens("a \ud83d b", "gpt-4o") == await count_tokens("a \ufffd b", "gpt-4o")


FORK = """
import asyncio, os
from chuk_ai_session_manager.accounts import tokens as counting
from chuk_ai_session_manager.accounts.tokens import count_tokens, is_estimated
counting.VOCABULARY_WAIT_SECONDS = 60  # a busy machine may take longer than anybody would wait
def count(model):
    tokens = asyncio.run(count_tokens("How many tokens is this? " * 3_000, model))
    assert tokens > 10_000 and not is_estimated(model), (model, tokens)
count("gpt-4o")
child = os.fork()
if not child:
    count("gpt-4o")
    count("llama3.3:70b")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_counts_and_loads_vocabularies() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_without_network_and_files_counts_are_exact(tmp_path: Path) -> None:
    program = (
        "import asyncio\n"
        "from chuk_ai_session_manager import TokenUsage\n"
        "from chuk_ai_session_manager.accounts import tokens\n"
        "tokens.VOCABULARY_WAIT_SECONDS = 60  # a busy machine may take longer than anybody would wait\n"
        f"print(asyncio.run(TokenUsage.count_tokens({HINDI!r}, 'openai/gpt-4o')), TokenUsage.is_estimated('openai/gpt-4o'))"
    )
    environment = {**os.environ, "TIKTOKEN_CACHE_DIR": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["62", "False"]  # cl100k_base, which would stand in, counts 210


class TestSetTokenizer:
    """An application's own tokenizer."""

    @pytest.fixture(autouse=True)
    def own(self) -> Iterator[None]:
        yield
        tokens._own.clear()
        tokens._found.clear()

    async def test_a_tokenizer_counts_for_models_with_its_prefix(self) -> None:
        set_tokenizer("Acme-", len)
        set_tokenizer("acme-large", str.split)
        assert await count_tokens("two words", "acme-1") == 9
        assert await count_tokens("two words", "ACME-large-2") == 2
        assert not is_estimated("acme-1")
        assert await TokenUsage.count_tokens("two words " * 1000, "acme-large") == 2000
        set_tokenizer("acme-", None)
        assert await count_tokens("two words", "acme-1") == 2
        assert is_estimated("acme-1")

    async def test_a_tokenizer_that_raises_gives_estimates_and_one_warning(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(text: str) -> int:
            raise RuntimeError(text)

        set_tokenizer("acme", broken)
        with caplog.at_level(logging.WARNING):
            assert [await count_tokens("secret words", "acme") for _ in range(3)] == [2] * 3
        assert is_estimated("acme"), "no count that the estimator made is called exact"
        (record,) = caplog.records
        assert (
            record.getMessage() == "The tokenizer set for acme failed (RuntimeError): its texts are estimated"
        )

    @pytest.mark.parametrize("returned", [None, "three", True, -1, 2.5, {}, {"input_ids": None}])
    async def test_a_tokenizer_that_returns_no_number_gives_estimates(self, returned: Any) -> None:
        set_tokenizer("acme", lambda _: returned)
        assert await count_tokens("two words", "acme") == 2
        assert is_estimated("acme")

    async def test_tokenizers_of_other_packages_are_counted_as_they_are(self) -> None:
        numpy = pytest.importorskip("numpy")
        for returned in (numpy.int64(5), numpy.zeros(5, dtype=int), range(5), {"input_ids": [0] * 5}):
            set_tokenizer("acme", partial(operator.getitem, {"two words": returned}))
            assert await count_tokens("two words", "acme") == 5
            assert not is_estimated("acme")

    async def test_it_counts_where_no_package_for_counting_is_installed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chuk_ai_session_manager.models.token_usage.TIKTOKEN_AVAILABLE", False)
        set_tokenizer("acme", len)
        assert await TokenUsage.count_tokens("four", "acme") == 4
        assert not TokenUsage.is_estimated("acme")
        assert TokenUsage.is_estimated("gpt-4o")

    def test_what_is_no_plain_function_is_refused(self) -> None:
        async def tokenizer(text: str) -> int:
            return len(text)

        for wrong in (tokenizer, 7, "gpt-4o"):
            with pytest.raises(InvalidInput, match="tokenizer must be a plain function"):
                set_tokenizer("acme", wrong)  # type: ignore[arg-type]

    def test_an_empty_prefix_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="prefix"):
            set_tokenizer("", len)
