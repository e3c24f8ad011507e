"""What may be lost of stored messages, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DurabilityReport:
    """What may be lost of stored messages, and when, with a store's present settings."""

    provider: str
    """The kind of store: memory, sqlite, redis, or the name of a class."""
    loss_window: str
    """In words for people; "none" if no stored message can be lost."""
    warnings: list[str] = field(default_factory=list)
    """Other consequences of the settings, such as eviction."""
    settings: dict[str, str | None] = field(default_factory=dict)
    """The settings that the report was made from; `None` for one that the server does not tell."""

    @property
    def is_lossless(self) -> bool:
        """Whether no stored message is lost if a process or a machine fails."""
        return self.loss_window == "none"


def redis_report(settings: Mapping[str, str | None]) -> DurabilityReport:
    """The report of a Redis server's settings.

    Args:
        settings: `appendonly`, `appendfsync`, `save`, `maxmemory`, `maxmemory-policy` as `CONFIG GET`
            returns them, and `replicas`, their number. Redis's documentation describes what they do:
            https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
    """
    warnings = []
    if int(settings.get("replicas") or 0):
        warnings.append("a failover loses what its replica had not received yet, mostly milliseconds' worth")
    policy = settings.get("maxmemory-policy") or "noeviction"
    if policy != "noeviction" and settings.get("maxmemory") not in {None, "0"}:
        warnings.append(
            f"when memory is full, whole conversations are evicted (maxmemory-policy {policy}), and others "
            "may lose their listings or the ids of later segments: set noeviction"
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
        return "when the server ends unexpectedly, everything since its last snapshot, if it makes any"
    if not settings["save"]:
        return "everything when the server ends: it writes nothing to disk (appendonly no, no snapshots)"
    return f"when the server ends unexpectedly, everything since its last snapshot (save {settings['save']})"
