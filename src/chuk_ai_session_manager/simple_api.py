"""The one-liners of `chuk_ai_session_manager.api.simple_api`, under the shorter name that examples print."""

from .api.simple_api import *  # noqa: F403
from .api.simple_api import __all__  # noqa: F401  (what the star above gives)
