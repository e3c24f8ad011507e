"""Bills of calls, as tests compare them."""

from __future__ import annotations

from typing import Any

import pytest

from chuk_ai_session_manager.conversation.billing import call_usage
from chuk_ai_session_manager.models import CallUsage
from chuk_ai_session_manager.providers.usage import usage_of


def bill_of(response: Any, model: str, provider: str = "unknown") -> CallUsage:
    """What a response is billed, read from what it carries."""
    usage = usage_of(response)
    assert usage is not None
    return call_usage(model, provider, usage)


def about(amount: float) -> Any:
    return pytest.approx(amount, rel=1e-9)
