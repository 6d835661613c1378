"""Stashes: messages that an actor has put aside until it can handle them.

The host keeps the stashes, not the cell, so an actor that stashes nothing pays nothing. A
stashed ask stays open and its deadline still counts; an ask that gets its outcome meanwhile
makes room for another message.
"""

from typing import Any

from callboard.messages.core.errors import StashFull

from .asks import Ask
from .cell_port import CellPort

__all__ = ["Stashed", "Stashes"]


class Stashed(BaseException):
    """`Context.stash` raises this to end the handler. It is no error; the kernel catches it."""

    def __init__(self) -> None:
        super().__init__("Context.stash was called outside a handler")


class Stashes:
    """The stashed messages of one host's actors, in the order of their stashing."""

    __slots__ = ("_by_cell",)

    def __init__(self) -> None:
        self._by_cell: dict[int, list[Any]] = {}

    def check_room(self, cell: CellPort) -> None:
        """Raise `StashFull` when one more message would exceed the actor's limit."""
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
        """Stash a message; the caller has checked that there is room."""
        if type(item) is Ask:
            item.has_run = True
        self._by_cell.setdefault(cell.id, []).append(item)

    def take(self, cell: CellPort) -> list[Any]:
        """Take all stashed messages, oldest first."""
        return self._by_cell.pop(cell.id, []) if self._by_cell else []

    def size(self, cell: CellPort) -> int:
        """How many messages are stashed."""
        return len(self._by_cell.get(cell.id, ()))
