"""Hosting: brings a process to a slot, watches it there, and takes it away again.

A process comes up in four steps: it becomes the slot's host, connects for control messages only,
starts the slot's actors, and opens to messages for them. Nothing is decided here: the caller of
`bring_up` learns of the end of the process.
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
from callboard.messages.control.hosts import BlockedLoop, ProcessOrder
from callboard.messages.control.lifecycle import SHUT_DOWN, Exit, ExitReason
from callboard.messages.control.spec import StopTimeout
from callboard.messages.control.views import QueryHost
from callboard.messages.core.errors import CallboardError, HostLost
from callboard.messages.core.ref import Address, Ref
from callboard.messages.ports import Engine, FrameCarrier, HostProcess

from .introductions import Introductions
from .standbys import Standbys

if TYPE_CHECKING:
    from ..hosting.settings import Settings
    from .registrar import Registrar
    from .slots import Slot, SlotTable

__all__ = ["Hosting"]

LOGGER: Final = logging.getLogger("callboard.root")
STANDBY_DELAY_S: Final = 0.25
"""A starting process occupies a core for a while, and the returning actors need it first."""
STOP_ANSWER_S: Final = 2.0
"""How long the event loop of a host that stops may be silent, twice, before it is killed."""
FOREVER_S: Final = 1e8
"""The deadline of an ask that something else ends."""

Ended = Callable[[Exit], None]
Peer = tuple[int, HostProcess]
"""The process at a slot, and its epoch."""


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
        """Processes that start ahead of the slots that will need them."""
        self._verdicts: dict[HostProcess, HostLost] = {}
        """Why processes are killed, until their end is noticed."""
        self._introductions: Final = Introductions(control.run_task, control.now)
        self.lost_hosts = 0
        self.dead_letter_subscribers: Final[list[Ref[Any]]] = []
        """Actors that get the dead letters of all hosts, present and future."""
        self.is_closing = False

    async def close(self) -> None:
        """Start no more processes, and end those that are starting."""
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
        """Discard the process that starts ahead for a slot."""
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
        """Bring a process to a slot; call `ended` once when the process has ended afterwards.

        Raises the reason when it does not come up; the process is killed first.
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
        introduced = await self._connect_control_only(slot, process, epoch)
        await self._registrar.populate(slot)
        await self._registrar.records.slot(slot, is_populated=True)
        if slot.dead_epoch == epoch:  # Nothing waits for the process from here on.
            raise HostLost(f"{process.name} died while it took over {slot.name}.")
        link.open()
        self._open_to_actors(slot, process, epoch, introduced)

    async def _connect_control_only(
        self, slot: "Slot", process: HostProcess, epoch: int
    ) -> dict[int, Peer]:
        """Connect a new host and its peers; messages for its actors still wait.

        Returns the peers that it knows now.

        The start hooks of its actors may ask actors on other hosts, and those must be able to
        answer. Messages from other hosts wait until all actors have started.
        """
        self._introduce(slot, process, epoch, is_open=False)
        introduced = self._peers(slot)
        await process.connect(introduced)
        control_actor = Address(slot.number, CONTROL_CELL)
        self._control.tell(control_actor, self._registrar.directory())
        for subscriber in self.dead_letter_subscribers:
            self._control.tell(control_actor, SubscribeDeadLetters(subscriber=subscriber))
        return introduced

    def _open_to_actors(
        self, slot: "Slot", process: HostProcess, epoch: int, introduced: dict[int, Peer]
    ) -> None:
        """Let the messages that wait reach the actors of a new host.

        The directory is sent a second time, and the peers that came meanwhile: changes during the
        first phase went to living hosts only, and two hosts that come up together did not know
        each other then.
        """
        slot.is_up = True
        self._control.tell(Address(slot.number, CONTROL_CELL), self._registrar.directory())
        # Nothing waits for this: the host runs already, so its end has to stop its actors.
        for number, peer in self._peers(slot).items():
            if introduced.get(number) != peer:
                self._introductions.introduce(number, *peer, (process,), is_open=True)
        self._introduce(slot, process, epoch, is_open=True)

    def adopt(
        self, slot: "Slot", process: HostProcess, carrier: FrameCarrier, ended: Ended
    ) -> None:
        """Take over a host that works already; `ended` as in `bring_up`."""
        slot.process = process
        link = self._control.link(slot.number)
        link.connect(slot.epoch, carrier)
        process.bring_frames(slot.number, slot.epoch)
        slot.is_up = True
        self._control.run_task(self._watch(slot, process, slot.epoch, ended))
        self._control.run_task(self._heartbeat(slot, process))

    async def introduce(self, slots: "Sequence[Slot]") -> None:
        """Connect adopted hosts with each other; a host that dies meanwhile is replaced."""
        await asyncio.gather(
            *(
                slot.process.connect(self._peers(slot))
                for slot in slots
                if slot.process is not None and slot.is_up
            ),
            return_exceptions=True,
        )

    def _introduce(self, slot: "Slot", process: HostProcess, epoch: int, *, is_open: bool) -> None:
        others = (other.process for other in self._others(slot))
        self._introductions.introduce(slot.number, epoch, process, others, is_open=is_open)

    async def _become(self, slot: "Slot", process: HostProcess, epoch: int) -> FrameCarrier:
        # A standby may hang, and its heartbeats are not watched yet.
        limit_s = self._settings.heartbeat_s * self._settings.heartbeats_missed_max
        try:
            async with asyncio.timeout(limit_s):
                return await process.become(slot.number, epoch, slot.name)
        except TimeoutError:
            raise HostLost(f"{process.name} has not answered for {limit_s:g} s.") from None

    def _peers(self, slot: "Slot") -> dict[int, Peer]:
        return {other.number: (other.epoch, other.process) for other in self._others(slot)}

    def _others(self, slot: "Slot") -> "list[Slot]":
        return [other for other in self._table.reached() if other is not slot]

    # --- while it runs ----------------------------------------------------------------------

    async def _watch(self, slot: "Slot", process: HostProcess, epoch: int, ended: Ended) -> None:
        reason = await process.watch()
        error = self._verdicts.pop(process, None)
        if error is not None:
            reason = Exit.of_error(ExitReason.HOST_LOST, error)
        else:
            error = HostLost(f"{slot.name} ({process.name}) is lost.", slot=slot.number)
        if slot.process is not process:  # The slot was stopped, or its take-over failed.
            self._control.link(slot.number).mark_lost(epoch, error)
            return
        was_up, slot.is_up = slot.is_up, False
        # A listener may ask at once: such an ask is for the next incarnation.
        self._control.link(slot.number).hold_requests()
        slot.dead_epoch = epoch
        self.announce(slot, epoch, reason)
        self._registrar.host_lost(slot)
        if was_up:  # Otherwise `bring_up` is under way and fails.
            # Before the rest, which may be ten thousand asks that fail.
            ended(reason)
            await asyncio.sleep(0)
        self._control.link(slot.number).mark_lost(epoch, error)
        if not self.is_closing:
            self.lost_hosts += 1
            LOGGER.warning("%s It ended: %s.", error.message, reason.kind.value)
        await process.kill()  # The host may have failed while its process lives.

    def announce(self, slot: "Slot", epoch: int, reason: Exit, *, comes_back: bool = True) -> None:
        """Tell all hosts that a host has ended, for those that watch it or wait for it."""
        notice = HostDown(
            slot=slot.number, epoch=epoch, reason=reason.to_data(), comes_back=comes_back
        )
        for other in self._table.all_peers():
            if other is not slot and self._control.link(other.number).is_connected:
                self._control.tell(Address(other.number, CONTROL_CELL), notice)
        self._control.monitors.host_down(notice)

    async def _heartbeat(self, slot: "Slot", process: HostProcess) -> None:
        """Kill a process that misses too many heartbeats, or whose loop is blocked for too long."""
        settings, missed = self._settings, 0
        epoch = slot.epoch
        why: HostLost | None = None
        while why is None:
            await asyncio.sleep(settings.heartbeat_s)
            if slot.process is not process or slot.dead_epoch == epoch:
                return
            try:
                async with asyncio.timeout(settings.heartbeat_s):
                    blocked = await process.ping()
            except Exception:  # noqa: BLE001 - whatever Ray raises, the host has not answered
                missed += 1  # Unreachable is not dead: `watch` reports the death.
                if missed >= settings.heartbeats_missed_max:
                    why = HostLost(f"{slot.name} has missed {missed} heartbeats.", slot=slot.number)
                continue
            missed = 0
            if blocked is not None and 0 < settings.blocked_s_max <= blocked.seconds:
                why = _blocked_error(slot, blocked)
        if slot.process is process and slot.dead_epoch != epoch and not self.is_closing:
            LOGGER.warning("%s It is killed, and replaced.", why.message)
            self._verdicts[process] = why
            await process.kill()

    # --- down -------------------------------------------------------------------------------

    async def bring_down(
        self,
        slot: "Slot",
        timeout: StopTimeout,  # noqa: ASYNC109 - a spec
        *,
        comes_back: bool = False,
    ) -> Exit:
        """Stop a slot's actors in order, then its process; kill it when `timeout` has passed.

        With `comes_back` the slot comes up again with its group, and messages for its actors
        wait for that. Returns how it ended: shut down, or killed.
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
            await asyncio.sleep(0)  # The notice leaves before other hosts see the death.
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
        """Stop all actors of a host; False when that failed or took too long."""
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
                LOGGER.warning("%s no longer answers and is killed", slot.name)
                return False
            stop.result()
        except (CallboardError, TimeoutError):
            return False
        finally:
            stop.cancel()
            silence.cancel()
        return True

    async def _silence(self, control_actor: Address) -> None:
        """Return when a host's event loop no longer answers.

        While it answers, its own supervisors enforce the stop timeouts of its actors.
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


def _blocked_error(slot: "Slot", blocked: BlockedLoop) -> HostLost:
    return HostLost(
        f"the event loop of {slot.name} has not run for {blocked.seconds:.0f} s: {blocked.text}.",
        advice="Make a handler that computes for long a `def` handler, or raise blocked_s_max.",
        slot=slot.number,
        remote_traceback=blocked.stack,
    )


async def _discard(start: "asyncio.Task[HostProcess]") -> None:
    """End a process that is starting or has started."""
    start.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await asyncio.shield((await start).kill())
