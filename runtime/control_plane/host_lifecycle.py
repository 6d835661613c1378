"""Hosting: brings a process to a slot, watches it there, and takes it away again.

Bringing up: become, start the slot's actors, open the way for what has waited. Nothing is
decided here; whoever asked for a slot to be brought up is told when its process has ended.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import (
    CONTROL_CELL,
    HostDown,
    StopHost,
    SubscribeDeadLetters,
)
from callboard.messages.control.hosts import ProcessOrder
from callboard.messages.control.lifecycle import SHUT_DOWN, Exit, ExitReason
from callboard.messages.control.spec import StopTimeout
from callboard.messages.control.views import QueryHost
from callboard.messages.core.errors import CallboardError, HostLost
from callboard.messages.core.ref import Address, Ref
from callboard.messages.ports import Engine, FrameCarrier, HostProcess

from .standbys import Standbys

if TYPE_CHECKING:
    from ..hosting.settings import Settings
    from .registrar import Registrar
    from .slots import Slot, SlotTable

__all__ = ["Hosting"]

LOGGER: Final = logging.getLogger("callboard.root")
STANDBY_DELAY_S: Final = 0.25
"""A starting process takes a core for a while: the actors that come back need it first."""
STOP_ANSWER_S: Final = 2.0
"""How long the event loop of a host that stops may be silent, twice, before it is killed."""
FOREVER_S: Final = 1e8
"""The deadline of an ask that something else ends."""

Ended = Callable[[Exit], None]


class Hosting:
    """Processes and slots of one system."""

    def __init__(
        self,
        control: Host,
        engine: Engine,
        settings: "Settings",
        registrar: "Registrar",
        standbys: Standbys,
    ) -> None:
        self._control = control
        self._engine = engine
        self._settings = settings
        self._registrar = registrar
        self._table: SlotTable = registrar.table
        self.standbys: Final = standbys
        self._prepared: dict[int, asyncio.Task[HostProcess]] = {}
        """Processes that start already, for slots that will want them."""
        self.lost_hosts = 0
        self.dead_letter_subscribers: Final[list[Ref[Any]]] = []
        """Actors that get the dead letters of all hosts, also of those to come."""
        self.is_closing = False

    async def close(self) -> None:
        """Start nothing any more, and end what is starting."""
        self.is_closing = True
        self.standbys.close()
        prepared, self._prepared = self._prepared, {}
        for task in prepared.values():
            await _discard(task)

    # --- processes ------------------------------------------------------------------------

    def prepare(self, slot: "Slot") -> None:
        """Start a slot's next process ahead of its turn."""
        if slot.number not in self._prepared and not self.is_closing:
            self._prepared[slot.number] = self._control.loop.create_task(self._start(slot))

    def forget(self, slot: "Slot") -> None:
        """A slot will not want its next process."""
        task = self._prepared.pop(slot.number, None)
        if task is not None:
            self._control.run_task(_discard(task))

    async def _process_for(self, slot: "Slot") -> HostProcess:
        if slot.resources is None and self.standbys.spares:
            self.forget(slot)
            return await self.standbys.take()
        task = self._prepared.pop(slot.number, None)
        if task is None:
            return await self._start(slot)
        try:
            return await task
        except asyncio.CancelledError:
            await _discard(task)
            raise

    async def _start(self, slot: "Slot") -> HostProcess:
        if slot.resources is None:
            return await self.standbys.take()
        order = ProcessOrder(slot.name, slot.resources, partial(setattr, slot, "problem"))
        return await self._engine.start_process(self.standbys.next_number(), order)

    # --- up -------------------------------------------------------------------------------

    async def bring_up(self, slot: "Slot", ended: Ended) -> None:
        """Bring a process to a slot; `ended` is called once when it has ended afterwards.

        Raises what keeps it from coming up; nothing of it is left then.
        """
        process = await self._process_for(slot)
        try:
            await self._take_over(slot, process, ended)
        except BaseException:
            if slot.process is process:
                slot.process = None
            await asyncio.shield(process.kill())
            raise
        slot.problem = ""
        self._control.run_task(self._start_standby())

    async def _start_standby(self) -> None:
        if self.standbys.are_missing:
            await asyncio.sleep(STANDBY_DELAY_S)
            await self.standbys.start_one()

    async def _take_over(self, slot: "Slot", process: HostProcess, ended: Ended) -> None:
        slot.epoch += 1
        slot.final_epoch = 0
        epoch = slot.epoch
        slot.process = process
        await self._registrar.records.slot(slot, is_populated=False)
        carrier = await self._become(slot, process, epoch)
        link = self._control.link(slot.number)
        link.connect(epoch, carrier, is_open=False)
        process.bring_frames(slot.number, epoch)
        self._control.run_task(self._watch(slot, process, epoch, ended))
        self._control.run_task(self._heartbeat(slot, process))
        here = {slot.number: (epoch, process)}
        # Hooks of its actors may ask others, whose hosts must be able to answer; but what
        # they have for these actors waits until all have been started.
        self._control.run_task(self._introduce(slot, here, is_open=False))
        await process.connect(self._peers(slot))
        control_actor = Address(slot.number, CONTROL_CELL)
        self._control.tell(control_actor, self._registrar.directory())
        for subscriber in self.dead_letter_subscribers:
            self._control.tell(control_actor, SubscribeDeadLetters(subscriber=subscriber))
        await self._registrar.populate(slot)
        await self._registrar.records.slot(slot, is_populated=True)
        if slot.dead_epoch == epoch:  # Nothing is waited for from here on.
            raise HostLost(f"{process.name} died while it took over {slot.name}.")
        link.open()
        slot.is_up = True
        # Again: what has changed meanwhile was sent to living hosts only, and of two that
        # come up together neither could be told of the other before.
        self._control.tell(control_actor, self._registrar.directory())
        # Not waited for: from now on it runs, and who ends it now has to stop its actors.
        self._control.run_task(self._connect_again(slot, process, here))

    async def _connect_again(
        self, slot: "Slot", process: HostProcess, here: dict[int, tuple[int, HostProcess]]
    ) -> None:
        await asyncio.gather(
            process.connect(self._peers(slot)),
            self._introduce(slot, here, is_open=True),
            return_exceptions=True,
        )

    def adopt(
        self, slot: "Slot", process: HostProcess, carrier: FrameCarrier, ended: Ended
    ) -> None:
        """Go on with a host that works already; `ended` as in `bring_up`."""
        slot.process = process
        link = self._control.link(slot.number)
        link.connect(slot.epoch, carrier)
        process.bring_frames(slot.number, slot.epoch)
        slot.is_up = True
        self._control.run_task(self._watch(slot, process, slot.epoch, ended))
        self._control.run_task(self._heartbeat(slot, process))

    async def introduce(self, slots: "Sequence[Slot]") -> None:
        """Tell hosts that were adopted of each other; one that dies meanwhile is replaced."""
        await asyncio.gather(
            *(
                slot.process.connect(self._peers(slot))
                for slot in slots
                if slot.process is not None and slot.is_up
            ),
            return_exceptions=True,
        )

    async def _introduce(
        self, slot: "Slot", here: dict[int, tuple[int, HostProcess]], *, is_open: bool
    ) -> None:
        await asyncio.gather(
            *(other.process.connect(here, is_open=is_open) for other in self._others(slot)),
            return_exceptions=True,  # One that dies meanwhile is connected when it is back.
        )

    async def _become(self, slot: "Slot", process: HostProcess, epoch: int) -> FrameCarrier:
        # A standby may hang, and nobody listens to its heart yet.
        limit_s = self._settings.heartbeat_s * self._settings.heartbeats_missed_max
        try:
            async with asyncio.timeout(limit_s):
                return await process.become(slot.number, epoch, slot.name)
        except TimeoutError:
            raise HostLost(f"{process.name} has not answered for {limit_s:g} s.") from None

    def _peers(self, slot: "Slot") -> dict[int, tuple[int, HostProcess]]:
        return {other.number: (other.epoch, other.process) for other in self._others(slot)}

    def _others(self, slot: "Slot") -> "list[Slot]":
        return [other for other in self._table.reached() if other is not slot]

    # --- while it runs ----------------------------------------------------------------------

    async def _watch(self, slot: "Slot", process: HostProcess, epoch: int, ended: Ended) -> None:
        reason = await process.watch()
        error = HostLost(f"{slot.name} ({process.name}) is lost.", slot=slot.number)
        if slot.process is not process:  # It was brought down, or its take-over failed.
            self._control.link(slot.number).mark_lost(epoch, error)
            return
        was_up, slot.is_up = slot.is_up, False
        # Who is told of its end may ask at once, and that is for the next incarnation.
        self._control.link(slot.number).hold_requests()
        slot.dead_epoch = epoch
        self.announce(slot, epoch, reason)
        self._registrar.host_lost(slot)
        if was_up:  # Otherwise it is still being brought up, and that fails.
            # First of all: what follows may be ten thousand asks that fail.
            ended(reason)
            await asyncio.sleep(0)
        self._control.link(slot.number).mark_lost(epoch, error)
        if not self.is_closing:
            self.lost_hosts += 1
            LOGGER.warning("%s It ended: %s.", error.message, reason.kind.value)
        await process.kill()  # It may have failed without its process having died.

    def announce(self, slot: "Slot", epoch: int, reason: Exit, *, comes_back: bool = True) -> None:
        """Tell all hosts that one of them is gone: who watches it, or waits for it, must know."""
        notice = HostDown(
            slot=slot.number, epoch=epoch, reason=reason.to_data(), comes_back=comes_back
        )
        for other in self._table.everybody():
            if other is not slot and self._control.link(other.number).is_connected:
                self._control.tell(Address(other.number, CONTROL_CELL), notice)
        self._control.monitors.host_down(notice)

    async def _heartbeat(self, slot: "Slot", process: HostProcess) -> None:
        """A process that is silent for long is as good as dead: make it so."""
        settings, missed = self._settings, 0
        epoch = slot.epoch
        while (
            slot.process is process
            and slot.dead_epoch != epoch
            and missed < settings.heartbeats_missed_max
        ):
            await asyncio.sleep(settings.heartbeat_s)
            try:
                async with asyncio.timeout(settings.heartbeat_s):
                    await process.ping()
                missed = 0
            except (TimeoutError, HostLost):
                missed += 1  # Unreachable is not dead: `watch` says when it is that.
        if slot.process is process and slot.dead_epoch != epoch and not self.is_closing:
            LOGGER.warning("%s has missed %d heartbeats and is ended", slot.name, missed)
            await process.kill()

    # --- down -------------------------------------------------------------------------------

    async def bring_down(
        self,
        slot: "Slot",
        timeout: StopTimeout,  # noqa: ASYNC109 - a spec
        *,
        comes_back: bool = False,
    ) -> Exit:
        """Stop a slot's actors in order, then its process; killed when `timeout` has passed.

        With `comes_back` it is brought up again with its group, and what is for its actors
        waits for that. Gives how it ended: shut down, or killed.
        """
        process = slot.process
        in_order = (
            slot.is_up
            and not timeout.is_brutal
            and await self._stop_actors(slot, timeout, comes_back=comes_back)
        )
        outcome = SHUT_DOWN if in_order else Exit(ExitReason.KILLED)
        if slot.process is process:
            slot.is_up = False
            slot.process = None
            slot.dead_epoch = slot.epoch
            self.announce(slot, slot.epoch, outcome)
            self._registrar.host_lost(slot)
            error = HostLost(f"{slot.name} has been stopped.", slot=slot.number)
            self._control.link(slot.number).mark_lost(slot.epoch, error)
            await asyncio.sleep(0)  # The announcement leaves before others notice by themselves.
            if process is not None:
                await process.kill()
        return outcome

    async def _stop_actors(
        self,
        slot: "Slot",
        timeout: StopTimeout,  # noqa: ASYNC109 - a spec
        *,
        comes_back: bool,
    ) -> bool:
        """Have all actors of a host stopped; False when they were not."""
        limit_s = None if timeout.is_infinite else timeout.seconds
        control_actor = Address(slot.number, CONTROL_CELL)
        command = StopHost(comes_back=comes_back)
        stop = asyncio.ensure_future(
            self._control.ask(control_actor, command, FOREVER_S if limit_s is None else limit_s)
        )
        silence = self._control.loop.create_task(self._silence(control_actor))
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.wait((stop, silence), return_when=asyncio.FIRST_COMPLETED)
            if not stop.done():
                LOGGER.warning("%s no longer answers and is ended", slot.name)
                return False
            stop.result()
        except (CallboardError, TimeoutError):
            return False
        finally:
            stop.cancel()
            silence.cancel()
        return True

    async def _silence(self, control_actor: Address) -> None:
        """Returns when a host's event loop no longer answers.

        While it does, its own supervisors keep to the stop timeouts of its actors.
        """
        missed = 0
        while missed < 2:
            began_s = self._control.now()
            try:
                await self._control.ask(control_actor, QueryHost(actors_max=0), STOP_ANSWER_S)
                missed = 0
            except CallboardError:
                missed += 1
            await asyncio.sleep(max(0.0, began_s + STOP_ANSWER_S - self._control.now()))


async def _discard(start: "asyncio.Task[HostProcess]") -> None:
    """End a process that may be starting still, or may have started."""
    start.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await asyncio.shield((await start).kill())
