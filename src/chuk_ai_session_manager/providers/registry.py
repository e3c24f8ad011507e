"""The registry of readers: those of this package, and those that an application registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

from ..exceptions import InvalidInput
from . import (
    anthropic,
    bedrock,
    cohere,
    google,
    google_interactions,
    langchain,
    ollama,
    openai_agents,
    openai_chat,
    openai_responses,
    plain,
    pydantic_ai,
    xai,
)
from .answers import Answer, Reader, provider_of
from .common import data_of, field_of, is_list, json_of, list_of, mended, package_of
from .usage import usage_of

# The readers in the order in which they are tried: the first that recognises a response reads it.
_BUILT_IN = (
    langchain.READER,
    pydantic_ai.READER,
    openai_agents.READER,
    openai_responses.READER,
    openai_responses.ITEM_READER,
    openai_chat.READER,
    ollama.READER,
    cohere.READER,
    bedrock.READER,
    xai.READER,
    google_interactions.READER,
    google.READER,
    anthropic.READER,
    openai_chat.MESSAGE_READER,
    plain.READER,
)
_entered: list[Reader] = []


def register_reader(reader: Reader) -> None:
    """Register your own reader. It is tried before all others; the last one registered is tried first.

    From then on, `ai_responds`, `track_llm_call`, `stream_llm_call` and tracked clients read its responses.
    A reader replaces an earlier registered one with the same format name.

    Example:
        >>> def read(response):
        ...     if not isinstance(response, dict) or "my_reply" not in response:
        ...         return None
        ...     return Answer(response["my_reply"], native=native_of("mine", response))
        >>> register_reader(Reader("mine", read))
    """
    unregister_reader(reader.format)
    _entered.insert(0, reader)


def unregister_reader(format_name: str) -> None:
    """Remove a reader that an application registered, if there is one."""
    _entered[:] = [each for each in _entered if each.format != format_name]


def readers() -> Sequence[Reader]:
    """Return all readers, in the order in which they are tried."""
    return (*_entered, *_BUILT_IN)


def read_answer(response: object) -> Answer:
    """Read a model's response, from an object of its SDK or from JSON in dicts.

    The response is a text; a response of OpenAI (chat and Responses), of a provider with its format, of
    Anthropic, Google, Amazon Bedrock, Cohere, Ollama or xAI; a message of LangChain; a response or a run's
    result of pydantic-ai or the OpenAI Agents SDK; a response that a registered reader reads; or an object
    with `content` or `text`.

    Raises:
        InvalidInput: it is none of these; the error names its type.
    """
    answer = answer_in(response)
    if answer is None:
        raise not_understood(response)
    return answer


def not_understood(response: object) -> InvalidInput:
    """The error for an object that is not a response, which names its type; or for a failed call."""
    operation = "read the model's answer"
    error = None if isinstance(response, str | bytes | Sequence) else field_of(data_of(response), "error")
    if error or isinstance(response, BaseException):
        code = field_of(error, "code") or field_of(response, "status_code")
        named = f" ({code})" if isinstance(code, int) else ""
        return InvalidInput(
            operation,
            f"this is the error of a call that failed{named}, not an answer: there is nothing to record. "
            "Record an answer when a later call succeeds",
        )
    return InvalidInput(
        operation,
        f"{type(response).__name__} is not a known response: pass its text, or an object or dict of "
        "OpenAI, Anthropic, Google or another provider, or one with `content` or `text`; "
        "`register_reader` registers a reader for a format of your own",
    )


def answer_in(response: object) -> Answer | None:
    """A model's response as an answer; `None` if it is not recognised."""
    if isinstance(response, str):
        return Answer(mended(response))
    if response is None or isinstance(response, bytes | bytearray | int | float | Sequence):
        return None
    data = data_of(response)
    for reader in readers():
        answer = reader.read(data)
        if answer is None:
            continue
        if answer.native is None and is_dataclass(data) and not isinstance(data, type):
            answer = reader.read(json_of(data)) or answer
        said_by(response, answer)
        return answer
    wrapped = _wrapped_in(response)
    return None if wrapped is None else answer_in(wrapped)


def _wrapped_in(response: Any) -> Any:
    """The response inside of what a framework makes of it; `None` if there is none.

    LangChain's structured outputs (`include_raw=True`) and LlamaIndex have it as `raw`. LangChain's callbacks
    get `generations`, in a list for each prompt.
    """
    generations = list_of(field_of(response, "generations"))
    while generations and is_list(generations[0]):
        generations = generations[0]
    return field_of(generations[0], "message") if generations else field_of(response, "raw")


def said_by(response: Any, answer: Answer) -> None:
    """Add to an answer what is beside its parts: who ran the model, and what the bill needs."""
    named = provider_of(response)
    # LiteLLM returns all providers' answers in OpenAI's form.
    answer.provider = named if package_of(response) == "litellm" else named or answer.provider
    cost = field_of(field_of(response, "_hidden_params"), "response_cost")
    if cost:  # LiteLLM writes 0.0 if it does not know
        answer.billed.setdefault("reported_cost_usd", cost)
    if answer.usage is not None and "usage" in answer.billed:
        answer.usage = usage_of(answer.billed)
    request_id = getattr(response, "_request_id", None)  # in the SDKs of OpenAI and Anthropic
    if isinstance(request_id, str) and answer.native is not None:
        answer.native.setdefault("response", {})["request_id"] = request_id
