"""A conversation as the state machine knows it: lists and dicts that do what a store does."""

from __future__ import annotations


class Talk:
    """A conversation as a tree: what each message follows, and where the path ends."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.counted: list[str] = []
        """The texts as their tokens were counted: those of redacted ones stay."""
        self.follows: list[int | None] = []
        self.place: int | None = None
        self.ends: list[int | None] = []
        self.out: set[int] = set()
        self.by_own_id: dict[str, str | None] = {}
        self.at_own_id: dict[str, int] = {}
        self.has_choices = False

    def say(self, text: str) -> None:
        self.texts.append(text)
        self.counted.append(text)
        self.follows.append(self.place)
        self.place = len(self.texts) - 1

    def go_to(self, place: int | None) -> None:
        if place != self.place:
            self.ends.append(self.place)
            self.place = place

    def undo(self) -> None:
        place = self.follows[self.path[-1]]
        while place in self.out:
            place = self.follows[place]
        self.go_to(place)

    def way_to(self, place: int | None) -> list[int]:
        way = []
        while place is not None:
            way.append(place)
            place = self.follows[place]
        return way[::-1]

    @property
    def path(self) -> list[int]:
        return [at for at in self.way_to(self.place) if at not in self.out]
