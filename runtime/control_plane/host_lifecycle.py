"""Hosting: brings a process to a slot, watches it there, and takes it away again.

A process comes up in four steps: it becomes the slot's host, connects for control messages only,
starts the slot's actors, and opens to messages for them. Nothing is decided here: the caller of
`bring_up` learns of the end of the process.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import (
    CONTROL_CELL,
    HostDown,
    StopHost,
    SubscribeDeadLetters,
)
from callboard.messages.control.hosts import BlockedLoop, HeartbeatAnswer, ProcessOrder
from callboard.messages.control.lifecycle import SHUT_DOWN, Exit, ExitReason
from callboard.messages.control.spec import StopTimeout
from callboard.messages.control.views import QueryHost
from callboard.messages.core.errors import CallboardError, HostLost
from callboard.messages.core.ref import Address, Ref
from callboard.messages.ports import Engine, FrameCarrier, HostProcess

from .heartbeats import Heartbeats
from .introductions import Introductions
from .leases import Change
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


class _End(NamedTuple):
    """The end of a slot's last process, which is under way."""

    process: HostProcess | None
    """None for a process that this root has never reached."""
    task: asyncio.Task[None]
    lost: list[Address]
    """Its actors that do not come back, to be forgotten then."""


class Hosting:
    """Processes and slots of one system."""

    def __init__(
        self,
        control: Host,
        engine: Engine,
        settings: "Settings",
        registrar: "Registrar",
        standbys: Standbys,
        clock: Callable[[], float],
    ) -> None:
        self._control = control
        self._engine = engine
        self._settings = settings
        self._registrar = registrar
        self._table: SlotTable = registrar.table
        self.standbys: Final = standbys
        self.heartbeats: Final = Heartbeats(
            control,
            engine,
            settings,
            clock,
            registrar.authority,
            self._state_changed,
            self._answered,
            standbys.nodes.answered,
        )
        standbys.heartbeats = self.heartbeats
        self._given_up: dict[HostProcess, asyncio.Future[None]] = {}
        """Set when the process of a slot is given up, for the watch of it."""
        self._ends: dict[int, _End] = {}
        """The ends of the last processes of slots: no slot is taken over before."""
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
        self.heartbeats.close()
        prepared, self._prepared = self._prepared, {}
        for task in prepared.values():
            await _discard(task)

    # --- processes ------------------------------------------------------------------------

    def prepare(self, slot: "Slot", node: str = "") -> None:
        """Start a slot's next process ahead of its turn, on `node` if given."""
        if slot.number not in self._prepared and not self.is_closing:
            start = self._control.loop.create_task(self._start(slot, node))
            self._prepared[slot.number] = start

    async def prepared(self, slot: "Slot") -> None:
        """Wait for a slot's next process. Raises `ClusterError`, and forgets the start then."""
        task = self._prepared.get(slot.number)
        if task is not None:
            await asyncio.wait((task,))
            if task.cancelled() or task.exception() is not None:
                self._prepared.pop(slot.number, None)
                task.result()

    def forget(self, slot: "Slot") -> None:
        """Discard the process that starts ahead for a slot."""
        task = self._prepared.pop(slot.number, None)
        if task is not None:
            self._control.run_task(_discard(task))

    async def _process_for(self, slot: "Slot") -> HostProcess:
        task = self._prepared.get(slot.number)
        is_ready = task is not None and task.done()
        if slot.resources is None and self.standbys.spares and not is_ready:
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

    async def _start(self, slot: "Slot", node: str = "") -> HostProcess:
        if slot.resources is None:
            return await self.standbys.take(node)
        order = ProcessOrder(slot.name, slot.resources, partial(setattr, slot, "problem"))
        process = await self._engine.start_process(self.standbys.next_number(), order)
        self.heartbeats.watch(process)
        return process

    # --- up -------------------------------------------------------------------------------

    async def bring_up(self, slot: "Slot", ended: Ended) -> None:
        """Bring a process to a slot; call `ended` once when the process has ended afterwards.

        Raises the reason when it does not come up; the process is killed first. Like all that
        changes hosts, waits until the root may act.
        """
        await self._last_has_ended(slot)
        await self._registrar.authority.held()
        process = await self._process_for(slot)
        try:
            await self._take_over(slot, process, ended)
        except BaseException:
            if slot.process is process:
                slot.process = None
            _ = self._end(slot, process)  # The next take-over of the slot waits for it.
            if self.is_closing:
                await asyncio.shield(process.kill())
            raise
        slot.problem = ""
        self._control.run_task(self._start_standby())

    async def _start_standby(self) -> None:
        if self.standbys.are_missing:
            await asyncio.sleep(STANDBY_DELAY_S)
            await self.standbys.start_one()

    async def _take_over(self, slot: "Slot", process: HostProcess, ended: Ended) -> None:
        await self._registrar.authority.held()
        slot.epoch += 1
        slot.final_epoch = 0
        epoch = slot.epoch
        slot.process = process
        slot.is_silent = False
        await self._registrar.records.slot(slot, is_populated=False)
        carrier = await self._become(slot, process, epoch)
        link = self._control.link(slot.number)
        link.connect(epoch, carrier, is_open=False)
        process.bring_frames(slot.number, epoch)
        self._control.run_task(self._watch(slot, process, epoch, ended))
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
        self._registrar.spreading.hosts_changed()

    def adopt(
        self, slot: "Slot", process: HostProcess, carrier: FrameCarrier, ended: Ended
    ) -> None:
        """Take over a host that works already; `ended` as in `bring_up`."""
        slot.process = process
        link = self._control.link(slot.number)
        link.connect(slot.epoch, carrier)
        process.bring_frames(slot.number, slot.epoch)
        slot.is_up = True
        self.heartbeats.watch(process)
        self._control.run_task(self._watch(slot, process, slot.epoch, ended))

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
        reason = await self._until_lost(process)
        await self._registrar.authority.held()
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
        # A host that reports its own failure has stopped its actors.
        has_ended = reason.kind is not ExitReason.HOST_LOST or process.has_ended
        lost = self._registrar.lost_with(slot)
        if was_up and has_ended:  # Otherwise `bring_up` is under way and fails.
            # Before the rest, which may be ten thousand asks that fail.
            self._registrar.forget_lost(lost)
            ended(reason)
            await asyncio.sleep(0)
        self._control.link(slot.number).mark_lost(epoch, error)
        if not self.is_closing:
            self._doubt(process)
            self.lost_hosts += 1
            LOGGER.warning("%s It ended: %s.", error.message, reason.kind.value)
        # The host may have failed while its process lives.
        end = self._end(slot, process, () if was_up and has_ended else lost)
        if was_up and not has_ended:
            await asyncio.shield(end)
            if slot.process is process:  # Otherwise its group has stopped meanwhile.
                ended(reason)

    async def _until_lost(self, process: HostProcess) -> Exit:
        """Wait for the end of a process, or until it is given up, as its exit."""
        given_up = self._given_up[process] = self._control.loop.create_future()
        watch = self._control.loop.create_task(process.watch())
        try:
            await asyncio.wait((watch, given_up), return_when=asyncio.FIRST_COMPLETED)
            return watch.result() if watch.done() else Exit(ExitReason.HOST_LOST)
        finally:
            watch.cancel()
            del self._given_up[process]

    # --- the end of a process -----------------------------------------------------------------

    def _end(
        self, slot: "Slot", process: HostProcess, lost: Sequence[Address] = ()
    ) -> "asyncio.Task[None]":
        """Kill the process of a slot; the task ends when it has surely ended.

        The `lost` actors, which do not come back, are forgotten then.
        """
        under_way = self._ends.get(slot.number)
        if under_way is not None and under_way.process is process:
            under_way.lost.extend(lost)
            return under_way.task
        self.heartbeats.give_up(process)
        forgotten = list(lost)

        async def end() -> None:
            self._control.run_task(process.kill())
            await self._until_ended(slot, process.until_ended(), process)
            self._registrar.forget_lost(forgotten)

        return self._keep_end(slot, end(), process, forgotten)

    def expect_end(self, slot: "Slot", ended: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Wait for the end of a slot's process that this root has never reached."""
        return self._keep_end(slot, self._until_ended(slot, ended, None), None, [])

    async def _until_ended(
        self, slot: "Slot", ended: Coroutine[Any, Any, None], process: HostProcess | None
    ) -> None:
        if not await self.heartbeats.until_ended(ended, process):
            what = "the lease of the last process of %s has ended, and its slot can be taken over"
            LOGGER.warning(what, slot.name)

    def _keep_end(
        self,
        slot: "Slot",
        end: Coroutine[Any, Any, None],
        process: HostProcess | None,
        lost: list[Address],
    ) -> "asyncio.Task[None]":
        task = self._control.start_task(end)
        self._ends[slot.number] = _End(process, task, lost)
        task.add_done_callback(partial(self._forget_end, slot.number))
        return task

    def _forget_end(self, number: int, task: "asyncio.Task[None]") -> None:
        if number in self._ends and self._ends[number].task is task:
            del self._ends[number]

    async def _last_has_ended(self, slot: "Slot") -> None:
        """Wait until no earlier process of a slot can run any more."""
        end = self._ends.get(slot.number)
        if end is not None:
            await asyncio.shield(end.task)

    def waits_for(self, slot: "Slot") -> str:
        """What a slot without a host waits for, for people; empty for no such wait."""
        end = self._ends.get(slot.number)
        if end is None or (end.process is not None and end.process.has_ended):
            return ""
        rest_s = self.heartbeats.rest_s(end.process)
        if math.isfinite(rest_s):
            return f"given up; its slot is taken over in at most {rest_s:.0f} s (lease)"
        return "given up; its slot is taken over when its process has ended"

    # --- heartbeats -----------------------------------------------------------------------------

    def _state_changed(self, process: HostProcess, change: Change) -> None:
        """A process has missed heartbeats, or answers again."""
        slot = self._slot_of(process)
        if change is not Change.ANSWERS_AGAIN:
            self._doubt(process)
        if change is Change.GIVEN_UP:
            self._give_up(process, None if slot is None else self._missed_error(slot))
        elif slot is not None and not self.is_closing:
            slot.is_silent = change is Change.SILENT
            if slot.is_silent:
                LOGGER.warning("%s is silent; new work goes to other hosts", slot.name)
            else:
                LOGGER.warning("%s answers again", slot.name)

    def _doubt(self, process: HostProcess) -> None:
        """The node of a process may be lost: others come first until a process there answers."""
        self.standbys.nodes.suspect(process.node)
        self.heartbeats.doubt(process.node)

    def _missed_error(self, slot: "Slot") -> HostLost:
        missed = self._settings.heartbeats_missed_max
        return HostLost(f"{slot.name} has missed {missed} heartbeats.", slot=slot.number)

    def _give_up(self, process: HostProcess, why: HostLost | None) -> None:
        """Kill a process: the watch of its slot does, or of a standby."""
        self.heartbeats.give_up(process)
        given_up = self._given_up.get(process)
        if given_up is None:
            self.standbys.give_up(process)
        elif why is not None and not given_up.done() and not self.is_closing:
            rest_s = self.heartbeats.rest_s(process)
            until = f", in at most {rest_s:.0f} s" if math.isfinite(rest_s) else ""
            what = "%s It is killed, and replaced when its process has ended%s."
            LOGGER.warning(what, why.message, until)
            self._verdicts[process] = why
            given_up.set_result(None)

    def _answered(self, process: HostProcess, answer: HeartbeatAnswer) -> None:
        """A process answers, and says that something blocks its event loop."""
        slot, blocked = self._slot_of(process), answer.blocked
        if slot is None or blocked is None:
            return
        if 0 < self._settings.blocked_s_max <= blocked.seconds:
            self._give_up(process, _blocked_error(slot, blocked))

    def _slot_of(self, process: HostProcess) -> "Slot | None":
        """The slot whose host a process is; None for a standby, and one that has ended."""
        slots = self._table.slots.values()
        return next((slot for slot in slots if slot.process is process), None)

    def announce(self, slot: "Slot", epoch: int, reason: Exit, *, comes_back: bool = True) -> None:
        """Tell all hosts that a host has ended, for those that watch it or wait for it."""
        notice = HostDown(
            slot=slot.number, epoch=epoch, reason=reason.to_data(), comes_back=comes_back
        )
        for other in self._table.all_peers():
            if other is not slot and self._control.link(other.number).is_connected:
                self._control.tell(Address(other.number, CONTROL_CELL), notice)
        self._control.monitors.host_down(notice)

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
        await self._registrar.authority.held()
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
                _ = self._end(slot, process)
        if self.is_closing:
            if process is not None:
                await process.kill()
        else:
            await self._last_has_ended(slot)
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
