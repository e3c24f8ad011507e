"""How long conversations are kept in memory: each as a whole, and no parent less long than its children."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class KeptConversation:
    """The segments of one conversation, which expire together.

    Writing to a conversation also renews those that it is a child of: no parent expires before its child.
    """

    expires_at: float
    parent: KeptConversation | None = None
    children: set[KeptConversation] = field(default_factory=set)
    # The place of each segment: 0, 1, 2 ...
    session_ids: dict[str, int] = field(default_factory=dict)

    def keep_until(self, moment: float) -> None:
        """Let it expire at this time, unless it expires later anyway."""
        self.expires_at = max(self.expires_at, moment)

    def with_parents(self) -> list[KeptConversation]:
        """The conversation, its parent and so on."""
        found = [self]
        while (parent := found[-1].parent) is not None:
            found.append(parent)
        return found

    def become_child_of(self, parent: KeptConversation) -> None:
        """Make it another one's child, unless that would create a circle, as applications can."""
        if self in parent.with_parents():
            return
        self.parent = parent
        parent.children.add(self)
        parent.keep_until(self.expires_at)

    def leave_family(self) -> None:
        """Make its children those of its parent: they outlive a conversation that is deleted."""
        parent, self.parent = self.parent, None
        if parent is not None:
            parent.children.discard(self)
        for child in self.children:
            child.parent = parent
            if parent is not None:
                parent.children.add(child)
        self.children.clear()
