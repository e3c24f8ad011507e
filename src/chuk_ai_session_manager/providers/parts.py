"""Parts of a message (text, image, audio, video, file): reading any provider's form, checking, describing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ..accounts.media import Measure, media_tokens
from ..exceptions import InvalidInput
from ..exceptions.validation import check_json_object, check_name, check_text
from ..models.absent_text import AbsentText
from .common import field_of, list_of, text_in

Kind: TypeAlias = Literal["text", "image", "audio", "video", "file", "other"]
Content: TypeAlias = str | Sequence[Mapping[str, Any]]
"""The content of a message: a text, or parts of it in the form of OpenAI's chat API."""

_DATA_URL = re.compile(r"data:(?P<media_type>[\w.+/-]+)(?:;[\w=.+-]+)*;base64,(?P<data>.*)", re.DOTALL)
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# With more characters of base64 than this, counting leaves the event loop.
_LONG = 400_000
_AUDIO_FORMATS = {"mp3": "audio/mp3", "wav": "audio/wav"}
# By the endings of file names, for files without a type. Python's own table differs between machines.
_TYPES_BY_ENDING = {
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "csv": "text/csv",
    "html": "text/html",
    "md": "text/markdown",
    "txt": "text/plain",
    "json": "application/json",
    "pdf": "application/pdf",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "mp4": "video/mp4",
}
# By the first bytes of images, in base64.
_TYPES_BY_START = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a message, in whichever provider's form it is."""

    kind: Kind
    own: Any = field(repr=False)
    """The part in its own form."""
    name: str = ""
    """Its type in its own form."""
    text: str = field(default="", repr=False)
    media_type: str = ""
    """Such as "image/png"; empty if it is not named."""
    data: str = field(default="", repr=False)
    """The bytes in base64, if the part contains them."""
    url: str = field(default="", repr=False)
    file_id: str = ""
    """The id of the file at its provider; no other provider knows it."""
    title: str = ""
    detail: str = ""
    """How closely a model looks at an image, in the terms of OpenAI's APIs: "low", "high" …"""

    @property
    def measure(self) -> Measure | None:
        """What is known of bytes that were not read; `None` if they are here."""
        return self.data.measure if isinstance(self.data, AbsentText) else None

    @property
    def size(self) -> int:
        """How many bytes the part contains."""
        if isinstance(self.data, AbsentText):
            return self.data.size
        return len(self.data) * 3 // 4 - self.data[-2:].count("=")

    @property
    def data_url(self) -> str:
        """The bytes as a data URL."""
        return f"data:{self.media_type or 'application/octet-stream'};base64,{self.data}"


def part_of(own: Any) -> Part:
    """Read a part in the form of OpenAI's chat API or Responses, Anthropic, or Google."""
    if not isinstance(own, Mapping):
        return Part("text", own, "text", text=str(own))
    name = text_in(own.get("type"))
    if name in _READERS:
        return _READERS[name](own, name)
    return _google_part(own) if not name else Part("other", own, name)


def parts_of(content: Any) -> list[Part]:
    """The parts of a content; a text is one."""
    if isinstance(content, str):
        return [Part("text", content, "text", text=content)] if content else []
    return [part_of(each) for each in list_of(content)]


def describe(part: Part) -> str:
    """Describe a part without its bytes: `[image: image/png, 12 KB]`."""
    about = [part.media_type, _size_text(part.size) if part.data else "", part.title, part.file_id]
    if part.url:
        about.append(part.url[:200])
    said = ", ".join(filter(None, about))
    kind = part.name or "part" if part.kind == "other" else part.kind
    return f"[{kind}: {said}]" if said else f"[{kind}]"


def shown_content(content: Any) -> str:
    """A content for people: its texts, and descriptions of all other parts."""
    return "\n".join(
        filter(None, (part.text if part.kind == "text" else describe(part) for part in parts_of(content)))
    )


def replaced_by_text(part: Part) -> str:
    """The text that stands for a part in a format that cannot carry it."""
    if part.kind == "text":
        return part.text
    return f"[{part.name or part.kind}: a part that cannot be sent here]"


def _size_text(size: int) -> str:
    for unit, factor in (("MB", 10**6), ("KB", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


# -- counting ------------------------------------------------------------------------------------


def media_of(content: Any) -> list[Part]:
    """The parts of a content that are not text."""
    if isinstance(content, str):
        return []
    return [part for part in parts_of(content) if part.kind in {"image", "audio", "video", "file"}]


def media_parts(result: Any) -> list[Any] | None:
    """The parts of a tool's result, if one of them is an image, audio or a file; `None` for any other result.

    The result is a list of parts, or an MCP result with such a list
    (https://modelcontextprotocol.io/specification/2025-06-18/server/tools#tool-result).
    """
    is_mcp = isinstance(result, Mapping) and result.keys() <= _MCP_RESULT
    listed = result.get("content") if is_mcp else result
    has_some = False
    for each in listed if isinstance(listed, list) else []:
        part = part_of(each) if isinstance(each, Mapping) else None
        if part is None or not (part.kind == "text" or part.data or part.url or part.file_id):
            return None  # a long list of anything else is not examined further
        has_some = has_some or part.kind != "text"
    return listed if has_some else None


_MCP_RESULT = {"content", "structuredContent", "isError", "_meta", "meta"}


async def media_length(parts: Sequence[Part], model: str) -> int:
    """Estimate how many tokens these parts have, by the documented rule of the model's provider."""
    if sum(len(part.data) for part in parts) > _LONG:
        return await asyncio.to_thread(_media_length, parts, model)
    return _media_length(parts, model)


def _media_length(parts: Sequence[Part], model: str) -> int:
    return sum(
        media_tokens(
            part.kind,
            model,
            data=part.data,
            media_type=part.media_type,
            detail=part.detail,
            measure=part.measure,
        )
        for part in parts
    )


# -- checking a user's message --------------------------------------------------------------------


def check_content(content: object, name: str, operation: str) -> str | list[dict[str, Any]]:
    """Return a text or a list of parts in the form of OpenAI's chat API; raise for anything else.

    Raises:
        InvalidInput: naming the position of the invalid part, and what is wrong with it.
    """
    if isinstance(content, str):
        check_text(content, name, operation)
        return content
    if not isinstance(content, Sequence) or isinstance(content, bytes | bytearray):
        kind = type(content).__name__
        raise InvalidInput(operation, f"{name} must be text (str) or a list of parts, not {kind}")
    if not content:
        raise InvalidInput(operation, f"{name} must have at least one part")
    parts = [check_json_object(part, f"{name}[{at}]", operation) for at, part in enumerate(content)]
    for at, part in enumerate(parts):
        _check_part(part, f"{name}[{at}]", operation)
    return parts


def _check_part(part: Mapping[str, Any], name: str, operation: str) -> None:
    kind = part.get("type")
    body = part.get(kind) if isinstance(kind, str) else None
    if kind == "text":
        check_text(body, f"{name}['text']", operation)
        return
    if kind not in _CHECKS:
        known = ", ".join(["text", *_CHECKS])
        raise InvalidInput(operation, f"{name} needs a type: {known}")
    if not isinstance(body, Mapping):
        raise InvalidInput(operation, f"{name}[{kind!r}] must be a dict")
    _CHECKS[kind](body, f"{name}[{kind!r}]", operation)


def _check_image(image: Mapping[str, Any], name: str, operation: str) -> None:
    url = image.get("url")
    check_name(url, f"{name}['url']", operation)
    if not _is_link(url):
        _check_data_url(text_in(url), f"{name}['url']", operation)
    if not isinstance(image.get("detail", "auto"), str):
        raise InvalidInput(operation, f"{name}['detail'] must be text, such as 'low' or 'high'")


def _check_audio(audio: Mapping[str, Any], name: str, operation: str) -> None:
    check_name(audio.get("format"), f"{name}['format']", operation)
    _check_base64(audio.get("data"), f"{name}['data']", operation)


def _check_file(file: Mapping[str, Any], name: str, operation: str) -> None:
    for key in ("file_id", "filename"):
        if key in file:
            check_name(file[key], f"{name}[{key!r}]", operation)
    data = file.get("file_data")
    if data is not None and text_in(data).startswith("data:"):
        _check_data_url(text_in(data), f"{name}['file_data']", operation)
    elif data is not None:
        _check_base64(data, f"{name}['file_data']", operation)
    elif "file_id" not in file:
        raise InvalidInput(operation, f"{name} needs file_data (base64) or file_id")


_CHECKS = {"image_url": _check_image, "input_audio": _check_audio, "file": _check_file}


def _check_data_url(url: str, name: str, operation: str) -> None:
    found = _DATA_URL.fullmatch(url)
    if found is None:
        raise InvalidInput(
            operation, f"{name} must be an http(s) URL, or data:<type>;base64,<data> with its media type"
        )
    _check_base64(found["data"], name, operation)


def _check_base64(data: object, name: str, operation: str) -> None:
    if not isinstance(data, str) or not data:
        raise InvalidInput(operation, f"{name} must be bytes in base64, as text")
    # One pass in C: decoding ten megabytes would block the event loop for longer.
    rest = data.encode(errors="replace").translate(None, _BASE64)
    if len(data) % 4 or rest not in {b"", b"=", b"=="} or not data.endswith(rest.decode()):
        raise InvalidInput(operation, f"{name} is not base64 (its standard alphabet, padded, in one line)")


def _is_link(url: object) -> bool:
    return isinstance(url, str) and url.lower().startswith(("http://", "https://", "gs://"))


def with_images_as_parts(row: Mapping[str, Any]) -> dict[str, Any]:
    """A chat message of a user or tool in which images that stand beside its text are parts of its content.

    https://docs.ollama.com/api/chat: `images` of a message are texts in base64, whose type is not named.
    Paths, which Ollama's Python client reads itself, and other servers' `images` stay as they are.
    """
    images, content = row.get("images"), row.get("content")
    starts = [image_type_in(image) for image in images] if isinstance(images, list) else []
    if row.get("role") == "assistant" or not starts or not all(starts) or not isinstance(content, str | None):
        return dict(row)
    urls = [f"data:{media_type};base64,{data}" for media_type, data in zip(starts, images or (), strict=True)]
    parts = [{"type": "text", "text": content}] if content else []
    media = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {**{key: value for key, value in row.items() if key != "images"}, "content": [*parts, *media]}


def image_type_in(data: object) -> str:
    """The media type of an image in base64, by its first bytes; empty if models do not read that type."""
    if not isinstance(data, str):
        return ""
    return next((kind for start, kind in _TYPES_BY_START.items() if data.startswith(start)), "")


# -- reading --------------------------------------------------------------------------------------


def _text_part(own: Mapping[str, Any], name: str) -> Part:
    return Part("text", own, name, text=text_in(own.get("text")))


def _refusal(own: Mapping[str, Any], name: str) -> Part:
    return Part("text", own, name, text=text_in(own.get("refusal")))


def _chat_image(own: Mapping[str, Any], name: str) -> Part:
    """An image of OpenAI's chat API or Responses, or a screenshot of its computer tool."""
    image = own.get("image_url")
    url = text_in(field_of(image, "url") if isinstance(image, Mapping) else image)
    detail = text_in(field_of(image, "detail") if isinstance(image, Mapping) else own.get("detail"))
    return _made("image", own, name, url=url, file_id=text_in(own.get("file_id")), detail=detail)


def _chat_audio(own: Mapping[str, Any], name: str) -> Part:
    audio = own.get("input_audio") or {}
    kind, data = text_in(field_of(audio, "format")), text_in(field_of(audio, "data"))
    media_type = _AUDIO_FORMATS.get(kind, f"audio/{kind}" if kind else "")
    if _is_link(data):  # as Qwen's models take it
        return Part("audio", own, name, media_type=media_type, url=data)
    return Part("audio", own, name, media_type=media_type, data=data)


def _openai_file(own: Mapping[str, Any], name: str) -> Part:
    """A file of OpenAI's chat API (in `file`) or Responses (in the part itself), or in LangChain's form."""
    if name == "file" and "file" not in own:
        return _media(own, name)
    file = own.get("file") if name == "file" else own
    title, data = text_in(field_of(file, "filename")), text_in(field_of(file, "file_data"))
    # OpenRouter takes a link as `file_data`.
    url = data if data.startswith("data:") or _is_link(data) else text_in(field_of(file, "file_url"))
    file_id = text_in(field_of(file, "file_id"))
    data = "" if url else data
    return _made("file", own, name, url=url, data=data, file_id=file_id, title=title)


def _anthropic_media(own: Mapping[str, Any], name: str) -> Part:
    """An image or document in Anthropic's form, or an image in MCP's or LangChain's."""
    if "source" not in own:
        return _media(own, name)
    source, title = own.get("source"), text_in(own.get("title"))
    kind = text_in(field_of(source, "type"))
    media_type, data = text_in(field_of(source, "media_type")), text_in(field_of(source, "data"))
    if kind == "text":
        return Part("text", own, name, text=data, title=title)
    if kind == "content":
        content = field_of(source, "content")
        return Part("text", own, name, text=shown_content(content), title=title)
    return _made(
        "image" if name == "image" else "file",
        own,
        name,
        media_type=media_type,
        data=data,
        url=text_in(field_of(source, "url")),
        file_id=text_in(field_of(source, "file_id")),
        title=title,
    )


def _media(own: Mapping[str, Any], name: str) -> Part:
    """Media in the form of MCP (`data`, `mimeType`) or LangChain (`base64` or `url`, `mime_type`).

    https://docs.langchain.com/oss/python/langchain/messages#standard-content-blocks
    """
    data, url = text_in(field_of(own, "data", "base64")), text_in(own.get("url"))
    if not data and not url:
        return Part("other", own, name)
    media_type = text_in(field_of(own, "mimeType", "mime_type"))
    kind: Kind = "image" if name == "image" else "audio" if name == "audio" else "file"
    return _made(kind, own, "", media_type=media_type, data=data, url=url)


def _mcp_resource(own: Mapping[str, Any], name: str) -> Part:
    """A resource of MCP: a text, bytes, or a link to one."""
    resource = own if name == "resource_link" else own.get("resource")
    uri, data = text_in(field_of(resource, "uri")), text_in(field_of(resource, "blob"))
    if data:
        title, media_type = uri.rpartition("/")[2], text_in(field_of(resource, "mimeType"))
        return _made("file", own, "", media_type=media_type, data=data, title=title)
    told = [text_in(field_of(resource, "name", "title")), uri, text_in(field_of(resource, "text"))]
    return Part("text", own, name, text="\n".join(filter(None, told)))


def _search_result(own: Mapping[str, Any], name: str) -> Part:
    about = filter(None, [text_in(own.get("title")), text_in(own.get("source"))])
    return Part("text", own, name, text="\n".join([*about, shown_content(own.get("content"))]))


def _google_part(own: Mapping[str, Any]) -> Part:
    """A part in Google's form, which has no type, but one of several fields."""
    if "text" in own:
        return Part("text", own, "text", text=text_in(own["text"]))
    inline, linked = (
        (own.get("inline_data") or own.get("inlineData")),
        own.get("file_data") or own.get("fileData"),
    )
    media = inline or linked
    if not isinstance(media, Mapping):
        return Part("other", own, next(iter(own), ""))
    return _made(
        "file",
        own,
        "inline_data" if inline else "file_data",
        media_type=text_in(media.get("mime_type") or media.get("mimeType")),
        data=_standard(text_in(media.get("data"))),
        url=text_in(media.get("file_uri") or media.get("fileUri")),
        title=text_in(media.get("display_name") or media.get("displayName")),
    )


def _standard(data: str) -> str:
    """Base64 in the standard alphabet."""
    return data if isinstance(data, AbsentText) else data.replace("-", "+").replace("_", "/")


_READERS = {
    **dict.fromkeys(["text", "input_text", "output_text", "summary_text"], _text_part),
    "refusal": _refusal,
    **dict.fromkeys(["image_url", "input_image", "computer_screenshot"], _chat_image),
    "input_audio": _chat_audio,
    **dict.fromkeys(["file", "input_file"], _openai_file),
    **dict.fromkeys(["image", "document"], _anthropic_media),
    "search_result": _search_result,
    "audio": _media,
    **dict.fromkeys(["resource", "resource_link"], _mcp_resource),
}


def _made(
    kind: Kind,
    own: Mapping[str, Any],
    name: str,
    *,
    media_type: str = "",
    data: str = "",
    url: str = "",
    file_id: str = "",
    title: str = "",
    detail: str = "",
) -> Part:
    """A part that is not text; bytes are taken from a data URL, and the kind from the media type."""
    if found := _DATA_URL.fullmatch(url):
        media_type, url, whole = found["media_type"], "", url
        data = whole.without_prefix() if isinstance(whole, AbsentText) else found["data"]
    ending = (title or url.partition("?")[0]).rpartition(".")[2].lower()
    media_type = media_type or _TYPES_BY_ENDING.get(ending, "")
    family = media_type.partition("/")[0]
    if kind == "file" and family in {"image", "audio", "video"}:
        kind = family  # type: ignore[assignment]  # one of the three
    return Part(kind, own, name, "", media_type, data, url, file_id, title, detail)
