"""Proxies: cells that represent a child on another host to its supervisor.

A child with its own placement has two cells. Its *proxy* is an ordinary child of the supervisor
that declares it: that supervisor alone decides when the child starts, stops and restarts. The
child itself is the *remote child* of a *holder* (`holder.py`), which the root has put on the
child's host. References name the remote child, so messages never pass through the proxy.

The control actors of the two hosts exchange these messages, each with the proxy's `turn`:

    proxy                                   holder
    STARTING  -- StartRemoteChild ------->  stops the child of an earlier turn, then starts it
    RUNNING  <-- RemoteChildStarted ------  the child runs
    STARTING <-- (error) -----------------  the child did not start
    (ended)  <-- RemoteChildEnded --------  the child ended by itself, or failed
    STOPPING  -- StopRemoteChild -------->  stops the child within its stop timeout
    STOPPED  <-- RemoteChildStopped ------  the child has stopped
    (ended)   .. holder's host is lost ...  is lost; the holder on the next host is empty
              .. proxy's host is lost ....  stops the child and keeps its waiting messages

Invariants:
- A remote child runs only for its newest turn, and at most once. Without its proxy's host it
  runs no longer than an orderly stop takes.
- Each started turn ends once for its supervisor: by RemoteChildEnded, RemoteChildStopped, or the
  loss of the host, whichever comes first.
- The root restarts no remote child. It puts empty holders on the hosts that replace lost ones.
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
"""Attempts when the loss of the host interrupts a start: a lost host is no failed start."""
FOREVER_S: Final = 1e8
"""The deadline of an ask that ends in any case: by an answer, or by the loss of the host."""


class RemoteChildProxy(Actor):
    """The actor of a proxy: it does nothing. Its cell implements the hooks."""

    async def started(self, ctx: Context) -> None:
        """See `RemoteChildCell.run_started`."""

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """See `RemoteChildCell.run_stopping`."""


class RemoteChildCell(Cell):
    """The proxy: the cell of a placed child under its supervisor."""

    __slots__ = (
        "_remote_children",
        "epoch",
        "exit_signal",
        "gone",
        "keeps_messages",
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
        """The address of its holder. The remote child has the next cell number."""
        self.turn = 0
        """The number of its starts; a restart of its supervisor does not reset it."""
        self.epoch = 0
        """The incarnation of the holder's host that runs this turn; 0 while none does."""
        self.keeps_messages = False
        """Whether the running stop keeps the remote child's messages, because it comes back."""
        self.exit_signal: Exit | None = None
        """The exit of this turn, until the supervisor here is notified."""
        self.gone: asyncio.Future[None] | None = None
        """Done when the holder's host is lost during a stop."""

    @property
    def remote_child(self) -> int:
        """The cell number of the remote child, on the holder's host."""
        return self.place.cell + 1

    @property
    def kind(self) -> str:
        """The class name of the remote child, for people."""
        return self.spec.kind

    def view_fields(self) -> Mapping[str, Any]:
        """The slot and the cell of the remote child."""
        return {"runs_on": self.place.slot, "runs_as": self.remote_child}

    async def run_started(self, ctx: Context) -> None:
        """Start the remote child; raises the error of its start."""
        await self._remote_children.start(self)

    async def run_stopping(self, ctx: Context, reason: Exit) -> Exit:
        """Stop the remote child and return its exit."""
        return await self._remote_children.stop(self)

    def start_error(self, error: BaseException) -> ActorStartFailed:
        """The error of the remote child's host, if it is one."""
        return error if isinstance(error, ActorStartFailed) else super().start_error(error)

    def before_stop(self, *, comes_back: bool) -> None:
        """Its remote child comes back if it does."""
        self.keeps_messages = comes_back

    def before_killed_with_parent(self, *, comes_back: bool) -> None:
        """Its remote child comes back if it does."""
        self.keeps_messages = comes_back

    def wake(self) -> None:
        """It runs: notify its supervisor if the remote child has already ended."""
        self._remote_children.notify_exit(self)

    def on_killed(self) -> None:
        """It was killed: kill the remote child, too."""
        self._remote_children.dismiss(self, comes_back=self.keeps_messages)

    def on_stopped_for_good(self) -> None:
        """It stays down: refuse the messages that wait for the remote child."""
        self._remote_children.dismiss(self, comes_back=False)

    def on_removed(self) -> None:
        """It has ended for good: end the remote child, too."""
        self._remote_children.dismiss(self, comes_back=False)
        self._remote_children.forget(self)


class RemoteChildren:
    """The proxies of one host."""

    def __init__(self, host: RoleHost[Cell]) -> None:
        self._host = host
        self._all: Final[dict[int, RemoteChildCell]] = {}

    def register(self, proxy: RemoteChildCell) -> None:
        """Note a proxy, to follow the loss of its holder's host from now on."""
        self._all[proxy.id] = proxy

    def forget(self, proxy: RemoteChildCell) -> None:
        """Forget a proxy that has ended for good."""
        if self._all.get(proxy.id) is proxy:
            del self._all[proxy.id]

    def close(self) -> None:
        """Forget everything: the host has ended."""
        self._all.clear()

    # --- requests of the supervisor ---------------------------------------------------------

    async def start(self, proxy: RemoteChildCell) -> None:
        """Start a remote child and wait until it runs; raises the error of its start."""
        proxy.turn += 1
        proxy.exit_signal = None
        proxy.epoch = 0
        host, place = self._host, proxy.place
        self.register(proxy)
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
                await self._stop(proxy, comes_back=proxy.keeps_messages)
                raise
            if self._is_there(place.slot, started.epoch):
                proxy.epoch = started.epoch
                return
        raise HostLost(
            f"host {place.slot} was lost during each of {START_TRIES} starts.", slot=place.slot
        )

    async def stop(self, proxy: RemoteChildCell) -> Exit:
        """Stop a remote child in order, wait, and return its exit."""
        if not self._is_there(proxy.place.slot, proxy.epoch):
            return _lost_exit(proxy.place.slot)
        return await self._stop(proxy, comes_back=proxy.keeps_messages)

    async def _stop(self, proxy: RemoteChildCell, *, comes_back: bool) -> Exit:
        host, slot = self._host, proxy.place.slot
        if not self._is_reached(slot):
            return _lost_exit(slot)
        gone = proxy.gone = host.loop.create_future()
        request = self._stop_request(proxy, comes_back=comes_back)
        stopped = asyncio.ensure_future(host.ask(_control_actor(proxy.place), request, FOREVER_S))
        try:
            await asyncio.wait((stopped, gone), return_when=asyncio.FIRST_COMPLETED)
            return Exit.from_data(stopped.result().reason) if stopped.done() else _lost_exit(slot)
        except CallboardError:
            return _lost_exit(slot)
        finally:
            proxy.gone = None
            stopped.cancel()

    def dismiss(self, proxy: RemoteChildCell, *, comes_back: bool) -> None:
        """Kill a remote child and do not wait.

        Unless it comes back, its holder refuses the messages that wait for it.
        """
        if not self._is_reached(proxy.place.slot):
            return  # The next holder there is empty; see `host_connected`.
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

    # --- events of the holder's host ---------------------------------------------------------

    def child_ended(self, notice: RemoteChildEnded) -> None:
        """A remote child has ended by itself: keep its exit and notify the supervisor."""
        proxy = self._host.cells.get(notice.cell)
        if (
            isinstance(proxy, RemoteChildCell)
            and proxy.turn == notice.turn
            and proxy.exit_signal is None
        ):
            proxy.exit_signal = Exit(ExitReason(notice.kind), notice.detail)
            self.notify_exit(proxy)

    def host_lost(self, slot: int, epoch: float) -> None:
        """This incarnation of a host, and all before it, are lost."""
        for proxy in [e for e in self._all.values() if e.place.slot == slot]:
            if proxy.gone is not None and not proxy.gone.done():
                proxy.gone.set_result(None)
            if 0 < proxy.epoch <= epoch and proxy.exit_signal is None:
                proxy.exit_signal = _lost_exit(slot)
                # Later, because this host still handles the loss.
                self._host.loop.call_soon(self.notify_exit, proxy)

    def host_connected(self, slot: int) -> None:
        """The link to a host is open; the host does not know which remote children stay down."""
        for proxy in self._all.values():
            if proxy.place.slot == slot and proxy.lifecycle == Lifecycle.STOPPED:
                self.dismiss(proxy, comes_back=False)

    def notify_exit(self, proxy: RemoteChildCell) -> None:
        """Notify the supervisor that the remote child has ended, if it has."""
        if proxy.exit_signal is None or proxy.lifecycle != Lifecycle.RUNNING:
            return
        reason, proxy.exit_signal, proxy.epoch = proxy.exit_signal, None, 0
        self._host.termination.fail(proxy, reason)
        parent = proxy.parent
        if parent is not None and parent.children is not None:
            parent.children.stop_for_good(proxy)

    # --- the link to the holder's host ------------------------------------------------------

    def _is_reached(self, slot: int) -> bool:
        # An introduced host has no link before the first message to it.
        return slot == self._host.slot or self._host.link(slot).is_connected

    def _is_there(self, slot: int, epoch: int) -> bool:
        if slot == self._host.slot:
            return epoch == self._host.epoch
        link = self._host.links.get(slot)
        return link is not None and link.is_connected and link.epoch == epoch


def _control_actor(place: Address) -> Address:
    return Address(place.slot, CONTROL_CELL)


def _lost_exit(slot: int) -> Exit:
    return Exit(ExitReason.HOST_LOST, {"message": f"host {slot}, where it ran, is lost."})
