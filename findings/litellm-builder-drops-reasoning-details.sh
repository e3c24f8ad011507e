#!/usr/bin/env bash
# litellm 1.110.2 loses `reasoning_details` when it puts a stream together.
#
# Behaviour: OpenRouter and others send signed or encrypted reasoning as `reasoning_details`. LiteLLM's objects keep the field,
# in each chunk of a stream and in a whole response. `stream_chunk_builder`, which makes a whole response of the chunks of a
# stream, drops it, silently; refusals and annotations it keeps.
# Why it matters here: in a tool loop the provider wants these details back. We put streams together from their chunks
# ourselves and keep the details. An application that records what `stream_chunk_builder` made has lost them already.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check litellm==1.110.2
LITELLM_LOCAL_MODEL_COST_MAP=True "$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import litellm
from litellm.types.utils import ModelResponse, ModelResponseStream

litellm.suppress_debug_info = True
DETAILS = [{"type": "reasoning.encrypted", "data": "c2VjcmV0", "id": "r1", "format": "openai-responses-v1", "index": 0}]
SOURCE = {"type": "url_citation", "url_citation": {"url": "https://example.org", "title": "Example"}}


def chunk(delta, finish_reason=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return ModelResponseStream(id="c1", object="chat.completion.chunk", created=1, model="a-model", choices=[choice])


chunks = [
    chunk({"role": "assistant", "content": "", "reasoning_details": DETAILS}),
    chunk({"content": "Lisbon is", "annotations": [SOURCE]}),
    chunk({"content": " sunny."}),
    chunk({}, "stop"),
]
message = {"role": "assistant", "content": "Lisbon is sunny.", "reasoning_details": DETAILS, "annotations": [SOURCE]}
choice = {"index": 0, "finish_reason": "stop", "message": message}
whole = ModelResponse(id="c1", object="chat.completion", created=1, model="a-model", choices=[choice])
built = litellm.stream_chunk_builder(chunks)
fields = {
    "a chunk": sorted(chunks[0].choices[0].delta.model_dump(exclude_none=True)),
    "a whole response": sorted(whole.choices[0].message.model_dump(exclude_none=True)),
    "the builder's response": sorted(built.choices[0].message.model_dump(exclude_none=True)),
}
print("litellm", version("litellm"))
for where, names in fields.items():
    print(f"{where} has", ", ".join(names))
assert "reasoning_details" in fields["a chunk"]
assert "reasoning_details" in fields["a whole response"]
assert "annotations" in fields["the builder's response"]
assert "reasoning_details" not in fields["the builder's response"], "the builder keeps reasoning_details now"
PYTHON
