"""The one-liners under the shorter path that the original's examples name."""

from chuk_ai_session_manager.api.simple_api import *  # noqa: F403
from chuk_ai_session_manager.api.simple_api import __all__  # noqa: F401  (what the star above gives)
