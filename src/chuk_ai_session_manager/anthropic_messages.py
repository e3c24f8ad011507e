"""An earlier release's path to the writer of Anthropic's requests."""

from .providers.anthropic_messages import AnthropicRequest, for_anthropic

__all__ = ["AnthropicRequest", "for_anthropic"]
