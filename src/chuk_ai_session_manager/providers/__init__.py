"""What model providers send and accept: readers, writers, and the common form between them."""

from .answers import Answer, AnswerStream, Reader, call_of, native_of, usage_in
from .registry import read_answer, register_reader, unregister_reader

__all__ = [
    "Answer",
    "AnswerStream",
    "Reader",
    "call_of",
    "native_of",
    "read_answer",
    "register_reader",
    "unregister_reader",
    "usage_in",
]
