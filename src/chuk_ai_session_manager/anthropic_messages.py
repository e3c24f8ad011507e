"""The earlier path of what makes Anthropic's requests."""

from .providers.anthropic_messages import for_anthropic

__all__ = ["for_anthropic"]
