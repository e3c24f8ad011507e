"""What a model's name says about its price: who runs the model, and under which names it may be listed.

Gateways put words of their own around a model's name (`azure/eu/gpt-4o`,
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
"""Servers that people run on their own machines: nobody sends a bill for what they do."""

# The price list's ids of providers that the libraries of this field call by other names. (The list matches
# names loosely itself; these it does not find, or it finds another provider: "azure-openai" is its openai.)
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
# Words that gateways put in front of a model's name, and that say neither whose nor which model it is.
_WAYS = frozenset(
    {
        "chat", "completion", "converse", "converse_like", "data-zone", "deployments", "eu", "global",
        "global-standard", "invoke", "litellm", "litellm_proxy", "models", "responses", "text-completion",
        "us",
    }
)  # fmt: skip
_REGION = re.compile(r"[a-z]{2}(-gov)?-[a-z]+-\d")
# Where the price list says what a model costs at Amazon; elsewhere only Anthropic's cost the same.
_LISTED_REGIONS = {"us-east-1", "us-west-2"}
# Models that their makers alone set the price of, whichever gateway they are called through. What others may
# run as well (open weights) costs something else at each of them.
_OF_ONE_PRICE = re.compile(r"(gpt-(?!oss)|chatgpt-|o\d|text-embedding-|claude-|gemini-|grok-|sonar|command-)")
# Whose API many others speak too, so that a response looks like theirs: the name may be anybody's model.
_SPOKEN_BY_OTHERS = {"openai", "anthropic"}
_RESOURCE = re.compile(r"(?:^|/)publishers/[^/]+/models/([^/]+)$")
_FINE_TUNED_OPENAI = re.compile(r"ft:(gpt-|o\d|davinci|babbage)")
_BEDROCK_ARN = re.compile(r"^arn:aws[\w-]*:bedrock:[^/]*:(?:inference-profile|foundation-model)/([^/]+)$")
# Models that were trained on for somebody: they cost what their owner agreed on, not what their base costs.
_FINE_TUNED = re.compile(r"(^|[/:._-])(ft|lora|fine-?tuned?|finetune)([:._-]|$)|tunedmodels/|^arn:aws[\w-]*:")


class Reading(NamedTuple):
    """One way to look a model up: its name, and the price list's provider if one is meant."""

    model: str
    provider: str | None


def is_local(model: str, provider: str | None) -> bool:
    """Whether a server on the application's own machines runs the model, by its provider or its prefix.

    Ollama runs models whose tag ends in "cloud" on its own machines: those are not local.
    """
    named = (provider or "").strip().lower()
    prefix, slash, name = model.lower().partition("/")
    ran_by = prefix if slash and prefix in _LOCAL else named
    return ran_by in _LOCAL and not name.endswith("cloud") and not prefix.endswith(("-cloud", ":cloud"))


def is_free(model: str) -> bool:
    """Whether the name says that the model costs nothing (OpenRouter's `:free` variants)."""
    return model.lower().endswith(":free")


@lru_cache(maxsize=512)  # names come from callers
def costs_nothing(model: str, provider: str | None) -> bool:
    """Whether the model runs on the application's own machines, or its name says that it is free."""
    return is_local(model, provider) or is_free(model)


def is_fine_tuned(name: str) -> bool:
    """Whether a name is that of a model trained further for somebody."""
    return _FINE_TUNED.search(name.lower()) is not None


@lru_cache(maxsize=512)  # names come from callers
def readings_of(model: str, provider: str | None) -> tuple[Reading, ...]:
    """What a model's name may mean, best first: of that provider, of the one in its prefix, of any."""
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
    """How to read a name without taking it apart."""
    if name.startswith("gpt-oss") and may_be_anyone:  # open weights: OpenAI runs them for nobody
        return []
    readings = [] if named is None else [Reading(name, named)]
    return readings + ([Reading(name, None)] if may_be_anyone or _OF_ONE_PRICE.match(name) else [])


def _resource_in(name: str, named: str | None) -> tuple[str, str | None]:
    """The model and the provider that a cloud's resource name, or a fine-tuned model's, speaks of."""
    if resource := _RESOURCE.search(name):
        return resource[1], "google"
    if arn := _BEDROCK_ARN.search(name):
        return arn[1], "aws"
    return (name, "openai") if _FINE_TUNED_OPENAI.match(name) else (name, named)


def listed_provider(provider: str | None) -> str:
    """The price list's id of a provider, as far as it is known here; its name in small letters otherwise."""
    name = (provider or "").strip().lower()
    return _LISTED_AS.get(name, name)


def _first_word(name: str) -> tuple[str, str]:
    """A name's first word and the rest of it: of "openai/gpt-4o", or "openai:gpt-4o" as some write."""
    prefix, slash, rest = name.partition("/")
    if slash:
        return prefix, rest
    prefix, _, rest = name.partition(":")
    # "llama3:8b" and "claude-v2:1" are one name each; so is "ft:gpt-4o", and a tag is no model's name.
    is_provider = prefix != "ft" and re.search(r"[a-z]{2}", rest) and not re.search(r"\d", prefix)
    return (prefix, rest) if is_provider else ("", "")
