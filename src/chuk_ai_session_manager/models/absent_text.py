"""A text that stands for the bytes of an image, of audio or of a file that were not read from the store."""

from __future__ import annotations

from typing import Self

from ..accounts.media import Measure

_WHOLE = slice(None)


class AbsentText(str):
    """Stands in an event for bytes that the store keeps apart from the event.

    The text itself is `prefix` and the hash of the bytes. So two absent texts are equal if their bytes are.

    Args:
        name: the SHA-256 of the bytes.
        form: how the text writes the bytes: "base64" or "text".
        prefix: what stands before the bytes, as in a data URL.
        size: how many bytes there are.
        measure: what the number of their tokens depends on.
        cut: which part of the whole text this is.
    """

    name: str
    form: str
    prefix: str
    size: int
    measure: Measure
    cut: slice

    def __new__(
        cls, name: str, form: str, prefix: str, size: int, measure: Measure, cut: slice = _WHOLE
    ) -> Self:
        """Make the text."""
        made = super().__new__(cls, f"{prefix}{name}" if cut == _WHOLE else f"{name}{cut}")
        made.name, made.form, made.prefix = name, form, prefix
        made.size, made.measure, made.cut = size, measure, cut
        return made

    def part(self, start: int, end: int) -> AbsentText:
        """The part of the text between two places."""
        return AbsentText(self.name, self.form, self.prefix, self.size, self.measure, slice(start, end))

    def without_prefix(self) -> AbsentText:
        """The bytes alone."""
        return AbsentText(self.name, self.form, "", self.size, self.measure)
