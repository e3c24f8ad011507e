"""Merging several writers' changes of one header, key by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..models.session import next_segment_id
from .stored_data import dump, load

SHARED = ("state", "metadata")
"""The header fields that belong to the conversation: `state`, and in `metadata` the `properties`."""

_GONE = object()


def merged(name: str, before: str, mine: str, theirs: str) -> str:
    """A header field after the changes of two writers, as JSON.

    Args:
        name: the field.
        before: the field as this writer read it.
        mine: the field as this writer wants it.
        theirs: the field as others stored it since.
    """
    if mine in {before, theirs}:
        return theirs
    if theirs == before:
        return mine
    return dump(_merged(load(before), load(mine), load(theirs), depth=2 if name == "metadata" else 1))


def _merged(before: Any, mine: Any, theirs: Any, depth: int) -> Any:
    """Their value with my changes: in objects by key, in lists by entry."""
    if mine == before:
        return theirs
    if depth and all(isinstance(each, dict) for each in (before, mine, theirs)):
        return _merged_objects(before, mine, theirs, depth - 1)
    if depth and all(_is_list_of_ids(each) for each in (before, mine, theirs)):
        gone = set(before) - set(mine)
        return [each for each in theirs if each not in gone] + [each for each in mine if each not in theirs]
    return mine


def _is_list_of_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _merged_objects(
    before: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    together = dict(theirs)
    for key in before.keys() | mine.keys():
        value = mine.get(key, _GONE)
        if value is _GONE:
            together.pop(key, None)
        elif key not in before:
            together[key] = value
        elif value != before[key]:
            together[key] = _merged(before[key], value, theirs.get(key), depth)
    return together


def is_closed(session_id: str, fields: Mapping[str, str]) -> bool:
    """Whether a next segment follows, by the stored header."""
    return dump(next_segment_id(session_id)) in fields["child_ids"]


def with_shared(fields: dict[str, str], live: Mapping[str, str] | None) -> dict[str, str]:
    """A closed segment's header with the present state and properties of its conversation.

    If the last segment's header is damaged, the closed segment keeps the state and properties that it was
    closed with, so that its events can be read.

    Args:
        fields: the closed segment's own fields.
        live: the `SHARED` fields of the conversation's last segment; `None` if they cannot be read.
    """
    if live is None or (fields["state"] == live["state"] and fields["metadata"] == live["metadata"]):
        return fields
    try:
        state, metadata, latest = load(live["state"]), load(fields["metadata"]), load(live["metadata"])
    except ValueError:
        return fields
    if not all(isinstance(value, dict) for value in (state, metadata, latest)):
        return fields
    metadata["properties"] = latest.get("properties", {})
    return fields | {"state": live["state"], "metadata": dump(metadata)}


def shared_of(fields: Mapping[str, str], name: str, latest: str) -> str:
    """A closed segment's field, as it is or with its conversation's part, to replace the last segment's."""
    if name != "metadata":
        return fields[name]
    metadata, theirs = load(latest), load(fields[name])
    if isinstance(metadata, dict) and isinstance(theirs, dict):
        metadata["properties"] = theirs.get("properties", {})
    return dump(metadata)


def merged_shared(name: str, before: Mapping[str, str], after: Mapping[str, str], live: str) -> str:
    """The last segment's field, as JSON, with the changes that were made in a closed segment's."""
    return merged(name, shared_of(before, name, live), shared_of(after, name, live), live)
