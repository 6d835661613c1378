"""Stashes: messages that an actor has put aside until it can handle them.

A stash is a list beside the mailbox, kept by the host and not by the cell: an actor that
stashes nothing pays nothing. A stashed ask stays open and its deadline goes on; one that
has its outcome meanwhile makes room for another.
"""

from typing import Any

from callboard.messages.core.errors import StashFull

from .asks import Ask
from .cell_port import CellPort

__all__ = ["Stashed", "Stashes"]


class Stashed(BaseException):
    """Raised by `Context.stash` to end the handler; no error, and nothing catches it."""

    def __init__(self) -> None:
        super().__init__("Context.stash was called outside a handler")


class Stashes:
    """What the actors of one host have put aside, in the order in which they did."""

    __slots__ = ("_by_cell",)

    def __init__(self) -> None:
        self._by_cell: dict[int, list[Any]] = {}

    def check_room(self, cell: CellPort) -> None:
        """Raises `StashFull` when one more message would be over the actor's limit."""
        items = self._by_cell.get(cell.id)
        limit = cell.behaviour.stash_messages
        if items is None or len(items) < limit:
            return
        items[:] = [item for item in items if not (type(item) is Ask and item.done)]
        if len(items) >= limit:
            raise StashFull(
                f"the stash of {cell.path} holds {limit} messages.",
                advice="Unstash earlier, or raise stash_messages.",
            )

    def put(self, cell: CellPort, item: Any) -> None:
        """Put a message aside; the caller has looked whether there is room."""
        self._by_cell.setdefault(cell.id, []).append(item)

    def take(self, cell: CellPort) -> list[Any]:
        """Everything that was put aside, oldest first; the stash is empty then."""
        return self._by_cell.pop(cell.id, []) if self._by_cell else []

    def size(self, cell: CellPort) -> int:
        """How many messages are put aside."""
        return len(self._by_cell.get(cell.id, ()))
