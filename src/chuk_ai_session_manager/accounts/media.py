"""Estimates how many tokens an image, a sound or a file has, by the provider's documented rule.

All of these are estimates: what an API bills also depends on the model's version, and on the file's contents.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from typing import NamedTuple

__all__ = ["Measure", "measured", "media_tokens"]

# Assumed for an image of unknown size: one behind a link, or of an unknown kind.
_USUAL_SIZE = (1024, 1024)
# The size is looked for in so many bytes at an image's start: a JPEG may begin with a long preview.
_START_OF_AN_IMAGE = 384 * 1024

# OpenAI, https://platform.openai.com/docs/guides/images-vision#calculating-costs: an image is fitted into
# 2,048 x 2,048, then its shorter side into 768; it has a base count, and a count for each tile of 512 x 512.
_OPENAI_TILES = (
    ("gpt-4o-mini", 2833, 5667),
    ("gpt-5", 70, 140),
    ("o1", 75, 150),
    ("o3", 75, 150),
    ("computer-use", 65, 129),
)
_OPENAI_USUAL_TILES = (85, 170)
# The same page: smaller models count patches of 32 x 32, 1,536 at most, times a factor.
_OPENAI_PATCHES = (
    ("gpt-4.1-mini", 1.62),
    ("gpt-4.1-nano", 2.46),
    ("gpt-5-mini", 1.62),
    ("gpt-5-nano", 2.46),
    ("o4-mini", 1.72),
)
_OPENAI_MOST_PATCHES = 1536

# Anthropic, https://docs.claude.com/en/docs/build-with-claude/vision: width x height / 750, after the longer
# side was reduced to 1,568 pixels; at most about 1,600 tokens.
_ANTHROPIC_PIXELS, _ANTHROPIC_SIDE, _ANTHROPIC_MOST = 750, 1568, 1600

# Google, https://ai.google.dev/gemini-api/docs/tokens: 258 for an image of at most 384 pixels either way, and
# for each tile of 768 x 768 of a larger one; sound 32 and film 263 a second; a page of a document 258.
_GOOGLE_TILE, _GOOGLE_SMALL, _GOOGLE_SIDE = 258, 384, 768
_GOOGLE_SOUND, _GOOGLE_FILM = 32, 263

# OpenAI, https://platform.openai.com/docs/guides/realtime-costs: a token for 100 ms of the user's speech.
_OPENAI_SOUND = 10

# Anthropic, https://docs.claude.com/en/docs/build-with-claude/pdf-support: a page has 1,500 to 3,000 tokens
# of text, and an image. OpenAI also reads each page both ways.
_PAGE = 1500
_PAGE_MARK = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")

# Bytes in a second if a sound or film does not name its length: an MP3 of 128 kbit/s, a film of 1 Mbit/s.
_SOUND_BYTES, _FILM_BYTES = 16_000, 125_000
_BYTES_A_TOKEN = 4
_WAV_HEADER = 44
# A PDF names itself among its first 1,024 bytes: so many characters of base64.
_HEAD = 1_368


class Measure(NamedTuple):
    """What the tokens of an image, a sound or a file depend on, whichever model reads it."""

    characters: int
    """The length of the base64 text."""
    pixels: tuple[int, int] | None = None
    """An image's width and height."""
    bytes_a_second: int | None = None
    """How many bytes a second of sound takes, if its header says so."""
    pages: int | None = None
    """How many pages a PDF has."""


def measured(data: str) -> Measure:
    """Measure an image, a sound or a file.

    Args:
        data: the bytes, in base64.
    """
    if not data:
        return Measure(0)
    pages = None
    if b"%PDF" in _decoded(data[:_HEAD]):
        pages = len(_PAGE_MARK.findall(_decoded(data)))
    return Measure(len(data), _image_size(data), _bytes_a_second(data), pages)


def media_tokens(
    kind: str,
    model: str,
    *,
    data: str = "",
    media_type: str = "",
    detail: str = "",
    measure: Measure | None = None,
) -> int:
    """Estimate how many tokens a part has that is not text, by the rule of the model's provider.

    Args:
        kind: "image", "audio", "video" or "file"; any other kind has 0.
        model: the model that reads the part; a model of an unknown family counts like OpenAI's.
        data: the bytes, in base64; without them, a usual size is assumed.
        media_type: such as "application/pdf".
        detail: "low", with which OpenAI's models look at an image less closely.
        measure: what `measured` made of the bytes, if they are not at hand.
    """
    measure = measured(data) if measure is None else measure
    name = model.rpartition("/")[2].lower()
    if kind == "image":
        return _image_tokens(name, *(measure.pixels or _USUAL_SIZE), detail)
    if kind == "audio":
        return max(
            1, round(_seconds(measure, _SOUND_BYTES) * (_GOOGLE_SOUND if _is_google(name) else _OPENAI_SOUND))
        )
    if kind == "video":
        return max(1, round(_seconds(measure, _FILM_BYTES) * _GOOGLE_FILM))
    return _file_tokens(name, measure, media_type) if kind == "file" else 0


def _is_google(name: str) -> bool:
    return name.startswith(("gemini", "gemma"))


def _image_tokens(name: str, width: int, height: int, detail: str) -> int:
    if "claude" in name:
        scale = min(1.0, _ANTHROPIC_SIDE / max(width, height))
        return max(1, min(_ANTHROPIC_MOST, round(width * scale * height * scale / _ANTHROPIC_PIXELS)))
    if _is_google(name):
        if max(width, height) <= _GOOGLE_SMALL:
            return _GOOGLE_TILE
        return _GOOGLE_TILE * math.ceil(width / _GOOGLE_SIDE) * math.ceil(height / _GOOGLE_SIDE)
    factor = next((factor for prefix, factor in _OPENAI_PATCHES if name.startswith(prefix)), None)
    if factor is not None:
        patches = math.ceil(width / 32) * math.ceil(height / 32)
        return math.ceil(min(patches, _OPENAI_MOST_PATCHES) * factor)
    rule = next((rule for prefix, *rule in _OPENAI_TILES if name.startswith(prefix)), None)
    base, tile = rule or _OPENAI_USUAL_TILES
    if detail == "low":
        return base
    scale = min(1.0, 2048 / max(width, height))
    scale *= min(1.0, 768 / (min(width, height) * scale))
    return base + tile * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)


def _file_tokens(name: str, measure: Measure, media_type: str) -> int:
    if media_type != "application/pdf":
        return max(1, measure.characters * 3 // 4 // _BYTES_A_TOKEN)
    return max(1, measure.pages or 0) * (_GOOGLE_TILE if _is_google(name) else _PAGE)


def _seconds(measure: Measure, bytes_a_second: int) -> float:
    return measure.characters * 3 / 4 / (measure.bytes_a_second or bytes_a_second)


def _bytes_a_second(data: str) -> int | None:
    start = _decoded(data[: 4 * _WAV_HEADER])
    if start[:4] == b"RIFF" and start[8:16] == b"WAVEfmt " and len(start) >= _WAV_HEADER:
        return int(struct.unpack_from("<I", start, 28)[0]) or None
    return None


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4))
    except (binascii.Error, ValueError):
        return b""


def _image_size(data: str) -> tuple[int, int] | None:
    """The width and height in pixels from an image's header."""
    start = _decoded(data[: _START_OF_AN_IMAGE * 4 // 3 // 4 * 4])
    size: tuple[int, int] | None = None
    try:
        if start.startswith(b"\x89PNG"):
            size = struct.unpack_from(">II", start, 16)
        elif start.startswith(b"GIF8"):
            size = struct.unpack_from("<HH", start, 6)
        elif start[:4] == b"RIFF" and start[8:12] == b"WEBP":
            size = _webp_size(start)
        elif start.startswith(b"\xff\xd8"):
            size = _jpeg_size(start)
    except struct.error:  # cut off
        return None
    return size if size and min(size) > 0 else None


def _webp_size(start: bytes) -> tuple[int, int] | None:
    """The size from a WebP's first chunk (https://developers.google.com/speed/webp/docs/riff_container)."""
    match start[12:16]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", start, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            bits = struct.unpack_from("<I", start, 21)[0]
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return (
                int.from_bytes(start[24:27], "little") + 1,
                int.from_bytes(start[27:30], "little") + 1,
            )
    return None


def _jpeg_size(start: bytes) -> tuple[int, int] | None:
    """The size from a JPEG's frame header, after any number of other segments (ITU T.81, B.2)."""
    at = 2
    while at + 9 < len(start) and start[at] == 0xFF:  # noqa: PLR2004  (every marker begins so)
        marker = start[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # noqa: PLR2004  (frame headers)
            height, width = struct.unpack_from(">HH", start, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", start, at + 2)[0]
    return None
