"""The formats in which a model is asked: rows of the common form in, what a provider's API takes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypeAlias, get_args

from typing_extensions import TypedDict

from ..exceptions import InvalidInput
from .anthropic_messages import anthropic_request
from .cache_marks import CacheTtl
from .fingerprints import Chain
from .google_messages import google_request
from .messages import ChatMessage
from .openai_messages import openai_messages
from .responses_messages import responses_input

# The SDKs' own types, for those who check theirs; without an SDK installed they are `Any` there.
if TYPE_CHECKING:
    from google.genai.types import ContentDict
    from openai.types.chat import ChatCompletionMessageParam
    from openai.types.responses import ResponseInputItemParam
else:
    ContentDict = ChatCompletionMessageParam = ResponseInputItemParam = dict[str, Any]

Format: TypeAlias = Literal["openai", "openai-responses", "anthropic", "google"]
ToResponses: TypeAlias = Literal["openai-responses"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""The formats that `get_messages_for_llm` knows."""

MaySign: TypeAlias = Callable[[ChatMessage], bool]
"""Says of an answer's row whether what its provider signed (thinking, reasoning, thoughts) may go back."""


class GoogleRequest(TypedDict):
    """What google-genai's `generate_content` takes: `contents`, and its config's `system_instruction`."""

    contents: list[ContentDict]
    system_instruction: NotRequired[str]
    """The system prompt; left out where there is none."""


class ResponsesRequest(TypedDict):
    """The arguments of OpenAI's `responses.create` that say what is new since a response."""

    input: list[ResponseInputItemParam]
    previous_response_id: NotRequired[str]
    """The response that holds what was before; left out where none does."""
    conversation: NotRequired[str]
    """The server's conversation that holds it, where the response belongs to one."""


class ContextOptions(TypedDict, total=False):
    """The options of `get_messages_for_llm` that all formats have."""

    include_tools: bool
    max_tokens: int | Literal["auto"] | None
    reserve: int
    steady: bool
    model: str | None
    tools: Sequence[Any] | None
    response_format: Any
    cache: bool | CacheTtl
    recall: str | bool | None


OpenAIMessages: TypeAlias = "list[ChatCompletionMessageParam]"
ResponsesInput: TypeAlias = "list[ResponseInputItemParam]"


def check_format(name: object, operation: str) -> None:
    """Refuse a format that is not known.

    Raises:
        InvalidInput: naming those that are.
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
    """Rows of a context as what a provider takes.

    Args:
        rows: of `context_rows`, or plain ones; each call followed by its results.
        format_name: the format; without one, OpenAI's, with the thinking of Anthropic's models beside it.
        model: who is asked, where that is known: some makers want more than the format says.
        may_sign: whether an answer's signed parts may go back; its text and its calls do in any case.
        chain: takes what is written before `may_sign` is asked.
    """
    match format_name:
        case "anthropic":
            return anthropic_request(rows, may_sign, chain)
        case "google":
            return google_request(rows, may_sign, model)
        case "openai-responses":
            return responses_input(rows, may_sign, chain)
        case _:
            return openai_messages(rows, may_sign, model, chain, as_recorded=format_name is None)
