#!/usr/bin/env bash
# langchain-core 1.8.3 loses tool calls and usage when a result that contains a message is dumped.
#
# Behaviour: `AIMessage.model_dump()` has the message's tool calls, its usage and its invalid calls. `model_dump()` and
# `model_dump_json()` of a `ChatResult`, an `LLMResult` or a `ChatGeneration` that contains the same message leave these fields out,
# silently, because the field `message` is declared as `BaseMessage`; `type` still says "ai", and `content` is there.
# Why it matters here: callbacks get `LLMResult`, and applications record what they dump. We read the message in a result
# object itself, and never its dump. A dumped result has lost the calls that the next request must contain, and the bill.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langchain-core==1.8.3
"$folder/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult

message = AIMessage(
    "Let me see.",
    tool_calls=[{"id": "call_1", "name": "tide", "args": {"port": "Lisbon"}}],
    usage_metadata={"input_tokens": 100, "output_tokens": 10, "total_tokens": 110},
)
generation = ChatGeneration(message=message)
dumped = {
    "AIMessage": message.model_dump(),
    "ChatGeneration": generation.model_dump()["message"],
    "ChatResult": ChatResult(generations=[generation]).model_dump()["generations"][0]["message"],
    "LLMResult, as JSON": json.loads(LLMResult(generations=[[generation]]).model_dump_json())["generations"][0][0]["message"],
}
print("langchain-core", version("langchain-core"))
for name, fields in dumped.items():
    print(f"{name}: the message has", ", ".join(sorted(name for name, value in fields.items() if value)))
assert dumped["AIMessage"]["tool_calls"]
assert dumped["AIMessage"]["usage_metadata"]["input_tokens"] == 100
assert dumped.pop("AIMessage")["type"] == "ai"
for name, fields in dumped.items():
    assert fields["content"] == "Let me see."
    assert fields["type"] == "ai"
    assert not fields.keys() & {"tool_calls", "usage_metadata", "invalid_tool_calls"}, f"{name} has them now"
PYTHON
