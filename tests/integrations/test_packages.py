"""What this library assumes of the packages that it stands on: each test fails when the package changes.

docs/reality.md says what follows from each for users. Assumptions about prices are in
tests/unit/accounts/test_price_updates.py and test_usage_beside_genai_prices.py too.
"""

from __future__ import annotations

import os
import unicodedata
from contextlib import asynccontextmanager
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest
from genai_prices import Usage, calc_price, extract_usage
from genai_prices.types import ModelPrice


class TestGenaiPrices:
    def test_a_missing_price_of_an_overlap_prices_nothing(self) -> None:
        one = Decimal(1)
        prices = ModelPrice(input_mtok=one, output_mtok=one, cache_read_mtok=one, input_audio_mtok=one)
        with pytest.raises(ValueError, match="cache_audio_read"):
            prices.calc_price(Usage(input_tokens=1000, output_tokens=10))

    def test_a_tag_of_a_local_model_has_the_price_of_a_hosted_one(self) -> None:
        assert calc_price(Usage(input_tokens=1000), "deepseek-r1:8b").total_price > 0

    def test_no_other_provider_is_tried_than_the_one_that_was_named(self) -> None:
        with pytest.raises(LookupError):
            calc_price(Usage(input_tokens=1000), "gpt-4o", provider_id="anthropic")

    def test_a_fine_tune_is_not_known(self) -> None:
        with pytest.raises(LookupError):
            calc_price(Usage(input_tokens=1000), "ft:gpt-4o-mini:acme::abc", provider_id="openai")

    def test_a_provider_is_matched_loosely(self) -> None:
        price = calc_price(Usage(input_tokens=1000), "gpt-4o", provider_id="azure-openai")
        assert price.provider.id == "openai"

    def test_the_price_of_a_sum_is_not_the_sum_of_the_prices(self) -> None:
        def price(tokens: int) -> Decimal:
            found = calc_price(Usage(input_tokens=tokens), "claude-sonnet-4-5", provider_id="anthropic")
            return found.total_price

        assert price(300_000) > 2 * price(150_000)

    def test_searches_are_in_the_total_only(self) -> None:
        usage = Usage(input_tokens=850, output_tokens=20, web_searches=3)
        found = calc_price(usage, "claude-sonnet-4-5", provider_id="anthropic")
        assert found.total_price - found.input_price - found.output_price == Decimal("0.03")

    def test_the_wrong_flavour_leaves_reasoning_out(self) -> None:
        usage = {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "total_tokens": 1400,
            "completion_tokens_details": {"reasoning_tokens": 300},
        }
        response = {"model": "grok-4", "usage": usage}
        told = {
            flavour: extract_usage(response, provider_id="x-ai", api_flavor=flavour).usage.output_tokens
            for flavour in ("default", "chat")
        }
        assert told == {"default": 100, "chat": 400}

    def test_more_cached_than_sent_is_refused(self) -> None:
        with pytest.raises(ValueError, match="cache"):
            calc_price(Usage(input_tokens=1, cache_read_tokens=2), "gpt-4o", provider_id="openai")


class TestTiktoken:
    def test_names_that_it_reads_otherwise_than_we_do(self) -> None:
        model = pytest.importorskip("tiktoken.model")
        assert (
            model.encoding_name_for_model("ft:gpt-4.1-mini:acme::x") == "cl100k_base"
        )  # o200k_base is right
        assert model.encoding_name_for_model("gpt-oss-120b") == "o200k_harmony"
        for name in ("GPT-4o", "openai/gpt-4o", "ft:o4-mini:acme::x"):
            with pytest.raises(KeyError):
                model.encoding_name_for_model(name)


class TestSplintr:
    @pytest.fixture
    def tokenizer(self) -> Any:
        return pytest.importorskip("splintr").Tokenizer.from_pretrained

    def test_encode_reads_special_tokens_in_a_text(self, tokenizer: Any) -> None:
        gpt, text = tokenizer("o200k_base"), "<|endoftext|>"
        assert len(gpt.encode(text)) == 1
        assert len(gpt.encode_flat(text)) == 4  # bytes of one token
        assert len(gpt.encode_ordinary(text)) > 1
        assert text in gpt.special_tokens()

    def test_splintr_does_not_compose_characters_for_qwen(self, tokenizer: Any) -> None:
        encode, text = tokenizer("qwen3").encode_ordinary, "\u0999 \u06c5\u0648\u0654 \u09ae\u09c7\u09be"
        assert len(encode(text)) != len(encode(unicodedata.normalize("NFC", text)))

    @pytest.mark.parametrize(("vocabulary", "tokens"), [("llama2", 1), ("mistral_v1", 1), ("o200k_base", 0)])
    def test_sentencepiece_puts_a_token_in_front(self, tokenizer: Any, vocabulary: str, tokens: int) -> None:
        encode = tokenizer(vocabulary).encode_ordinary
        apart = len(encode("one")) + len(encode(" two"))
        assert apart - len(encode("one two")) >= tokens
        if not tokens:
            assert apart == len(encode("one two"))


class Records:
    """What chuk-sessions keeps records in, as it wants such a thing."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.lifetimes: list[int] = []
        self.is_away = False

    async def get(self, key: str) -> str | None:
        if self.is_away:
            raise ConnectionError("away")
        return self.texts.get(key)

    async def set(self, key: str, value: str) -> None:
        self.texts[key] = value

    async def setex(self, key: str, seconds: int, value: str) -> None:
        self.texts[key] = value
        self.lifetimes.append(seconds)

    async def delete(self, key: str) -> bool:
        return self.texts.pop(key, None) is not None

    async def close(self) -> None:
        pass


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Records:
    monkeypatch.setenv("CHUK_SANDBOX_ID", "before")
    return Records()


def sessions(records: Records, sandbox: str = "alpha") -> Any:
    from chuk_sessions import SessionManager

    @asynccontextmanager
    async def session_factory() -> Any:
        yield records

    return SessionManager(sandbox_id=sandbox, session_factory=session_factory)


class TestChukSessions:
    def test_the_constructor_changes_the_environment(
        self, records: Records, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CHUK_SANDBOX_ID")
        sessions(records, "alpha")
        assert os.environ["CHUK_SANDBOX_ID"] == "alpha"

    async def test_a_manager_answers_from_a_copy_and_writes_it_back(self, records: Records) -> None:
        manager = sessions(records)
        await manager.allocate_session(session_id="s", user_id="ada")
        assert list(records.texts) == ["session:s"]
        records.texts.clear()  # as another process does
        assert await manager.validate_session("s") is True
        assert list(records.texts) == ["session:s"]

    async def test_an_outage_looks_like_no_such_session(self, records: Records) -> None:
        await sessions(records).allocate_session(session_id="s", user_id="ada")
        records.is_away = True
        assert await sessions(records).validate_session("s") is False
        assert await sessions(records).get_session_info("s") is None

    async def test_a_sandbox_is_a_label_and_no_boundary(self, records: Records) -> None:
        await sessions(records, "alpha").allocate_session(session_id="s", user_id="ada")
        other = sessions(records, "beta")
        assert (await other.get_session_info("s"))["sandbox_id"] == "alpha"
        assert await other.delete_session("s") is True

    async def test_no_lifetime_is_that_of_a_day_and_seconds_are_whole(self, records: Records) -> None:
        await sessions(records).allocate_session(session_id="s", ttl_hours=0)
        await sessions(records).allocate_session(session_id="t", ttl_hours=1.9999 / 3600)
        day, short = records.lifetimes[0], records.lifetimes[-1]
        assert 86_390 <= day <= 86_400
        assert short == 1


class Counting:
    """A tool that counts its runs."""

    runs = 0

    async def execute(self) -> str:
        Counting.runs += 1
        return "done"


class Failing:
    """A tool that fails, and counts its runs."""

    runs = 0

    async def execute(self) -> str:
        Failing.runs += 1
        raise PermissionError("no")


class Mute:
    """A tool that fails without a word."""

    async def execute(self) -> str:
        raise ValueError


class TestToolProcessor:
    @pytest.fixture
    async def run(self) -> Any:
        """Runs tools by name, with the package's cache on and its retries off."""
        chuk = pytest.importorskip("chuk_tool_processor")
        chuk.register_tool(name="counting", namespace="packages")(Counting)
        chuk.register_tool(name="mute", namespace="packages")(Mute)
        from chuk_tool_processor.registry import ensure_registrations

        await ensure_registrations()
        processor = chuk.ToolProcessor(enable_caching=True, enable_retries=False)
        await processor.initialize()

        async def execute(*names: str) -> Any:
            calls = [chuk.ToolCall(tool=name, namespace="packages", arguments={}) for name in names]
            return await processor.execute(calls)

        return execute

    async def test_the_cache_of_results_never_hits(self, run: Any) -> None:
        Counting.runs = 0
        results = [*await run("counting"), *await run("counting")]
        assert [result.error for result in results] == [None, None]
        assert Counting.runs == 2

    async def test_retries_repeat_every_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        chuk = pytest.importorskip("chuk_tool_processor")
        chuk.register_tool(name="failing", namespace="packages")(Failing)
        from chuk_tool_processor.registry import ensure_registrations

        await ensure_registrations()
        processor = chuk.ToolProcessor(enable_retries=True, max_retries=1, enable_caching=False)
        await processor.initialize()
        Failing.runs = 0
        (result,) = await processor.execute([chuk.ToolCall(tool="failing", namespace="packages")])
        assert (Failing.runs, result.attempts) == (2, 2)
        assert "no" in result.error

    async def test_a_tool_that_says_nothing_of_itself_counts_as_safe_to_retry(self) -> None:
        models = pytest.importorskip("chuk_tool_processor.models")
        assert models.ToolContract().is_safe_to_retry is True

    async def test_the_kind_of_an_exception_is_lost(self, run: Any) -> None:
        chuk = pytest.importorskip("chuk_tool_processor")
        from chuk_tool_processor.registry import ensure_registrations

        chuk.register_tool(name="failing", namespace="packages")(Failing)
        await ensure_registrations()
        (result,) = await run("failing")
        assert result.error == "no"
        assert "PermissionError" not in result.model_dump_json()

    async def test_an_exception_without_text_is_an_empty_error(self, run: Any) -> None:
        (result,) = await run("mute")
        assert not result.error


class TestRedisDriver:
    @pytest.fixture(autouse=True)
    def driver(self) -> Any:
        return pytest.importorskip("redis.asyncio")

    def test_commands_are_sent_again_unless_told_otherwise(self, driver: Any) -> None:
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        def tries(**options: Any) -> int:
            client = driver.Redis(**options)
            return int(client.connection_pool.make_connection().retry.get_retries())

        assert tries() > 0
        assert tries(retry=Retry(NoBackoff(), 0)) == 0

    def test_a_connection_beside_the_pool_is_made_of_the_pool_s_settings(self, driver: Any) -> None:
        pool = driver.Redis(host="example.org", port=1).connection_pool
        lane = pool.connection_class(**pool.connection_kwargs)
        assert (lane.host, lane.port, lane.is_connected) == ("example.org", 1, False)
        for name in ("connect", "disconnect", "send_packed_command", "read_response", "pack_commands"):
            assert callable(getattr(lane, name))

    def test_a_cluster_s_client_and_a_sentinel_s_take_the_same_retry(self, driver: Any) -> None:
        from redis.asyncio.cluster import ClusterNode, RedisCluster
        from redis.asyncio.retry import Retry

        sentinel_module: Any = import_module("redis.asyncio.sentinel")
        from redis.backoff import NoBackoff

        def never() -> Any:
            return Retry(NoBackoff(), 0)

        nodes = [ClusterNode("example.org", 1)]
        assert RedisCluster(startup_nodes=nodes).retry.get_retries() > 0
        cluster = RedisCluster(startup_nodes=nodes, retry=never())
        assert cluster.retry.get_retries() == 0
        options = {"sentinel_kwargs": {"retry": never()}, "retry": never()}
        sentinel = sentinel_module.Sentinel([("example.org", 1)], **options)
        for client in (sentinel.master_for("service"), *sentinel.sentinels):
            assert client.connection_pool.make_connection().retry.get_retries() == 0

    def test_a_cluster_has_no_databases(self, driver: Any) -> None:
        from redis.asyncio.cluster import ClusterNode, RedisCluster
        from redis.exceptions import RedisClusterException

        with pytest.raises(RedisClusterException):
            RedisCluster(startup_nodes=[ClusterNode("example.org", 1)], db=1)

    def test_errors_of_a_failover_have_classes_of_their_own(self) -> None:
        from redis import exceptions

        assert issubclass(exceptions.MasterDownError, exceptions.ClusterDownError | exceptions.ResponseError)
        assert issubclass(exceptions.ReadOnlyError, exceptions.ResponseError)
        assert issubclass(exceptions.MovedError, exceptions.ResponseError)
        assert issubclass(exceptions.BusyLoadingError, exceptions.ConnectionError)

    async def test_a_sentinel_that_knows_no_master_says_so_as_of_a_lost_connection(self, driver: Any) -> None:
        from redis.asyncio.retry import Retry

        sentinel_module: Any = import_module("redis.asyncio.sentinel")
        from redis.backoff import NoBackoff

        options: Any = {"retry": Retry(NoBackoff(), 0), "socket_connect_timeout": 1}
        sentinel = sentinel_module.Sentinel([("127.0.0.1", 1)], sentinel_kwargs=options)
        with pytest.raises(sentinel_module.MasterNotFoundError) as raised:
            await sentinel.discover_master("service")
        assert isinstance(raised.value, driver.ConnectionError)

    def test_a_url_becomes_options(self) -> None:
        from redis.asyncio.connection import parse_url

        assert parse_url("unix:///tmp/s?db=2").keys() == {"connection_class", "path", "db"}
        assert "connection_class" in parse_url("rediss://host")
        assert "connection_class" not in parse_url("redis://host")


class TestOpenAI:
    def test_answers_are_kept_under_the_names_of_the_wire_format(self) -> None:
        responses = pytest.importorskip("openai.types.responses")
        wire = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "later": 1}
        call = responses.ResponseFunctionToolCall.model_validate(wire)
        assert call.model_dump(exclude_unset=True) == wire
        if "async_" in type(call).model_fields:
            told = type(call).model_validate(wire | {"async": True})
            assert "async_" in told.model_dump(exclude_unset=True)
            assert told.model_dump(exclude_unset=True, by_alias=True) == wire | {"async": True}

    def test_reasoning_of_other_servers_is_an_extra(self) -> None:
        chat = pytest.importorskip("openai.types.chat")
        row = {"role": "assistant", "content": "42", "reasoning_content": "6 * 7"}
        message = chat.ChatCompletionMessage.model_validate(row)
        assert message.model_dump(exclude_unset=True) == row


class TestAnthropic:
    def test_what_did_not_come_is_not_in_the_dump(self) -> None:
        types = pytest.importorskip("anthropic.types")
        wire = {"type": "text", "text": "hello"}
        block = types.TextBlock.model_validate(wire)
        assert block.model_dump(exclude_unset=True) == wire
        assert block.model_dump() != wire  # nulls that were never sent

    def test_unknown_fields_are_kept(self) -> None:
        types = pytest.importorskip("anthropic.types")
        usage = types.Usage.model_validate({"input_tokens": 1, "output_tokens": 2, "later": 3})
        assert usage.model_dump(exclude_unset=True) == {"input_tokens": 1, "output_tokens": 2, "later": 3}


class TestGoogle:
    def test_types_know_no_extras_and_what_did_not_come_is_none(self) -> None:
        types = pytest.importorskip("google.genai.types")
        known = types.GenerateContentResponseUsageMetadata
        with pytest.raises(ValueError, match="later"):
            known.model_validate({"promptTokenCount": 1, "later": 2})
        usage = known(prompt_token_count=1, candidates_token_count=None)
        assert usage.model_dump(by_alias=True, exclude_none=True) == {"promptTokenCount": 1}

    def test_signatures_are_written_in_the_url_safe_alphabet(self) -> None:
        types = pytest.importorskip("google.genai.types")
        part = types.Part.model_validate({"text": "x", "thoughtSignature": "+//+Pj8="})
        assert part.thought_signature == b"\xfb\xff\xfe>?"
        dumped = part.model_dump(mode="json", by_alias=True, exclude_none=True)
        assert dumped["thoughtSignature"] == "-__-Pj8="

    def test_an_interaction_s_dump_has_a_text_that_was_not_sent(self) -> None:
        interactions = pytest.importorskip("google.genai.interactions")
        step = {"type": "model_output", "content": [{"type": "text", "text": "Hello."}]}
        wire = {"id": "i", "model": "gemini-3-pro", "status": "completed", "steps": [step]}
        dumped = interactions.Interaction.model_validate(wire).model_dump(exclude_unset=True, mode="json")
        assert dumped.keys() - wire.keys() == {"output_text"}


class TestLangChain:
    def test_cached_tokens_are_inside_the_input(self) -> None:
        messages = pytest.importorskip("langchain_core.messages")
        usage = {
            "input_tokens": 550,
            "output_tokens": 10,
            "total_tokens": 560,
            "input_token_details": {"cache_read": 400, "cache_creation": 50},
        }
        message = messages.AIMessage(content="ok", usage_metadata=usage)
        assert message.model_dump()["usage_metadata"] == usage

    def test_calls_that_the_constructor_filled_in_are_unset_fields(self) -> None:
        messages = pytest.importorskip("langchain_core.messages")
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        message = messages.AIMessage(content="", additional_kwargs={"tool_calls": [call]})
        assert [each["name"] for each in message.model_dump()["tool_calls"]] == ["f"]
