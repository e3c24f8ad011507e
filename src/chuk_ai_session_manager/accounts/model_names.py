"""What a model's name says about its price: who runs the model, and under which names it may be listed.

Gateways add words of their own to a model's name (`azure/eu/gpt-4o`,
`publishers/google/models/gemini-2.5-pro`, `bedrock/us-east-1/anthropic.claude-v2:1`). The rules here are
plain functions of the names of the model and of its provider.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_LOCAL = frozenset(
    {
        "docker_model_runner", "gpt4all", "hosted_vllm", "jan", "koboldcpp", "llama-cpp", "llama-server",
        "llama.cpp", "llama_cpp", "llamacpp", "llamafile", "lm-studio", "lm_studio", "lmstudio", "local",
        "localai", "mlx", "mlx_lm", "ollama", "ollama_chat", "oobabooga", "sglang", "text-generation-webui",
        "vllm", "xinference",
    }
)  # fmt: skip
"""Servers that people run on their own machines, which send no bills."""

# Other names of providers, and their ids in the price list. (The list itself matches names loosely; it does
# not find these, or finds another provider: "azure-openai" is its openai.)
_LISTED_AS = {
    "azure_ai": "azure",
    "azure_openai": "azure",
    "azure-openai": "azure",
    "azureopenai": "azure",
    "azure_text": "azure",
    "bedrock_converse": "aws",
    "converse": "aws",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "fireworks-ai": "fireworks",
    "github_copilot": "github-copilot",
    "google-gla": "google",
    "google-vertex": "google",
    "google_genai": "google",
    "google_vertexai": "google",
    "grok": "x-ai",
    "kimi": "moonshotai",
    "moonshot": "moonshotai",
    "sagemaker": "aws",
    "together_ai": "together",
    "togetherai": "together",
    "together-ai": "together",
    "voyage": "voyageai",
    "x_ai": "x-ai",
    "xai": "x-ai",
    "z.ai": "zai",
    "zhipu": "zhipuai",
}
# Words that gateways put in front of a model's name, and that name neither the provider nor the model.
_WAYS = frozenset(
    {
        "chat", "completion", "converse", "converse_like", "data-zone", "deployments", "eu", "global",
        "global-standard", "invoke", "litellm", "litellm_proxy", "models", "responses", "text-completion",
        "us",
    }
)  # fmt: skip
_REGION = re.compile(r"[a-z]{2}(-gov)?-[a-z]+-\d")
# The regions whose Amazon prices the list has; in other regions, only Anthropic's models cost the same.
_LISTED_REGIONS = {"us-east-1", "us-west-2"}
# Models whose makers alone set the price, whichever gateway the call goes through. Models with open weights
# have another price at each provider.
_OF_ONE_PRICE = re.compile(r"(gpt-(?!oss)|chatgpt-|o\d|text-embedding-|claude-|gemini-|grok-|sonar|command-)")
# Providers whose API many others imitate, so that a response looks like theirs: the model may be anybody's.
_SPOKEN_BY_OTHERS = {"openai", "anthropic"}
_RESOURCE = re.compile(r"(?:^|/)publishers/[^/]+/models/([^/]+)$")
_FINE_TUNED_OPENAI = re.compile(r"ft:(gpt-|o\d|davinci|babbage)")
_BEDROCK_ARN = re.compile(r"^arn:aws[\w-]*:bedrock:[^/]*:(?:inference-profile|foundation-model)/([^/]+)$")
# Models that were fine-tuned for somebody: their price is agreed with the owner, and not that of the base
# model.
_FINE_TUNED = re.compile(r"(^|[/:._-])(ft|lora|fine-?tuned?|finetune)([:._-]|$)|tunedmodels/|^arn:aws[\w-]*:")
# What gateways put behind a model's name, and what leaves the price of a token as it is: OpenRouter's ways to
# choose a provider and to search the web (https://openrouter.ai/docs/guides/routing/model-variants), and the
# length of the context in Claude Code. OpenRouter's `:extended` has a price of its own.
_VARIANT = re.compile(r"(?::(?:nitro|floor|exacto|online|thinking|beta)|\[(\d+)([km])\])$", re.IGNORECASE)


class Reading(NamedTuple):
    """One way to look up a model: its name, and the price list's provider, if a provider is meant."""

    model: str
    provider: str | None


def is_local(model: str, provider: str | None) -> bool:
    """Whether the model runs on the application's own machines, as its provider or its prefix says.

    Ollama runs models whose tag ends in "cloud" on its own machines: these are not local.
    """
    named = (provider or "").strip().lower()
    prefix, slash, name = model.lower().partition("/")
    ran_by = prefix if slash and prefix in _LOCAL else named
    return ran_by in _LOCAL and not name.endswith("cloud") and not prefix.endswith(("-cloud", ":cloud"))


def names_of(model: str) -> list[str]:
    """A model's name, and then without each word that a gateway put behind it (`:online`, `[1m]`)."""
    names = [model]
    while match := _VARIANT.search(names[-1]):
        names.append(names[-1][: match.start()])
    return names


def named_window(model: str) -> int | None:
    """The context window that a name asks for ("claude-sonnet-4-5[1m]"), in tokens."""
    match = _VARIANT.search(model)
    if match is None or match[1] is None:
        return None
    return int(match[1]) * {"k": 1_000, "m": 1_000_000}[match[2].lower()]


def is_free(model: str) -> bool:
    """Whether the name says that the model costs nothing (OpenRouter's `:free` variants)."""
    return names_of(model)[-1].lower().endswith(":free")


@lru_cache(maxsize=512)  # names come from callers
def costs_nothing(model: str, provider: str | None) -> bool:
    """Whether the model runs on the application's own machines, or its name says that it is free."""
    return is_local(model, provider) or is_free(model)


def is_fine_tuned(name: str) -> bool:
    """Whether a name is that of a fine-tuned model."""
    return _FINE_TUNED.search(name.lower()) is not None


@lru_cache(maxsize=512)  # names come from callers
def readings_of(model: str, provider: str | None) -> tuple[Reading, ...]:
    """What a model's name may mean, best first: with the named provider, that of its prefix, or any."""
    name = model.strip().lower()
    named = None if provider in {None, "", "unknown", "litellm"} else listed_provider(provider)
    name, named = _resource_in(name, named)
    found: dict[Reading, None] = {}
    while name:
        may_be_anyone = named is None or named in _SPOKEN_BY_OTHERS
        found |= dict.fromkeys(_as_it_is(name, named, may_be_anyone=may_be_anyone))
        prefix, rest = _first_word(name)
        if _REGION.fullmatch(prefix):
            if "gov" in prefix or not (prefix in _LISTED_REGIONS or rest.startswith("anthropic.")):
                return ()
        elif prefix and prefix not in _WAYS:
            maker = listed_provider(prefix)
            if may_be_anyone:
                named = maker
            elif _OF_ONE_PRICE.match(rest):
                found[Reading(rest, maker)] = None
        name = rest
    return () if model.lower().startswith("us-gov.") else tuple(found)


def _as_it_is(name: str, named: str | None, *, may_be_anyone: bool) -> list[Reading]:
    """The ways to read a name without taking it apart."""
    if name.startswith("gpt-oss") and may_be_anyone:  # open weights, which OpenAI itself does not run
        return []
    readings = [] if named is None else [Reading(name, named)]
    return readings + ([Reading(name, None)] if may_be_anyone or _OF_ONE_PRICE.match(name) else [])


def _resource_in(name: str, named: str | None) -> tuple[str, str | None]:
    """The model and the provider in the name of a cloud's resource, or of a fine-tuned model."""
    if resource := _RESOURCE.search(name):
        return resource[1], "google"
    if arn := _BEDROCK_ARN.search(name):
        return arn[1], "aws"
    return (name, "openai") if _FINE_TUNED_OPENAI.match(name) else (name, named)


def listed_provider(provider: str | None) -> str:
    """The price list's id of a provider, if it is known here; otherwise its name in lower case."""
    name = (provider or "").strip().lower()
    return _LISTED_AS.get(name, name)


def _first_word(name: str) -> tuple[str, str]:
    """A name's first word and the rest: of "openai/gpt-4o", or of "openai:gpt-4o" as some write."""
    prefix, slash, rest = name.partition("/")
    if slash:
        return prefix, rest
    prefix, _, rest = name.partition(":")
    # "llama3:8b" and "claude-v2:1" are one name each, and so is "ft:gpt-4o"; a tag is not a model's name.
    is_provider = prefix != "ft" and re.search(r"[a-z]{2}", rest) and not re.search(r"\d", prefix)
    return (prefix, rest) if is_provider else ("", "")
