"""What a store promises of acknowledged messages, and what may be lost nevertheless, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DurabilityReport:
    """What of acknowledged messages may be lost, and when, as a store is set up now."""

    provider: str
    """Which kind of store: memory, sqlite, redis, or a class's name."""
    loss_window: str
    """In words for people; "none" where nothing that was acknowledged is lost."""
    warnings: list[str] = field(default_factory=list)
    """What the settings bring beside that, such as eviction."""
    settings: dict[str, str | None] = field(default_factory=dict)
    """Those that this was read from; `None` for one that the server does not tell."""

    @property
    def is_lossless(self) -> bool:
        """Whether nothing that was acknowledged is lost in a crash of a process or of a machine."""
        return self.loss_window == "none"


def redis_report(settings: Mapping[str, str | None]) -> DurabilityReport:
    """What a Redis server's settings come to.

    Args:
        settings: `appendonly`, `appendfsync`, `save`, `maxmemory`, `maxmemory-policy` as `CONFIG GET`
            gives them, and `replicas`, their number. What they do is told in Redis's own documentation:
            https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
    """
    warnings = []
    if int(settings.get("replicas") or 0):
        warnings.append("a failover loses what its replica had not received yet, mostly milliseconds' worth")
    policy = settings.get("maxmemory-policy") or "noeviction"
    if policy != "noeviction" and settings.get("maxmemory") not in {None, "0"}:
        warnings.append(
            f"when memory is full, conversations are evicted whole (maxmemory-policy {policy}), and listings "
            "or the ids of later segments may be lost of others: set noeviction"
        )
    return DurabilityReport("redis", _redis_loss_window(settings), warnings, dict(settings))


_BY_FSYNC = {
    "always": "none",
    "everysec": "none when the server ends or is killed; when its machine fails, the last second or two",
    "no": "none when the server ends or is killed; when its machine fails, what the system had not "
    "written, mostly up to 30 seconds",
}


def _redis_loss_window(settings: Mapping[str, str | None]) -> str:
    match settings.get("appendonly"):
        case None:
            return "unknown: the server does not tell its settings"
        case "yes":
            fsync = settings.get("appendfsync") or ""
            return _BY_FSYNC.get(fsync, "unknown: the server does not tell its appendfsync")
    if settings.get("save") is None:
        return "when the server ends unexpectedly, all since its last snapshot, if it makes any"
    if not settings["save"]:
        return "all of it when the server ends: it writes nothing to disk (appendonly no, no snapshots)"
    return f"when the server ends unexpectedly, all since its last snapshot (save {settings['save']})"
