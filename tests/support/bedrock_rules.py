"""What Amazon Bedrock's Converse refuses, by botocore's model of the service and by what the API says."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

Row = dict[str, Any]


@cache
def _service() -> Any:
    session = pytest.importorskip("botocore.session")
    return session.get_session().get_service_model("bedrock-runtime")


def check_converse(request: Row, **more: Any) -> None:
    """Fail for a request that `converse` refuses."""
    operation = _service().operation_model("Converse")
    report = (
        pytest.importorskip("botocore.validate")
        .ParamValidator()
        .validate({"modelId": "m", **request, **more}, operation.input_shape)
    )
    assert not report.has_errors(), report.generate_report()
    _check_constraints({"messages": request["messages"]}, operation.input_shape)
    turns = request["messages"]
    # "A conversation must start with a user message", and roles alternate.
    assert not turns or turns[0]["role"] == "user"
    assert all(one["role"] != other["role"] for one, other in pairwise(turns))
    waiting: list[str] = []
    names: list[str] = []
    for turn in turns:
        blocks = turn["content"]
        assert blocks
        # "Expected toolResult blocks at messages.2.content for the following Ids"
        results = [block["toolResult"]["toolUseId"] for block in blocks if "toolResult" in block]
        assert sorted(results) == sorted(waiting)
        assert all("toolResult" in block for block in blocks[: len(results)])
        used = [block["toolUse"] for block in blocks if "toolUse" in block]
        waiting = [each["toolUseId"] for each in used if each.get("type") != "server_tool_use"]
        for block in blocks:
            if "text" in block:  # "The text field in the ContentBlock object … is blank"
                assert block["text"].strip()
            if "document" in block:
                assert any("text" in each for each in blocks)
                name = block["document"]["name"]
                names.append(name)
                assert re.fullmatch(r"(?:[a-zA-Z0-9()\[\]-]|\s(?!\s))+", name)
    assert not waiting
    assert len(set(names)) == len(names)
    seen = re.findall(r'"toolUseId": "([^"]*)"', json.dumps(turns, default=str))
    assert all(seen.count(each) == 2 for each in seen)


def _check_constraints(value: Any, shape: Any) -> None:
    """The lengths, patterns and names of values in the service's model, which botocore does not enforce."""
    if shape.type_name == "structure" and isinstance(value, dict):
        if shape.metadata.get("union"):
            assert len(value) == 1
        for name, item in value.items():
            _check_constraints(item, shape.members[name]) if name in shape.members else None
    elif shape.type_name == "list":
        for item in value:
            _check_constraints(item, shape.member)
    elif shape.type_name == "string":
        about = shape.metadata
        assert not getattr(shape, "enum", None) or value in shape.enum
        assert about.get("min", 0) <= len(value) <= about.get("max", 10**9)
        assert "pattern" not in about or re.fullmatch(about["pattern"], value)
    elif shape.type_name == "blob":
        assert isinstance(value, bytes)
        assert value
