"""Sessions in Redis: one server, Sentinel or Cluster."""

from .store import RedisStore

__all__ = ["RedisStore"]
