"""The two ledgers, which are never mixed.

`TokenUsage` counts *content tokens*: how long something is, each message once. `CallUsage` is the bill of
one model call: the whole context that was sent, cached or not, and the answer.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from operator import itemgetter
from typing import Any, ClassVar, TypeAlias

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from ..accounts import tokens
from ..accounts.money import DECIMALS, Usd, units_of
from ..accounts.pricing import call_cost, load_prices
from ..exceptions import InvalidSessionOperation
from .record import Record

TIKTOKEN_AVAILABLE = any(find_spec(name) is not None for name in ("splintr", "tiktoken"))
"""Whether a package that counts exactly is installed; set it to `False` to use the built-in estimator instead
(tokenizers of `set_tokenizer` are used in any case)."""


def usd(amount: float) -> float:
    """A sum of money without the rounding errors of added floats: to 10⁻¹² dollars."""
    return round(amount, DECIMALS)


class TokenUsage(Record):
    """The number of tokens of a prompt and its completion, and their cost in USD.

    By default, the total is the sum of the two, and the cost is made from them and the model's price: 0.0 for
    a model without a known price, `None` without a model.

    Raises:
        InvalidSessionOperation: a count is below 0.
    """

    prompt_tokens: int = 0
    """Tokens of what was sent to the model."""
    completion_tokens: int = 0
    """Tokens of the model's answer."""
    total_tokens: int = 0
    """The sum of both, unless you set it."""
    model: str = ""
    """The model whose tokens they are; empty without a model."""
    estimated_cost_usd: float | None = None
    """USD."""
    estimated: bool = False
    """Whether an estimator counted the tokens, not the model's own tokenizer."""

    def model_post_init(self, _context: Any, /) -> None:  # noqa: D102  (pydantic's hook)
        values, given = self.__dict__, self.__pydantic_fields_set__  # reading a log calls this for each event
        prompt, completion = values["prompt_tokens"], values["completion_tokens"]
        total = values["total_tokens"]
        if prompt < 0 or completion < 0 or total < 0:
            _require_counts(prompt, completion, total)
        if not total:
            values["total_tokens"] = prompt + completion
            given.add("total_tokens")
        # A cost that was stored as None stays None when it is read.
        if values["model"] and values["estimated_cost_usd"] is None and "estimated_cost_usd" not in given:
            self.estimated_cost_usd = self._cost()

    def _cost(self) -> float:
        cost = call_cost(self.model, input_tokens=self.prompt_tokens, output_tokens=self.completion_tokens)
        return cost or 0.0

    async def calculate_cost(self) -> float:
        """Return what these tokens cost in USD as one call; 0.0 for a model without a known price."""
        await load_prices()
        return self._cost()

    async def update(self, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Add the tokens of one more call, and update total and cost.

        The call is priced separately: a price that depends on a call's length does not apply to the sum.

        Raises:
            InvalidSessionOperation: a count is below 0; nothing was added.
        """
        _require_counts(prompt_tokens, completion_tokens)
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.total_tokens = self.prompt_tokens + self.completion_tokens
        if self.model:
            await load_prices()
            cost = call_cost(self.model, input_tokens=prompt_tokens, output_tokens=completion_tokens)
            self.estimated_cost_usd = Usd(self.estimated_cost_usd or 0.0) + (cost or 0.0)

    @classmethod
    async def from_text(
        cls, prompt: str | None, completion: str | None = None, model: str = "gpt-3.5-turbo"
    ) -> TokenUsage:
        """Count the tokens of two texts for a model, and price them, in USD.

        Long texts are counted outside the event loop. The default model is the original's; pass yours.
        """
        await load_prices()
        return cls(
            prompt_tokens=await cls.count_tokens(prompt, model),
            completion_tokens=await cls.count_tokens(completion, model),
            model=model,
            estimated=cls.is_estimated(model),
        )

    @staticmethod
    async def count_tokens(text: Any, model: str = "gpt-3.5-turbo") -> int:
        """Return how many tokens a text has for a model. `None` has 0; other objects are counted as `str()`.

        All token counts of the library use this method, so that replacing it replaces them all.
        """
        if text is None or text == "":
            return 0
        text = text if isinstance(text, str) else str(text)
        if TIKTOKEN_AVAILABLE or tokens.has_own_tokenizer(model):
            counted = tokens.count_at_once(text, model)
            return await tokens.count_tokens(text, model) if counted is None else counted
        if len(text) > tokens.LONG_TEXT:
            return await asyncio.to_thread(tokens.estimate_tokens, text)
        return tokens.estimate_tokens(text)

    @staticmethod
    def is_estimated(model: str) -> bool:
        """Whether `count_tokens` would return an estimate for this model."""
        can_be_exact = TIKTOKEN_AVAILABLE or tokens.has_own_tokenizer(model)
        return not can_be_exact or tokens.is_estimated(model)

    def add(self, other: TokenUsage) -> None:
        """Add another usage to this one, cost included."""
        self._add(counted_of(other), units_of(other.estimated_cost_usd or 0.0))

    def _add(self, counted: Counted, units: int) -> None:
        sums = self.__dict__  # setting pydantic's fields would take seven times as long
        prompt, completion, total, _, cost, is_estimated = counted
        sums["prompt_tokens"] += prompt
        sums["completion_tokens"] += completion
        sums["total_tokens"] += total
        if is_estimated:
            sums["estimated"] = True
        if units or (cost is not None and sums["estimated_cost_usd"] is None):
            sums["estimated_cost_usd"] = Usd.sum_of(sums["estimated_cost_usd"] or 0.0, units)

    def __add__(self, other: TokenUsage) -> TokenUsage:
        total = self.model_copy()
        total.model = self.model or other.model
        total.add(other)
        return total


Counted: TypeAlias = tuple[int, int, int, str, float | None, bool]
"""The fields of a token usage, in their order."""

_COUNTED = ("prompt_tokens", "completion_tokens", "total_tokens", "model", "estimated_cost_usd", "estimated")
_counted_of = itemgetter(*_COUNTED)


def counted_of(usage: TokenUsage) -> Counted:
    """The fields of a token usage."""
    counted: Counted = _counted_of(
        usage.__dict__
    )  # reading six of pydantic's fields takes four times as long
    return counted


def usage_of(counted: Counted) -> TokenUsage:
    """A token usage of these fields, which are known to be valid."""
    return TokenUsage.of_valid(dict(zip(_COUNTED, counted, strict=True)))


class TokenSummary(Record):
    """The content tokens and the cost of a session: totals, and by model."""

    total_prompt_tokens: int = 0
    """Tokens of what was sent to models."""
    total_completion_tokens: int = 0
    """Tokens of the models' answers."""
    total_tokens: int = 0
    """All tokens."""
    usage_by_model: dict[str, TokenUsage] = Field(default_factory=dict)
    """The same by model, without usage that names no model."""
    total_estimated_cost_usd: float = 0.0
    """USD; usage without a known price adds nothing."""

    async def add_usage(self, usage: TokenUsage) -> None:
        """Add one usage to the totals, and to those of its model."""
        self.add(usage)

    def add(self, usage: TokenUsage) -> None:
        """Add one usage to the totals, and to those of its model."""
        self.add_counted(counted_of(usage))

    def add_counted(self, counted: Counted) -> None:
        """The same for the fields of a usage."""
        sums = self.__dict__  # see `TokenUsage.add`
        prompt, completion, total, model, cost, _ = counted
        sums["total_prompt_tokens"] += prompt
        sums["total_completion_tokens"] += completion
        sums["total_tokens"] += total
        units = 0
        if cost:
            units = units_of(cost)
            sums["total_estimated_cost_usd"] = Usd.sum_of(sums["total_estimated_cost_usd"], units)
        if not model:
            return
        of_model: TokenUsage | None = sums["usage_by_model"].get(model)
        if of_model is None:
            sums["usage_by_model"][model] = usage_of(counted)
        else:
            of_model._add(counted, units)  # noqa: SLF001  (with the money scaled once)

    def subtract(self, usage: TokenUsage) -> None:
        """Subtract a usage that was added before."""
        self.add(
            usage.model_copy(
                update={
                    "prompt_tokens": -usage.prompt_tokens,
                    "completion_tokens": -usage.completion_tokens,
                    "total_tokens": -usage.total_tokens,
                    "estimated_cost_usd": -(usage.estimated_cost_usd or 0.0),
                }
            )
        )


class CallUsage(Record):
    """The bill of one model call, in tokens and USD.

    `input_tokens` is the whole context that was sent, including its cached parts (`cache_read_tokens`,
    `cache_write_tokens`); `output_tokens` include `reasoning_tokens`. Both include the calls that
    the provider made by itself (`iterations`).
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    model: str
    """The model, as the provider names it."""
    provider: str = "unknown"
    """The provider that ran the model."""
    input_tokens: int = Field(default=0, ge=0)
    """Everything that was sent, cached tokens included."""
    output_tokens: int = Field(default=0, ge=0)
    """Everything that the model wrote, reasoning included."""
    cache_read_tokens: int = Field(default=0, ge=0)
    """Input that was read from the provider's cache."""
    cache_write_tokens: int = Field(default=0, ge=0)
    """Input that was written to the provider's cache."""
    reasoning_tokens: int = Field(default=0, ge=0)
    """Output that was reasoning, not part of the answer."""
    cost_usd: float | None = None
    """`None` for a call without a known price, which adds nothing to totals and is counted as unpriced."""
    estimated: bool = False
    """Whether the library estimated the tokens, because no figures of the provider were passed."""
    details: dict[str, int] = Field(default_factory=dict)
    """Parts with prices of their own, if they are not 0: `cache_write_1h_tokens`,
    `cache_write_12h_tokens`, `input_audio_tokens`, `output_audio_tokens`, `input_image_tokens`,
    `output_image_tokens`, `input_video_tokens`, `output_video_tokens`, `cache_audio_read_tokens`,
    `cache_image_read_tokens`, `cache_video_read_tokens`, `output_citation_tokens`, `input_audio_seconds`,
    `web_searches`, `storage_searches` (in files at the provider)."""
    service_tier: str | None = None
    """The tier that served the call ("flex", "batch", "priority" ...), as the provider or the application
    names it."""
    speed: str | None = None
    """Anthropic's speed ("fast"), as the response names it."""
    inference_geo: str | None = None
    """Where Anthropic's model ran ("us"), as the response names it."""
    cost_source: str | None = None
    """The source of the cost: "reported" by the provider or a gateway, "application" (`set_price`),
    "priced" by the price list, or "unpriced". `None` for calls that were recorded before this field
    existed."""
    iterations: list[CallUsage] = Field(default_factory=list)
    """Calls that the provider made by itself for this answer, each billed at its own model's price:
    compactions, advisors, fallbacks, images. Counts and cost of this call include them."""

    cache_saved_usd: float | None = None
    """What more the call would have cost without a prompt cache, in USD; below 0 where only writing to the
    cache cost something. `None` of calls that used no cache, or whose price is not known."""
    cache_miss_reason: str | None = None
    """Why the provider's cache did not have the beginning of the prompt, as the provider says:
    "tools_changed", "messages_changed" and so on."""
    counted_tokens: int | None = None
    """How many tokens this library counted in the context, if the context came from it. Compared with
    `input_tokens`, it shows how far the library's count of this model's tokens is off."""
    continues: bool = False
    """Whether this continues the bill of a call of which a part was stored before: it is not another call."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out optional parts that are empty: most calls have none of them."""
        written: dict[str, Any] = write(self)
        for name in _OPTIONAL:
            if not written.get(name):
                written.pop(name, None)
        return written


_OPTIONAL = (
    "details",
    "service_tier",
    "speed",
    "inference_geo",
    "cost_source",
    "iterations",
    "cache_saved_usd",
    "cache_miss_reason",
    "counted_tokens",
    "continues",
)


def _require_counts(*counts: int) -> None:
    if min(counts) < 0:
        # Not InvalidInput, which is a ValueError: pydantic would wrap it in an error of its own.
        raise InvalidSessionOperation("count tokens", "a token count cannot be below 0")
