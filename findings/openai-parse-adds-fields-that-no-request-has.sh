#!/usr/bin/env bash
# openai 3.57.0: what `responses.parse` returns cannot be sent back as it dumps itself.
#
# Behaviour: `client.responses.parse` adds `parsed` to the text and `parsed_arguments` to the function call. `to_dict()`, which
# otherwise gives an item as the API sent it, has both fields too. Neither is a field of a request's items.
# Why it matters here: the next request repeats these items. We store and send them without the two fields, so that an
# answer of `parse` is the same as that of `create`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openai==3.57.0
"$folder/venv/bin/python" - <<'PYTHON'
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from threading import Thread

import openai
from openai.types.responses import ResponseFunctionToolCallParam, ResponseOutputTextParam
from pydantic import BaseModel

TEXT = {"type": "output_text", "text": '{"city": "Porto"}', "annotations": []}
ITEMS = [
    {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [TEXT]},
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "Tide", "arguments": '{"port": "Porto"}'},
]
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5.6", "status": "completed", "output": ITEMS,
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
}


class Api(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(RESPONSE).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Place(BaseModel):
    city: str


class Tide(BaseModel):
    port: str


server = HTTPServer(("127.0.0.1", 0), Api)
Thread(target=server.serve_forever, daemon=True).start()
client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none")
asked = {"model": "gpt-5.6", "input": "Where?", "tools": [openai.pydantic_function_tool(Tide)["function"] | {"type": "function"}]}
created = client.responses.create(**asked).to_dict()["output"]
parsed = client.responses.parse(**asked, text_format=Place).to_dict()["output"]
text = sorted(set(parsed[0]["content"][0]) - set(created[0]["content"][0]))
call = sorted(set(parsed[1]) - set(created[1]))
print("openai", version("openai"))
print("parse adds to the text:", text, "and to the call:", call)
assert created == ITEMS
assert text == ["parsed"], "the text has no other fields now"
assert call == ["parsed_arguments"], "the call has no other fields now"
assert "parsed" not in ResponseOutputTextParam.__annotations__
assert "parsed_arguments" not in ResponseFunctionToolCallParam.__annotations__
PYTHON
