#!/usr/bin/env bash
# google-genai 3.6.1 turns a part that it does not know into an empty one, silently.
#
# Behaviour: where a Gemini response has a part, a field of a known part or a count of a kind that the installed SDK does not
# know, the response object lacks it. A part of an unknown kind is still there, but empty; no warning is given. The same JSON
# given to the class itself (`GenerateContentResponse.model_validate`) is refused: extra fields are forbidden.
# Why it matters here: the SDKs of OpenAI and Anthropic keep what they do not know, this one does not. What the API sent can
# only be kept whole by whoever reads its JSON. We leave empty parts out of requests, since the API wants each part filled.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check google-genai==3.6.1
"$folder/venv/bin/python" - <<'PYTHON'
import json
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from threading import Thread

from google import genai
from google.genai.types import GenerateContentResponse
from pydantic import ValidationError

PARTS = [
    {"text": "Here is the plan."},
    {"plan": {"steps": ["book the flight"]}},
    {"functionCall": {"id": "c1", "name": "book", "args": {}, "deadline": "2026-12-01"}},
]
ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": PARTS}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "planTokenCount": 9},
}


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Server)
Thread(target=server.serve_forever, daemon=True).start()
client = genai.Client(api_key="none", http_options={"base_url": f"http://127.0.0.1:{server.server_port}"})
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    answer = client.models.generate_content(model="gemini-3-pro", contents="Plan my trip.")
    given = [part.model_dump(exclude_none=True) for part in answer.candidates[0].content.parts]
print("google-genai", version("google-genai"))
print("the server sent:", PARTS)
print("the client gives:", given)
assert given[1] == {}, "unknown parts are kept now"
assert "deadline" not in given[2]["function_call"], "unknown fields of a call are kept now"
assert "plan" not in str(answer.usage_metadata), "unknown counts are kept now"
assert not [each for each in told if "part" in str(each.message)], "the SDK warns of unknown parts now"
try:
    GenerateContentResponse.model_validate(ANSWER)
except ValidationError as problem:
    print("the class itself:", {error["type"] for error in problem.errors()})
else:
    raise SystemExit("the class takes unknown fields now")
PYTHON
