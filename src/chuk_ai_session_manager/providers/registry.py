"""Who can read a model's answer: the readers of this package, and those that an application enters."""

from __future__ import annotations

from collections.abc import Sequence
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
    openai_chat,
    openai_responses,
    plain,
    xai,
)
from .answers import Answer, Reader, provider_of
from .common import data_of, field_of, mended, package_of
from .usage import usage_of

# Asked in this order: the first that knows a shape reads it.
_BUILT_IN = (
    langchain.READER,
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
    """Enter a reader of one's own; it is asked before all others, the one entered last first.

    From then on `ai_responds`, `track_llm_call`, `stream_llm_call` and tracked clients read what it
    knows. A reader entered under the name of another that was entered before takes its place.

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
    """Take out a reader that an application entered; nothing happens where there is none."""
    _entered[:] = [each for each in _entered if each.format != format_name]


def readers() -> Sequence[Reader]:
    """All readers, in the order in which they are asked."""
    return (*_entered, *_BUILT_IN)


def read_answer(response: object) -> Answer:
    """Read a model's response, as an object of its SDK or as the JSON in dicts.

    That is: a text; a response of OpenAI (chat and Responses), of those who speak its format, of Anthropic,
    Google, Amazon Bedrock, Cohere, Ollama or xAI; a message of LangChain's; what a reader knows that was
    entered by `register_reader`; or anything with `content` or `text`.

    Raises:
        InvalidInput: it is none of them; the text names its type.
    """
    answer = answer_in(response)
    if answer is None:
        raise not_understood(response)
    return answer


def not_understood(response: object) -> InvalidInput:
    """The error for what is no response, naming its type."""
    return InvalidInput(
        "read the model's answer",
        f"{type(response).__name__} is no known response: give its text, or an object or dict of "
        "OpenAI, Anthropic, Google or another provider, or one with `content` or `text`; "
        "`register_reader` enters a reader for a format of your own",
    )


def answer_in(response: object) -> Answer | None:
    """A model's response as an answer; `None` where it is none that is known."""
    if isinstance(response, str):
        return Answer(mended(response))
    if response is None or isinstance(response, bytes | bytearray | int | float | Sequence):
        return None
    data = data_of(response)
    for reader in readers():
        answer = reader.read(data)
        if answer is not None:
            said_by(response, answer)
            return answer
    return None


def said_by(response: Any, answer: Answer) -> None:
    """Put on an answer what stands beside its parts: who ran the model, and what the bill needs to know."""
    named = provider_of(response)
    # LiteLLM gives everybody's answers in OpenAI's form.
    answer.provider = named if package_of(response) == "litellm" else named or answer.provider
    cost = field_of(field_of(response, "_hidden_params"), "response_cost")
    if cost:  # LiteLLM writes 0.0 where it does not know
        answer.billed.setdefault("reported_cost_usd", cost)
    if answer.usage is not None and "usage" in answer.billed:
        answer.usage = usage_of(answer.billed)
    request_id = getattr(response, "_request_id", None)  # of the SDKs of OpenAI and Anthropic
    if isinstance(request_id, str) and answer.native is not None:
        answer.native.setdefault("response", {})["request_id"] = request_id
