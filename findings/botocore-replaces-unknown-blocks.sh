#!/usr/bin/env bash
# botocore 1.44.8 gives a content block that it does not know as a name only, which cannot be sent back.
#
# Behaviour: Bedrock's Converse API answers with a list of content blocks. Where a block is of a kind that the installed
# botocore does not know, its place has {"SDK_UNKNOWN_MEMBER": {"name": ...}}: the block's content is gone. A request that has
# this answer in its history is refused before it is sent (ParamValidationError).
# Why it matters here: what a model said cannot be kept whole if an older SDK read it. We keep the placeholder, so that one
# sees that something was there, and leave it out of every request, so that the conversation goes on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check boto3==1.44.8 botocore==1.44.8
"$folder/venv/bin/python" - <<'PYTHON'
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from threading import Thread

import boto3
from botocore.exceptions import ParamValidationError

CONTENT = [{"text": "Here is the plan."}, {"planBlock": {"steps": ["book the flight", "book the hotel"]}}]
ANSWER = {
    "output": {"message": {"role": "assistant", "content": CONTENT}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30},
    "metrics": {"latencyMs": 1},
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
client = boto3.client(
    "bedrock-runtime",
    region_name="us-east-1",
    endpoint_url=f"http://127.0.0.1:{server.server_port}",
    aws_access_key_id="none",
    aws_secret_access_key="none",
)
question = {"role": "user", "content": [{"text": "Plan my trip."}]}
message = client.converse(modelId="a-model", messages=[question])["output"]["message"]
print("botocore", version("botocore"))
print("the server sent:", CONTENT)
print("the client gives:", message["content"])
assert message["content"][1] == {"SDK_UNKNOWN_MEMBER": {"name": "planBlock"}}, "unknown blocks are kept now"
try:
    client.converse(modelId="a-model", messages=[question, message, question])
except ParamValidationError as problem:
    print("sent back:", type(problem).__name__)
else:
    raise SystemExit("the placeholder may be sent back now")
PYTHON
