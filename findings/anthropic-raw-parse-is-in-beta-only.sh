#!/usr/bin/env bash
# anthropic 2.14.0: `parse` has a raw form in the beta API only.
#
# Behaviour: `messages` and `beta.messages` both have `create` and `parse`. `with_raw_response`, which gives the HTTP response
# beside the object, has both methods for `beta.messages`, but only `create` for `messages`; in the blocking client too.
# Why it matters here: `parse` raises an error for an answer that is cut off. Only the raw response has that answer, which was
# paid. A tracked client has to ask for the raw response of `messages.parse` in another way, to record the answer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check anthropic==2.14.0
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import anthropic

print("anthropic", version("anthropic"))
for make in (anthropic.Anthropic, anthropic.AsyncAnthropic):
    client = make(api_key="none")
    has = {}
    for name, messages in {"messages": client.messages, "beta.messages": client.beta.messages}.items():
        assert hasattr(messages, "parse") and hasattr(messages.with_raw_response, "create")
        has[name] = hasattr(messages.with_raw_response, "parse")
    print(make.__name__, "has with_raw_response.parse:", has)
    assert has == {"messages": False, "beta.messages": True}, "both have the raw form now, or none"
PYTHON
