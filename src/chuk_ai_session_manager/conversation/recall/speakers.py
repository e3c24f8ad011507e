"""The speakers of a conversation: who they are, and the words of their names."""

from __future__ import annotations

from .turns import Said
from .words import Words, tokens_of

# Numbers of speakers have 16 bits. The arguments of calls differ: those after that many get no number.
_MOST = 0xFFFF


class Speakers:
    """The speakers of a conversation, each with a number.

    Args:
        words: makes terms of names.
    """

    def __init__(self, words: Words) -> None:
        self._words = words
        self.names: list[str] = []
        self.by_word: dict[str, list[int]] = {}
        """For each word of a user's name, in lower case, the numbers of the speakers with this name."""
        self.terms: set[str] = set()
        """The terms of users' names."""
        self._numbers: dict[str, int] = {}

    def number_of(self, said: Said, language: str) -> int:
        """The number of a turn's speaker.

        Args:
            said: the turn.
            language: the language of the turn before it.
        """
        name = said.speaker
        number = self._numbers.get(name)
        if number is None:
            if len(self.names) == _MOST:
                return 0
            number = self._numbers[name] = len(self.names)
            self.names.append(name)
            if said.is_named:
                self.terms.update(self._words.terms_and_language(name, language)[0])
                for word in {word.casefold() for word in tokens_of(name)}:
                    self.by_word.setdefault(word, []).append(number)
        return number
