"""What all records have in common."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict


def utc_now() -> datetime:
    """The time now, with its zone: timestamps of different machines compare."""
    return datetime.now(UTC)


class Record(BaseModel):
    """A model whose errors show no content, and which costs an import nothing until it is first used."""

    model_config = ConfigDict(hide_input_in_errors=True, defer_build=True, protected_namespaces=())
