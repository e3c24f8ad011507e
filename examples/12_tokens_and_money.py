"""Tokens and dollars: the two ledgers, the provider's own figures, prices of your own, and limits.

python examples/12_tokens_and_money.py
"""

from __future__ import annotations

import asyncio

from chuk_ai_session_manager import SessionManager, TokenLimitExceeded, TokenUsage
from chuk_ai_session_manager.accounts import pricing
from chuk_ai_session_manager.session_storage import get_backend


async def main() -> None:
    sm = SessionManager(system_prompt="You are a lawyer.")
    await sm.user_says("Summarise the contract.")
    await sm.ai_responds(
        "It is about bees.",
        model="gpt-4o",
        provider="openai",
        usage={  # or `response.usage`, of any provider's SDK, as it is
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 400},
        },
    )
    await sm.user_says("And in one word?")
    await sm.ai_responds("Honey.", model="my-local-model")  # nobody's usage: estimated; nobody's price: none

    stats = await sm.get_stats()
    print(f"How long it is:   {stats['total_tokens']} content tokens")
    print(f"What was billed:  {stats['input_tokens']} in, {stats['cache_read_tokens']} of them cached;")
    print(f"                  {stats['output_tokens']} out, {stats['usage_source']}")
    unpriced = f"{stats['unpriced_calls']} call without a known price"
    print(f"What it cost:     ${stats['estimated_cost']:.6f}, {unpriced}")

    pricing.set_price("my-local-model", input=0.20, output=0.60)  # USD a million tokens
    await sm.ai_responds(
        "Honey!", model="my-local-model", usage={"prompt_tokens": 900, "completion_tokens": 2}
    )
    print(f"With its price:   ${(await sm.get_stats())['estimated_cost']:.6f}\n")

    session = await get_backend().store.get(sm.session_id)
    for source, summary in (await session.get_token_usage_by_source()).items() if session else []:
        print(f"Content by {source}: {summary.total_tokens} tokens, {sorted(summary.usage_by_model)}")

    # A text that is in no session:
    usage = await TokenUsage.from_text("What would this cost?", "Very little.", model="gpt-4o-mini")
    print(f"A text alone:     {usage.total_tokens} tokens, ${usage.estimated_cost_usd:.6f}\n")

    # An answer that was paid is kept. The limit refuses the next question, before a model is asked.
    thrifty = SessionManager(cost_limit=0.001)
    await thrifty.user_says("Write a novel.")
    await thrifty.ai_responds(
        "It was a dark and stormy night ...", model="gpt-4o", usage={"input_tokens": 8, "output_tokens": 500}
    )
    try:
        await thrifty.user_says("Go on.")
    except TokenLimitExceeded as error:
        print(f"The next question is refused: ${error.actual:.3f} of ${error.limit:.3f} are spent")


if __name__ == "__main__":
    asyncio.run(main())
