"""Making the text of strangers harmless for a terminal."""

from __future__ import annotations

import re

# Characters that control a terminal (C0, C1), that reverse or hide text (bidirectional controls), and that
# are not text at all (halves of surrogate pairs). Joiners stay: emoji and some scripts need them.
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAKS = str.maketrans({"\n": "␊", "\t": "␉"})


def shown(text: object) -> str:
    """A text that is safe for a terminal: control characters are visible, and do nothing."""
    return _ACTIVE.sub(_visible, str(text).replace("\r\n", "\n"))


def shown_in_line(text: object) -> str:
    """The same, on one line."""
    return shown(text).translate(_BREAKS)


def cut(text: str, most: int) -> str:
    """The beginning of a text, on one line, with at most so many characters."""
    line = " ".join(text[: most * 4].split())
    return line if len(line) <= most and len(text) <= most * 4 else f"{line[: most - 1]}…"


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:  # noqa: PLR2004  (the pictures of control characters are in the same order)
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else found[0].encode("unicode_escape", "surrogatepass").decode()  # noqa: PLR2004
