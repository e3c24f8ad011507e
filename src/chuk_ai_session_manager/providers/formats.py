"""The formats of requests: converts messages of the common form to a provider's format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypeAlias, get_args

from typing_extensions import TypedDict

from ..exceptions import InvalidInput
from .anthropic_messages import anthropic_request
from .bedrock_messages import bedrock_request
from .cache_marks import CacheTtl
from .fingerprints import Chain
from .google_messages import google_request
from .messages import ChatMessage
from .openai_messages import openai_messages
from .responses_messages import responses_input

# The SDKs' own types, for applications that check types; without the SDK, they are `Any`.
if TYPE_CHECKING:
    from google.genai.types import ContentDict
    from openai.types.chat import ChatCompletionMessageParam
    from openai.types.responses import ResponseInputItemParam
else:
    ContentDict = ChatCompletionMessageParam = ResponseInputItemParam = dict[str, Any]

Format: TypeAlias = Literal["openai", "openai-responses", "anthropic", "google", "bedrock"]
ToResponses: TypeAlias = Literal["openai-responses"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""The formats of `get_messages_for_llm`."""

MaySign: TypeAlias = Callable[[ChatMessage], bool]
"""Decides whether the signed parts (thinking, reasoning, thoughts) of an answer may be included."""


class GoogleRequest(TypedDict):
    """google-genai's arguments for `generate_content`: `contents`, and its config's `system_instruction`."""

    contents: list[ContentDict]
    system_instruction: NotRequired[str]
    """The system prompt; left out if there is none."""


class BedrockRequest(TypedDict):
    """The arguments of `converse` and `converse_stream` (Amazon Bedrock, boto3) that contain the messages."""

    messages: list[dict[str, Any]]
    system: NotRequired[list[dict[str, Any]]]
    """The system prompt; left out if there is none."""


class ResponsesRequest(TypedDict):
    """The arguments of OpenAI's `responses.create` with only what is new since a response."""

    input: list[ResponseInputItemParam]
    previous_response_id: NotRequired[str]
    """The response that holds the earlier messages; left out if there is none."""
    conversation: NotRequired[str]
    """The server's conversation that holds them, if the response belongs to one."""


class ContextOptions(TypedDict, total=False):
    """The options of `get_messages_for_llm` for all formats."""

    include_tools: bool
    max_tokens: int | Literal["auto"] | None
    reserve: int
    steady: bool
    model: str | None
    tools: Sequence[Any] | None
    response_format: Any
    cache: bool | CacheTtl
    recall: str | bool | None
    keep_tool_results: int | None


OpenAIMessages: TypeAlias = "list[ChatCompletionMessageParam]"
ResponsesInput: TypeAlias = "list[ResponseInputItemParam]"


def check_format(name: object, operation: str) -> None:
    """Raise if a format is unknown.

    Raises:
        InvalidInput: naming the known formats.
    """
    if name not in FORMATS:
        raise InvalidInput(operation, f"format must be one of {', '.join(FORMATS)}")


def written(
    rows: Sequence[ChatMessage],
    format_name: Format | None,
    *,
    model: str | None = None,
    may_sign: MaySign = lambda _: True,
    chain: Chain | None = None,
) -> Any:
    """Convert the messages of a context to a provider's format.

    Args:
        rows: messages of `context_rows`, or plain ones; each call followed by its results.
        format_name: the format; by default OpenAI's, with the thinking of Anthropic's models beside it.
        model: the model that will be called, if it is known: some makers require more than the format.
        may_sign: whether an answer's signed parts may be included; text and calls always are.
        chain: gets everything that is written before `may_sign` is called.
    """
    match format_name:
        case "anthropic":
            return anthropic_request(rows, may_sign, chain)
        case "google":
            return google_request(rows, may_sign, model)
        case "bedrock":
            return bedrock_request(rows, may_sign, chain)
        case "openai-responses":
            return responses_input(rows, may_sign, chain)
        case _:
            return openai_messages(rows, may_sign, model, chain, as_recorded=format_name is None)
