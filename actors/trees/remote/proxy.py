"""Proxies: what stands in a supervisor's place for a child that runs on another host.

A child with a placement of its own has two cells. Its *proxy* is a child like any other of
the supervisor it was declared under: that supervisor alone decides when it starts, stops,
and is restarted. The child itself is the *remote child* of a *holder* (`holder.py`), which the
root has put on the child's host. References name the remote child, so messages never pass through
the proxy.

What passes between the two hosts' control actors, each under the proxy's `turn`:

    proxy                              holder
    STARTING  -- StartRemoteChild ------->  ends what an earlier turn has started, then starts
    RUNNING  <-- RemoteChildStarted ------
    STARTING <-- (failure) ----------  did not start
    (ended)  <-- RemoteChildEnded --------  ended by itself, or failed
    STOPPING  -- StopRemoteChild -------->  stops it within its own time
    STOPPED  <-- RemoteChildStopped ------
    (ended)   .. its host is gone ...  is gone with it; the next one on that host is empty
              .. our host is gone ...  stops it; what waits for it waits for our successor

Invariants:
- A remote child runs only while its newest turn does: at most one of them, and none without its
  proxy's host, but for the time that a stop in order takes.
- Each turn that has started ends once for its supervisor: by RemoteChildEnded, RemoteChildStopped,
or
  the loss of the host, whichever comes first.
- The root restarts no remote child. It puts holders back, empty, where hosts are replaced.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.trees import RemoteChildEnded, StartRemoteChild, StopRemoteChild
from callboard.messages.core.errors import ActorStartFailed, CallboardError, HostLost, MailboxFull
from callboard.messages.core.ref import Address

from ...kernel.actor import Actor, behaviour_of
from ...kernel.cell import Cell, Lifecycle, Recipe
from ...kernel.context import Context
from ...kernel.ports import CellDispatcher, RoleHost
from ..spec import RemoteChildSpec

__all__ = ["RemoteChildCell", "RemoteChildProxy", "RemoteChildren"]

START_TRIES: Final = 3
"""Starts that a lost host interrupts: what has not run yet has not failed."""
FOREVER_S: Final = 1e8
"""The deadline of an ask that something else ends: an answer, or the loss of the host."""


class RemoteChildProxy(Actor):
    """What runs in a proxy: nothing. Its hooks are its cell's."""

    async def started(self, ctx: Context) -> None:
        """See `RemoteChildCell.run_started`."""

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """See `RemoteChildCell.run_stopping`."""


class RemoteChildCell(Cell):
    """The place of a placed child under its supervisor."""

    __slots__ = (
        "_remote_children",
        "epoch",
        "exit_signal",
        "gone",
        "keeps",
        "place",
        "spec",
        "turn",
    )

    def __init__(
        self,
        number: int,
        spec: RemoteChildSpec,
        place: Address,
        dispatcher: CellDispatcher[Cell],
        remote_children: "RemoteChildren",
    ) -> None:
        recipe = Recipe(RemoteChildProxy, (), None, spec.name)
        super().__init__(number, recipe, behaviour_of(RemoteChildProxy), dispatcher)
        self._remote_children = remote_children
        self.spec = spec
        self.place: Final = place
        """Its holder. The remote child has the number after that."""
        self.turn = 0
        """How often it was started; a restart of its supervisor does not reset this number."""
        self.epoch = 0
        """The incarnation of the holder's host that has this turn; 0 while none is known to."""
        self.keeps = False
        """Whether a stop under way keeps what waits for the remote child: it comes back."""
        self.exit_signal: Exit | None = None
        """How this turn has ended over there, until the supervisor here is told."""
        self.gone: asyncio.Future[None] | None = None
        """Done when the holder's host is lost during a stop."""

    @property
    def remote_child(self) -> int:
        """The number of what it stands for, on the holder's host."""
        return self.place.cell + 1

    @property
    def kind(self) -> str:
        """What runs in its place, for people."""
        return self.spec.kind

    def view_fields(self) -> Mapping[str, Any]:
        """Where what it stands for runs."""
        return {"runs_on": self.place.slot, "runs_as": self.remote_child}

    async def run_started(self, ctx: Context) -> None:
        """Have the remote child started; raises why it was not."""
        await self._remote_children.start(self)

    async def run_stopping(self, ctx: Context, reason: Exit) -> Exit:
        """Have the remote child stopped; gives how it ended."""
        return await self._remote_children.stop(self)

    def start_error(self, error: BaseException) -> ActorStartFailed:
        """Where the remote child failed, that has been described."""
        return error if isinstance(error, ActorStartFailed) else super().start_error(error)

    def before_stop(self, *, comes_back: bool) -> None:
        """Its remote child comes back if it does."""
        self.keeps = comes_back

    def on_killed_with_parent(self, *, comes_back: bool) -> None:
        """Its remote child comes back if it does."""
        self.keeps = comes_back

    def wake(self) -> None:
        """It runs; it may have ended already."""
        self._remote_children.notify_exit(self)

    def on_killed(self) -> None:
        """It was ended by force, and so is what it stands for."""
        self._remote_children.dismiss(self, comes_back=self.keeps)

    def on_stopped_for_good(self) -> None:
        """It stays down: who waits for the remote child is told."""
        self._remote_children.dismiss(self, comes_back=False)

    def on_removed(self) -> None:
        """It is gone for good."""
        self._remote_children.dismiss(self, comes_back=False)
        self._remote_children.forget(self)


class RemoteChildren:
    """The proxies of one host."""

    def __init__(self, host: RoleHost[Cell]) -> None:
        self._host = host
        self._all: Final[dict[int, RemoteChildCell]] = {}

    def know(self, proxy: RemoteChildCell) -> None:
        """Follow what becomes of the host of its holder from now on."""
        self._all[proxy.id] = proxy

    def forget(self, proxy: RemoteChildCell) -> None:
        """It is gone for good."""
        if self._all.get(proxy.id) is proxy:
            del self._all[proxy.id]

    def close(self) -> None:
        """Forget everything: the host is gone."""
        self._all.clear()

    # --- what its supervisor wants ----------------------------------------------------------

    async def start(self, proxy: RemoteChildCell) -> None:
        """Have a remote child started, and wait until it runs; raises why it does not."""
        proxy.turn += 1
        proxy.exit_signal = None
        proxy.epoch = 0
        host, place = self._host, proxy.place
        self.know(proxy)
        request = StartRemoteChild(
            holder=place.cell, slot=host.slot, epoch=host.epoch, cell=proxy.id, turn=proxy.turn
        )
        for last in (False,) * (START_TRIES - 1) + (True,):
            try:
                started = await host.ask(_control_actor(place), request, FOREVER_S)
            except HostLost:
                if last:
                    raise
                continue
            except asyncio.CancelledError:
                await self._stop(proxy, comes_back=proxy.keeps)
                raise
            if self._is_there(place.slot, started.epoch):
                proxy.epoch = started.epoch
                return
        raise HostLost(f"host {place.slot} was lost each time.", slot=place.slot)

    async def stop(self, proxy: RemoteChildCell) -> Exit:
        """Have a remote child stopped in order, and wait; gives how it ended."""
        if not self._is_there(proxy.place.slot, proxy.epoch):
            return _lost(proxy.place.slot)
        return await self._stop(proxy, comes_back=proxy.keeps)

    async def _stop(self, proxy: RemoteChildCell, *, comes_back: bool) -> Exit:
        host, slot = self._host, proxy.place.slot
        if not self._is_reached(slot):
            return _lost(slot)
        gone = proxy.gone = host.loop.create_future()
        request = self._stop_request(proxy, comes_back=comes_back)
        stopped = asyncio.ensure_future(host.ask(_control_actor(proxy.place), request, FOREVER_S))
        try:
            await asyncio.wait((stopped, gone), return_when=asyncio.FIRST_COMPLETED)
            return Exit.from_data(stopped.result().reason) if stopped.done() else _lost(slot)
        except CallboardError:
            return _lost(slot)
        finally:
            proxy.gone = None
            stopped.cancel()

    def dismiss(self, proxy: RemoteChildCell, *, comes_back: bool) -> None:
        """Have what runs of a remote child ended at once, and do not wait.

        Unless it comes back, what waits for it is refused.
        """
        if not self._is_reached(proxy.place.slot):
            return  # What comes next there is empty; see `opened`.
        request = self._stop_request(proxy, comes_back=comes_back, is_brutal=True)
        try:
            self._host.tell(_control_actor(proxy.place), request)
        except MailboxFull:
            self._host.run_task(self._host.send(_control_actor(proxy.place), request, FOREVER_S))

    def _stop_request(
        self, proxy: RemoteChildCell, *, comes_back: bool, is_brutal: bool = False
    ) -> StopRemoteChild:
        return StopRemoteChild(
            holder=proxy.place.cell,
            slot=self._host.slot,
            epoch=self._host.epoch,
            turn=proxy.turn,
            comes_back=comes_back,
            is_brutal=is_brutal,
        )

    # --- what comes from the holder's host ---------------------------------------------------

    def ended(self, told: RemoteChildEnded) -> None:
        """A remote child has ended by itself."""
        proxy = self._host.cells.get(told.cell)
        if (
            isinstance(proxy, RemoteChildCell)
            and proxy.turn == told.turn
            and proxy.exit_signal is None
        ):
            proxy.exit_signal = Exit(ExitReason(told.kind), told.detail)
            self.notify_exit(proxy)

    def lost(self, slot: int, epoch: float) -> None:
        """A host is gone, in this incarnation and all before it."""
        for proxy in [e for e in self._all.values() if e.place.slot == slot]:
            if proxy.gone is not None and not proxy.gone.done():
                proxy.gone.set_result(None)
            if 0 < proxy.epoch <= epoch and proxy.exit_signal is None:
                proxy.exit_signal = _lost(slot)
                # Not in the middle of what this host is doing about the loss.
                self._host.loop.call_soon(self.notify_exit, proxy)

    def opened(self, slot: int) -> None:
        """A host has come; it does not know which of its remote children are down."""
        for proxy in self._all.values():
            if proxy.place.slot == slot and proxy.lifecycle == Lifecycle.STOPPED:
                self.dismiss(proxy, comes_back=False)

    def notify_exit(self, proxy: RemoteChildCell) -> None:
        """Let the supervisor know that the remote child has ended, if it has."""
        if proxy.exit_signal is None or proxy.lifecycle != Lifecycle.RUNNING:
            return
        reason, proxy.exit_signal, proxy.epoch = proxy.exit_signal, None, 0
        self._host.termination.fail(proxy, reason)
        parent = proxy.parent
        if parent is not None and parent.children is not None:
            parent.children.stop_for_good(proxy)

    # --- the way there ----------------------------------------------------------------------

    def _is_reached(self, slot: int) -> bool:
        link = self._host.links.get(slot)
        return slot == self._host.slot or (link is not None and link.is_connected)

    def _is_there(self, slot: int, epoch: int) -> bool:
        if slot == self._host.slot:
            return epoch == self._host.epoch
        link = self._host.links.get(slot)
        return link is not None and link.is_connected and link.epoch == epoch


def _control_actor(place: Address) -> Address:
    return Address(place.slot, CONTROL_CELL)


def _lost(slot: int) -> Exit:
    return Exit(ExitReason.HOST_LOST, {"message": f"host {slot}, where it ran, is gone."})
