#!/usr/bin/env bash
# langchain-openai 1.7.4 reports a multiple of the tokens of a stream that counts as it goes.
#
# Behaviour: servers with OpenAI's format may send the usage so far with each chunk: vLLM does if `continuous_usage_stats` is asked
# for. Each usage is a running total, and the last one is the call's. ChatOpenAI puts each of them on its chunk, and adding
# chunks, as LangChain does itself in `invoke` with `streaming=True`, adds the totals up: a prompt of 100 tokens whose answer came
# in four chunks, an end and a last usage is reported as 600 input tokens, without a warning.
# Why it matters here: a bill of such a message is many times too high. Of a stream that we record ourselves, we take a usage
# that names the input again as a later total, and do not add it. A message that LangChain has added up cannot be told apart.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langchain-openai==1.7.4 langchain-core==1.8.3 openai==3.57.0
"$folder/venv/bin/python" - <<'PYTHON'
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from langchain_openai import ChatOpenAI

WORDS = ["One", " two", " three", " four"]


def chunk(written, **more):
    usage = {"prompt_tokens": 100, "completion_tokens": written, "total_tokens": 100 + written}
    begun = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "a-model", "usage": usage}
    return begun | {"choices": [{"index": 0, "delta": {}, "finish_reason": None} | more] if more else []}


STREAM = [chunk(at, delta={"role": "assistant", "content": word}) for at, word in enumerate(WORDS, 1)]
STREAM += [chunk(4, finish_reason="stop"), chunk(4)]


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for each in [*map(json.dumps, STREAM), "[DONE]"]:
            self.wfile.write(f"data: {each}\n\n".encode())

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}/v1"
model = ChatOpenAI(model="a-model", api_key="none", base_url=address, streaming=True, stream_usage=True)
message = model.invoke("Count to four.")
print("langchain-openai", version("langchain-openai"), "langchain-core", version("langchain-core"))
print("the last usage of the stream:", STREAM[-1]["usage"])
print("the usage of the message:", {name: message.usage_metadata[name] for name in ("input_tokens", "output_tokens")})
assert message.content == "One two three four"
assert message.usage_metadata["input_tokens"] == 600, "running usage is not added up any more"
assert message.usage_metadata["output_tokens"] == 1 + 2 + 3 + 4 + 4 + 4
PYTHON
