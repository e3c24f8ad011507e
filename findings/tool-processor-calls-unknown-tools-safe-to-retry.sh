#!/usr/bin/env bash
# chuk-tool-processor 0.26.1 calls every tool safe to retry that does not say otherwise, and functions cannot say so.
#
# Behaviour: `ToolContract().is_safe_to_retry` is True: a contract that was never written declares no side effects. And
# `register_fn_tool` registers a wrapper of the function that has none of its declarations: `@contract(idempotent=False)` and
# `@retryable(max_retries=0)` are not seen any more, and with its default settings the processor runs the function four times.
# Why it matters here: a payment whose answer is lost is made again. We read declarations from the function itself, and take a
# contract that does not say `idempotent=True` for that of a tool that must not run twice.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check chuk-tool-processor==0.26.1
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import asyncio
from importlib.metadata import version

from chuk_tool_processor import ToolCall, ToolProcessor
from chuk_tool_processor.execution.wrappers import retryable
from chuk_tool_processor.models import ToolContract, contract
from chuk_tool_processor.registry import initialize
from chuk_tool_processor.registry.auto_register import register_fn_tool

paid = 0


@contract(idempotent=False)
@retryable(max_retries=0)
async def pay(amount: int) -> str:
    """Pay an amount."""
    global paid
    paid += amount
    raise ConnectionResetError("the answer is lost")


async def main() -> None:
    await initialize()
    await register_fn_tool(pay, name="pay")
    processor = ToolProcessor()
    await processor.initialize()
    (result,) = await processor.execute([ToolCall(tool="pay", arguments={"amount": 1})])
    print("chuk-tool-processor", version("chuk-tool-processor"))
    print(f"a contract that says nothing is safe to retry: {ToolContract().is_safe_to_retry}")
    print(f"paid {paid} times ({result.error})")
    assert ToolContract().is_safe_to_retry, "what is not declared is not safe now"
    assert paid == 4, "declarations of functions are seen now"


asyncio.run(main())
PYTHON
