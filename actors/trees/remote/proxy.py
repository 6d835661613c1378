"""Envoys: what stands in a supervisor's place for a child that runs on another host.

A child with a placement of its own has two cells. Its *envoy* is a child like any other of
the supervisor it was declared under: that supervisor alone decides when it starts, stops,
and is restarted. The child itself is the *lodger* of a *lodge* (`lodging.py`), which the
root has put on the child's host. References name the lodger, so messages never pass through
the envoy.

What passes between the two hosts' wardens, each under the envoy's `turn`:

    envoy                              lodge
    STARTING  -- StartLodger ------->  ends what an earlier turn has started, then starts
    RUNNING  <-- LodgerStarted ------
    STARTING <-- (failure) ----------  did not start
    (ended)  <-- LodgerEnded --------  ended by itself, or failed
    STOPPING  -- StopLodger -------->  stops it within its own time
    STOPPED  <-- LodgerStopped ------
    (ended)   .. its host is gone ...  is gone with it; the next one on that host is empty
              .. our host is gone ...  stops it; what waits for it waits for our successor

Invariants:
- A lodger runs only while its newest turn does: at most one of them, and none without its
  envoy's host, but for the time that a stop in order takes.
- Each turn that has started ends once for its supervisor: by LodgerEnded, LodgerStopped, or
  the loss of the host, whichever comes first.
- The root restarts no lodger. It puts lodges back, empty, where hosts are replaced.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.trees import LodgerEnded, StartLodger, StopLodger
from callboard.messages.core.errors import ActorStartFailed, CallboardError, HostLost, MailboxFull
from callboard.messages.core.ref import Address

from ...kernel.actor import Actor, behaviour_of
from ...kernel.cell import Cell, Life, Recipe
from ...kernel.context import Context
from ...kernel.ports import CellDispatcher, RoleHost
from ..spec import Elsewhere

__all__ = ["Envoy", "EnvoyCell", "Envoys"]

START_TRIES: Final = 3
"""Starts that a lost host interrupts: what has not run yet has not failed."""
FOREVER_S: Final = 1e8
"""The deadline of an ask that something else ends: an answer, or the loss of the host."""


class Envoy(Actor):
    """What runs in an envoy: nothing. Its hooks are its cell's."""

    async def started(self, ctx: Context) -> None:
        """See `EnvoyCell.run_started`."""

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """See `EnvoyCell.run_stopping`."""


class EnvoyCell(Cell):
    """The place of a placed child under its supervisor."""

    __slots__ = ("_envoys", "epoch", "felt", "gone", "keeps", "place", "spec", "turn")

    def __init__(
        self,
        number: int,
        spec: Elsewhere,
        place: Address,
        dispatcher: CellDispatcher[Cell],
        envoys: "Envoys",
    ) -> None:
        recipe = Recipe(Envoy, (), None, spec.name)
        super().__init__(number, recipe, behaviour_of(Envoy), dispatcher)
        self._envoys = envoys
        self.spec = spec
        self.place: Final = place
        """Its lodge. The lodger has the number after that."""
        self.turn = 0
        """How often it was started; unlike incarnations, it goes on when its branch restarts."""
        self.epoch = 0
        """The incarnation of the lodge's host that has this turn; 0 while none is known to."""
        self.keeps = False
        """Whether a stop under way keeps what waits for the lodger: it comes back."""
        self.felt: Exit | None = None
        """How this turn has ended over there, until the supervisor here is told."""
        self.gone: asyncio.Future[None] | None = None
        """Done when the lodge's host is lost during a stop."""

    @property
    def lodger(self) -> int:
        """The number of what it stands for, on the lodge's host."""
        return self.place.cell + 1

    @property
    def kind(self) -> str:
        """What runs in its place, for people."""
        return self.spec.kind

    def view_fields(self) -> Mapping[str, Any]:
        """Where what it stands for runs."""
        return {"runs_on": self.place.slot, "runs_as": self.lodger}

    async def run_started(self, ctx: Context) -> None:
        """Have the lodger started; raises why it was not."""
        await self._envoys.start(self)

    async def run_stopping(self, ctx: Context, reason: Exit) -> Exit:
        """Have the lodger stopped; gives how it ended."""
        return await self._envoys.stop(self)

    def start_failure(self, error: BaseException) -> ActorStartFailed:
        """Where the lodger failed, that has been described."""
        return error if isinstance(error, ActorStartFailed) else super().start_failure(error)

    def stops(self, *, comes_back: bool) -> None:
        """Its lodger comes back if it does."""
        self.keeps = comes_back

    def killed_with_parent(self, *, comes_back: bool) -> None:
        """Its lodger comes back if it does."""
        self.keeps = comes_back

    def began(self) -> None:
        """It runs; it may have ended already."""
        self._envoys.feel(self)

    def killed(self) -> None:
        """It was ended by force, and so is what it stands for."""
        self._envoys.dismiss(self, comes_back=self.keeps)

    def laid_down(self) -> None:
        """It stays down: who waits for the lodger is told."""
        self._envoys.dismiss(self, comes_back=False)

    def ended(self) -> None:
        """It is gone for good."""
        self._envoys.dismiss(self, comes_back=False)
        self._envoys.forget(self)


class Envoys:
    """The envoys of one host."""

    def __init__(self, host: RoleHost[Cell]) -> None:
        self._host = host
        self._all: Final[dict[int, EnvoyCell]] = {}

    def know(self, envoy: EnvoyCell) -> None:
        """Follow what becomes of the host of its lodge from now on."""
        self._all[envoy.id] = envoy

    def forget(self, envoy: EnvoyCell) -> None:
        """It is gone for good."""
        if self._all.get(envoy.id) is envoy:
            del self._all[envoy.id]

    def close(self) -> None:
        """Forget everything: the host is gone."""
        self._all.clear()

    # --- what its supervisor wants ----------------------------------------------------------

    async def start(self, envoy: EnvoyCell) -> None:
        """Have a lodger started, and wait until it runs; raises why it does not."""
        envoy.turn += 1
        envoy.felt = None
        envoy.epoch = 0
        host, place = self._host, envoy.place
        self.know(envoy)
        request = StartLodger(
            lodge=place.cell, slot=host.slot, epoch=host.epoch, cell=envoy.id, turn=envoy.turn
        )
        for last in (False,) * (START_TRIES - 1) + (True,):
            try:
                started = await host.ask(_warden(place), request, FOREVER_S)
            except HostLost:
                if last:
                    raise
                continue
            except asyncio.CancelledError:
                await self._stop(envoy, comes_back=envoy.keeps)
                raise
            if self._is_there(place.slot, started.epoch):
                envoy.epoch = started.epoch
                return
        raise HostLost(f"host {place.slot} was lost each time.", slot=place.slot)

    async def stop(self, envoy: EnvoyCell) -> Exit:
        """Have a lodger stopped in order, and wait; gives how it ended."""
        if not self._is_there(envoy.place.slot, envoy.epoch):
            return _lost(envoy.place.slot)
        return await self._stop(envoy, comes_back=envoy.keeps)

    async def _stop(self, envoy: EnvoyCell, *, comes_back: bool) -> Exit:
        host, slot = self._host, envoy.place.slot
        if not self._is_reached(slot):
            return _lost(slot)
        gone = envoy.gone = host.loop.create_future()
        request = self._stop_request(envoy, comes_back=comes_back)
        stopped = asyncio.ensure_future(host.ask(_warden(envoy.place), request, FOREVER_S))
        try:
            await asyncio.wait((stopped, gone), return_when=asyncio.FIRST_COMPLETED)
            return Exit.from_data(stopped.result().reason) if stopped.done() else _lost(slot)
        except CallboardError:
            return _lost(slot)
        finally:
            envoy.gone = None
            stopped.cancel()

    def dismiss(self, envoy: EnvoyCell, *, comes_back: bool) -> None:
        """Have what runs of a lodger ended at once, and do not wait.

        Unless it comes back, what waits for it is refused.
        """
        if not self._is_reached(envoy.place.slot):
            return  # What comes next there is empty; see `opened`.
        request = self._stop_request(envoy, comes_back=comes_back, is_brutal=True)
        try:
            self._host.tell(_warden(envoy.place), request)
        except MailboxFull:
            self._host.run_task(self._host.send(_warden(envoy.place), request, FOREVER_S))

    def _stop_request(
        self, envoy: EnvoyCell, *, comes_back: bool, is_brutal: bool = False
    ) -> StopLodger:
        return StopLodger(
            lodge=envoy.place.cell,
            slot=self._host.slot,
            epoch=self._host.epoch,
            turn=envoy.turn,
            comes_back=comes_back,
            is_brutal=is_brutal,
        )

    # --- what comes from the lodge's host ---------------------------------------------------

    def ended(self, told: LodgerEnded) -> None:
        """A lodger has ended by itself."""
        envoy = self._host.cells.get(told.cell)
        if isinstance(envoy, EnvoyCell) and envoy.turn == told.turn and envoy.felt is None:
            envoy.felt = Exit(ExitReason(told.kind), told.detail)
            self.feel(envoy)

    def lost(self, slot: int, epoch: float) -> None:
        """A host is gone, in this incarnation and all before it."""
        for envoy in [e for e in self._all.values() if e.place.slot == slot]:
            if envoy.gone is not None and not envoy.gone.done():
                envoy.gone.set_result(None)
            if 0 < envoy.epoch <= epoch and envoy.felt is None:
                envoy.felt = _lost(slot)
                # Not in the middle of what this host is doing about the loss.
                self._host.loop.call_soon(self.feel, envoy)

    def opened(self, slot: int) -> None:
        """A host has come; it does not know which of its lodgers are down."""
        for envoy in self._all.values():
            if envoy.place.slot == slot and envoy.life == Life.STOPPED:
                self.dismiss(envoy, comes_back=False)

    def feel(self, envoy: EnvoyCell) -> None:
        """Let the supervisor know that the lodger has ended, if it has."""
        if envoy.felt is None or envoy.life != Life.RUNNING:
            return
        reason, envoy.felt, envoy.epoch = envoy.felt, None, 0
        self._host.endings.fail(envoy, reason)
        parent = envoy.parent
        if parent is not None and parent.children is not None:
            parent.children.lay_down(envoy)

    # --- the way there ----------------------------------------------------------------------

    def _is_reached(self, slot: int) -> bool:
        link = self._host.links.get(slot)
        return slot == self._host.slot or (link is not None and link.is_connected)

    def _is_there(self, slot: int, epoch: int) -> bool:
        if slot == self._host.slot:
            return epoch == self._host.epoch
        link = self._host.links.get(slot)
        return link is not None and link.is_connected and link.epoch == epoch


def _warden(place: Address) -> Address:
    return Address(place.slot, CONTROL_CELL)


def _lost(slot: int) -> Exit:
    return Exit(ExitReason.HOST_LOST, {"message": f"host {slot}, where it ran, is gone."})
