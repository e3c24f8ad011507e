"""Text of strangers, made harmless for a terminal."""

from __future__ import annotations

import re

# What a terminal acts on (C0, C1), what turns text around or hides it (bidirectional controls), and what
# is no text at all (halves of surrogate pairs). Joiners stay: emoji and some scripts are made with them.
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAKS = str.maketrans({"\n": "␊", "\t": "␉"})


def shown(text: object) -> str:
    """A text as a terminal may get it: escape sequences and the like can be seen, and do nothing."""
    return _ACTIVE.sub(_visible, str(text).replace("\r\n", "\n"))


def shown_in_line(text: object) -> str:
    """The same, in one line."""
    return shown(text).translate(_BREAKS)


def cut(text: str, most: int) -> str:
    """The beginning of a text, in one line, of so many characters at most."""
    line = " ".join(text[: most * 4].split())
    return line if len(line) <= most and len(text) <= most * 4 else f"{line[: most - 1]}…"


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:  # noqa: PLR2004  (the pictures of controls stand in their order)
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else found[0].encode("unicode_escape", "surrogatepass").decode()  # noqa: PLR2004
