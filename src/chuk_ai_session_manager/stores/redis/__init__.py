"""The Redis store, for one server, Sentinel or a Cluster."""

from .store import RedisStore

__all__ = ["RedisStore"]
