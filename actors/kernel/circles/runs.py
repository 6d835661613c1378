"""Runs: the task of a handler or of a hook, the actor that it belongs to, and its message."""

from typing import Any, Generic, Protocol, TypeVar

__all__ = ["HookRun", "Run"]

CellT = TypeVar("CellT")
CellT_co = TypeVar("CellT_co", covariant=True)


class Run(Protocol[CellT_co]):
    """What a task runs: a worker of the dispatcher, or a hook."""

    @property
    def cell(self) -> CellT_co | None:
        """The actor's cell; None between two messages."""

    @property
    def item(self) -> Any:
        """The message or the `Ask` that it handles; None for a hook."""


class HookRun(Generic[CellT]):
    """The run of a start hook or a stop hook."""

    __slots__ = ("cell", "item")

    def __init__(self, cell: CellT) -> None:
        self.cell: CellT | None = cell
        self.item = None
