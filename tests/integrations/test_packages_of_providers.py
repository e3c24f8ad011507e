"""What this library assumes of the SDKs of model providers: each test fails when the package changes.

docs/reality.md says what follows from each for users; test_packages.py has the other packages.
"""

from __future__ import annotations

import os
from typing import Any, get_args

import pytest

from chuk_ai_session_manager.providers.endings import UNFINISHED


class TestBedrock:
    @pytest.fixture
    def shapes(self) -> Any:
        session = pytest.importorskip("botocore.session").get_session()
        return session.get_service_model("bedrock-runtime")

    def test_cached_tokens_stand_beside_the_input_with_their_lifetimes(self, shapes: Any) -> None:
        usage = shapes.shape_for("TokenUsage").members
        assert usage.keys() >= {
            "inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens",
        }  # fmt: skip
        if "cacheDetails" in usage:  # since 2026
            assert usage["cacheDetails"].member.members.keys() == {"ttl", "inputTokens"}

    def test_a_block_is_one_of_several_by_its_key(self, shapes: Any) -> None:
        block = shapes.shape_for("ContentBlock")
        assert block.is_tagged_union
        assert block.members.keys() >= {"text", "toolUse", "reasoningContent", "citationsContent"}
        assert shapes.shape_for("ToolUseBlock").members.keys() >= {"toolUseId", "name", "input"}

    def test_a_stream_s_events_are_one_of_several_by_their_keys(self, shapes: Any) -> None:
        events = shapes.operation_model("ConverseStream").output_shape.members["stream"].members
        assert events.keys() >= {
            "messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop",
            "metadata",
        }  # fmt: skip
        assert events["contentBlockDelta"].members["delta"].members["toolUse"].members.keys() >= {"input"}

    def test_a_stream_can_only_be_iterated_and_closed(self) -> None:
        stream = pytest.importorskip("botocore.eventstream").EventStream
        assert {name for name in ("__iter__", "close", "__next__", "__enter__") if hasattr(stream, name)} == {
            "__iter__",
            "close",
        }


class TestEndings:
    """All reasons for which an answer ends early are known: a text that is cut off is no summary."""

    def test_of_gemini(self) -> None:
        types = pytest.importorskip("google.genai.types")
        whole = {"STOP", "FINISH_REASON_UNSPECIFIED"}
        reasons = {reason.value.lower() for reason in types.FinishReason if reason.value not in whole}
        assert reasons <= UNFINISHED
        blocked = {reason.value.lower() for reason in types.BlockedReason}
        assert blocked - {"blocked_reason_unspecified"} <= UNFINISHED

    def test_of_bedrock(self) -> None:
        session = pytest.importorskip("botocore.session").get_session()
        reasons = session.get_service_model("bedrock-runtime").shape_for("StopReason").enum
        assert set(reasons) - {"end_turn", "tool_use", "stop_sequence"} <= UNFINISHED

    def test_of_anthropic(self) -> None:
        reasons = set(get_args(pytest.importorskip("anthropic.types").StopReason))
        assert reasons - {"end_turn", "tool_use", "stop_sequence"} <= UNFINISHED

    def test_of_cohere(self) -> None:
        reasons = set(get_args(get_args(pytest.importorskip("cohere").ChatFinishReason)[0]))
        assert {each.lower() for each in reasons - {"COMPLETE", "STOP_SEQUENCE", "TOOL_CALL"}} <= UNFINISHED


class TestCohere:
    def test_what_is_billed_is_not_what_was_counted(self) -> None:
        cohere = pytest.importorskip("cohere")
        wire = {
            "billed_units": {"input_tokens": 10.0, "output_tokens": 5.0},
            "tokens": {"input_tokens": 700.0, "output_tokens": 5.0},
        }
        usage = cohere.Usage.model_validate(wire)
        assert usage.billed_units.input_tokens == 10
        assert usage.tokens.input_tokens == 700

    def test_a_stream_ends_with_reason_and_usage_in_its_delta(self) -> None:
        cohere = pytest.importorskip("cohere")
        events = pytest.importorskip("cohere.types")
        delta = {"finish_reason": "COMPLETE", "usage": {"billed_units": {"input_tokens": 1.0}}}
        end = events.ChatMessageEndEvent.model_validate({"id": "c", "delta": delta})
        assert (end.delta.finish_reason, end.delta.usage.billed_units.input_tokens) == ("COMPLETE", 1)
        assert cohere.ChatMessageEndEventDelta


class TestOllama:
    def test_counts_stand_beside_the_message_and_calls_have_no_ids(self) -> None:
        ollama = pytest.importorskip("ollama")
        wire = {
            "model": "llama3.3",
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 26,
            "eval_count": 9,
            "message": {
                "role": "assistant",
                "content": "",
                "thinking": "Hm.",
                "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}],
            },
        }
        response = ollama.ChatResponse.model_validate(wire)
        assert response.model_dump(exclude_unset=True) == wire
        assert "id" not in type(response.message.tool_calls[0]).model_fields
        assert not {"usage", "prompt_tokens"} & type(response).model_fields.keys()


class TestMistral:
    def test_a_piece_of_a_stream_is_in_an_envelope(self) -> None:
        models = pytest.importorskip("mistralai.client").models
        assert models.CompletionEvent.model_fields.keys() == {"data"}

    def test_cached_tokens_are_an_extra_of_its_usage(self) -> None:
        models = pytest.importorskip("mistralai.client").models
        wire = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "num_cached_tokens": 4}
        usage = models.UsageInfo.model_validate(wire)
        assert "num_cached_tokens" not in type(usage).model_fields
        assert usage.model_dump(exclude_unset=True)["num_cached_tokens"] == 4


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
class TestLiteLLM:
    @pytest.fixture
    def litellm(self) -> Any:
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks the network
        return pytest.importorskip("litellm")

    async def test_the_cost_is_beside_the_response_not_in_its_dump(self, litellm: Any) -> None:
        messages = [{"role": "user", "content": "hello"}]
        response = await litellm.acompletion(model="gpt-4o-mini", messages=messages, mock_response="Hi.")
        assert response._hidden_params["response_cost"] > 0
        assert "response_cost" not in str(response.model_dump())
        assert response.model_dump()["usage"]["prompt_tokens"] > 0  # which nobody counted

    def test_anthropic_s_counts_are_once_in_the_input_and_again_under_other_names(self, litellm: Any) -> None:
        from litellm.llms.anthropic.chat.transformation import AnthropicConfig

        wire = {
            "input_tokens": 100,
            "output_tokens": 10,
            "cache_read_input_tokens": 400,
            "cache_creation_input_tokens": 50,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
        }
        usage = AnthropicConfig().calculate_usage(wire, reasoning_content=None).model_dump()
        assert usage["prompt_tokens"] == 550
        assert usage["prompt_tokens_details"]["cached_tokens"] == usage["cache_read_input_tokens"] == 400
        assert usage["cache_creation_input_tokens"] == 50


class TestXAI:
    def test_reasoning_stands_beside_the_completion_and_cost_is_in_ticks(self) -> None:
        proto = pytest.importorskip("xai_sdk.proto")
        fields = proto.usage_pb2.SamplingUsage.DESCRIPTOR.fields_by_name
        assert set(fields) >= {
            "prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_prompt_text_tokens",
            "cost_in_usd_ticks",
        }  # fmt: skip

    def test_a_stream_gives_the_response_so_far_with_each_chunk(self) -> None:
        chat = pytest.importorskip("xai_sdk.chat")
        proto = pytest.importorskip("xai_sdk.proto").chat_pb2
        chunk = chat.Chunk(proto.GetChatCompletionChunk(id="r"), 0)
        assert (chunk.proto.id, type(chunk).__module__.partition(".")[0]) == ("r", "xai_sdk")

    def test_long_numbers_of_its_protocol_are_texts_in_json(self) -> None:
        proto = pytest.importorskip("xai_sdk.proto").usage_pb2
        json_format = pytest.importorskip("google.protobuf.json_format")
        usage = proto.SamplingUsage(prompt_tokens=1, cost_in_usd_ticks=12345678)
        written = json_format.MessageToDict(usage, preserving_proto_field_name=True)
        assert written == {"prompt_tokens": 1, "cost_in_usd_ticks": "12345678"}
