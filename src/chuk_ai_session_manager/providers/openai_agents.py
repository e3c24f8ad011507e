"""Reads responses, results and streams of runs of the OpenAI Agents SDK (openai-agents 0.24)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import openai_responses
from .answers import Answer, AnswerStream, Reader
from .common import data_of, dumped, field_of, is_list, json_of, list_of, name_in, text_in
from .messages import ChatMessage

FORMAT = "openai-agents"
_NO_ID = "__fake_id__"
"""What the SDK writes as the id of each item that it makes of a chat completion."""


def read(response: Any) -> Answer | None:
    """A `ModelResponse`; or the result of a run, with the responses before it and their calls' results."""
    raw = field_of(response, "raw_responses")
    if is_list(raw) and field_of(response, "new_items") is not None:
        return _of_run(response, list_of(raw))
    is_response = hasattr(response, "response_id") and is_list(field_of(response, "output"))
    return _of_response(response) if is_response else None


def _of_response(response: Any) -> Answer | None:
    items = [json_of(item) for item in list_of(field_of(response, "output"))]
    data = {"id": field_of(response, "response_id"), "output": items, "usage": field_of(response, "usage")}
    answer = openai_responses.read(json_of(data))
    return None if answer is None else _with_known_ids(answer, items)


def _with_known_ids(answer: Answer, items: Sequence[Any]) -> Answer:
    """An answer without the ids that the SDK made up, which no API knows."""
    about = next((field_of(item, "provider_data") for item in items), None)
    answer.model = answer.model or name_in(field_of(about, "model"))
    if any(field_of(item, "id") == _NO_ID for item in items):
        answer.native, answer.response_id = None, name_in(field_of(about, "response_id"))
    return answer


def _of_run(run: Any, responses: Any) -> Answer | None:
    model = field_of(field_of(run, "last_agent"), "model")
    answers = [answer for response in responses if (answer := _of_response(response)) is not None]
    for answer in answers:
        answer.model = answer.model or name_in(model) or name_in(field_of(model, "model"))
    return Answer.of_steps(_steps(answers, _results_in(list_of(field_of(run, "new_items")))))


def _results_in(items: Iterable[Any]) -> dict[str, Any]:
    """The results among the items of a run, by the ids of their calls."""
    return {
        text_in(field_of(item, "call_id")): field_of(item, "output")
        for each in items
        for item in [field_of(each, "raw_item")]
        if text_in(field_of(item, "type")).endswith("_output")
    }


def _steps(answers: Iterable[Answer], results: Mapping[str, Any]) -> list[Answer | ChatMessage]:
    """Answers, each with the results of its calls after it."""
    steps: list[Answer | ChatMessage] = []
    for answer in answers:
        steps.append(answer)
        for call in answer.tool_calls:
            if (output := results.get(call["id"])) is not None:
                content = json_of(output) if isinstance(output, Mapping) else output
                steps.append({"role": "tool", "tool_call_id": call["id"], "content": dumped(content)})
    return steps


class RunStream(AnswerStream):
    """A run as its events deliver it: those of each response, and the items of the run between them."""

    says_its_end = True

    def __init__(self) -> None:
        self._responses: list[openai_responses.OpenAIResponsesStream] = []
        self._results: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The text so far of the response that is under way."""
        return self._responses[-1].text if self._responses else ""

    def add(self, piece: Any) -> bool:
        """Take in an event."""
        match field_of(piece, "type"):
            case "raw_response_event":
                if not self._responses or self.is_complete:
                    self._responses.append(openai_responses.OpenAIResponsesStream())
                self._responses[-1].add(data_of(field_of(piece, "data")))
                self.is_complete: bool = self._responses[-1].is_complete
            case "run_item_stream_event":
                self._results |= _results_in([field_of(piece, "item")])
            case kind:
                return bool(kind == "agent_updated_stream_event")
        return True

    def end(self) -> Answer:
        """The answer, as far as it came, with the steps before it."""
        answers = [stream.end() for stream in self._responses]
        for answer in answers:
            _with_known_ids(answer, list_of(field_of(answer.native, "message")))
        return Answer.of_steps(_steps(answers, self._results)) or Answer()


READER = Reader(FORMAT, read, RunStream)
