"""The cleanup after an incarnation: what it has registered on the host ends with it.

That are its watches, links, timers, subscriptions and metric sources, and their notices that
it has not handled. An actor without any of them is in no table.
"""

from collections.abc import Sequence

from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.errors import ActorNotFound

from ..cell import Cell, Lifecycle
from ..directory.subscriptions import Subscriptions
from ..monitors.core import End
from ..monitors.notices import Notices
from ..ports import CellHost
from ..timers import Timers

__all__ = ["Cleanup"]


class Cleanup:
    """Clears up after incarnations, and notifies their watchers and linked actors."""

    __slots__ = ("_host", "_notices", "_subscriptions", "_timers")

    def __init__(
        self,
        host: CellHost[Cell],
        notices: Notices,
        timers: Timers,
        subscriptions: Subscriptions,
    ) -> None:
        self._host = host
        self._notices = notices
        self._timers = timers
        self._subscriptions = subscriptions

    def detach(self, cell: Cell) -> Sequence[End]:
        """Drop what an ended incarnation has registered; returns the ends for `notify`."""
        self._drop(cell.id)
        return self._host.monitors.detach(cell.id)

    def notify(self, ends: Sequence[End], cell: Cell, reason: Exit) -> None:
        """Notify watchers and linked actors of the end, once its supervisor has decided."""
        if ends:
            self._host.monitors.release(ends, reason, comes_back=self._comes_back(cell))

    def notify_soon(self, ends: Sequence[End], cell: Cell, reason: Exit) -> None:
        """Notify them once the supervisor has finished what it does now."""
        if ends:
            self._host.loop.call_soon(self.notify, ends, cell, reason)

    def discard_start(self, cell: Cell, reason: Exit) -> None:
        """A start has failed: drop what its hook has registered."""
        self._drop(cell.id)
        self._host.monitors.abandon(cell.id, reason)

    def _drop(self, number: int) -> None:
        self._notices.drop(number)
        self._timers.drop(number)
        self._subscriptions.drop(number)
        self._host.meters.instruments.drop(number)

    def close(self) -> None:
        """The host closes: drop everything."""
        self._timers.close()
        self._subscriptions.close()
        self._host.monitors.close()

    def _comes_back(self, cell: Cell) -> bool | None:
        """Whether the actor starts again; None while that is undecided."""
        if self._host.cells.get(cell.id) is not cell:
            return False
        if cell.lifecycle == Lifecycle.RUNNING:
            return True
        supervisor = self._host.children_of(cell.parent).supervisor
        try:
            state = supervisor.child(cell.id).state.name
        except ActorNotFound:
            return None
        is_planned = state in {"PENDING", "STARTING", "WAITING"}
        return True if is_planned and supervisor.statistics().state == "running" else None
