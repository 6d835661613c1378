"""The root supervisor, the shell: hosts are its children, a slot each.

When a host dies, its slot is taken over by an understudy at once: become, start the
slot's actors, open the way for what has waited. A new understudy is started behind it.
What to do when is decided by the same supervisor core that supervises actors.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from callboard.actors.host.host import Host
from callboard.messages.control import (
    CONTROL_CELL,
    CONTROL_SLOT,
    StopHost,
    SubscribeDeadLetters,
)
from callboard.messages.errors import (
    CallboardError,
    ClusterError,
    HostLost,
    InternalError,
)
from callboard.messages.lifecycle import SHUT_DOWN, Exit, ExitReason
from callboard.messages.ports import Engine, FrameCarrier, HostProcess, TimerHandle
from callboard.messages.ref import Address, Ref
from callboard.messages.spec import ChildId, ChildSpec, Restart, StopTimeout
from callboard.supervisors.supervisor import Supervisor

from ..environment import Environment
from ..settings import Settings
from ..wiring import HostClock
from .registrar import Registrar
from .slots import Slot, SlotTable

__all__ = ["Root"]

LOGGER: Final = logging.getLogger("callboard.root")
HIRE_DELAY_S: Final = 1.0
SPARE_LIFE_MIN_S: Final = 5.0


class Root:
    """Keeps hosts alive. It is the `ChildRunner` of hosts."""

    def __init__(
        self,
        control: Host,
        engine: Engine,
        settings: Settings,
        on_failed: Callable[[CallboardError], None],
        environment: Environment,
    ) -> None:
        self.table: Final = SlotTable()
        self._control = control
        self._engine = engine
        self._settings = settings
        self._on_failed = on_failed
        self._spares: list[HostProcess] = []
        self._hiring = 0
        self._processes_started = 0
        self.registrar: Final = Registrar(control, self.table)
        self._stopping = False
        self._started: asyncio.Future[None] = control.loop.create_future()
        self._stopped: asyncio.Future[None] = control.loop.create_future()
        self._last_failure: CallboardError | None = None
        self.lost_hosts = 0
        self.letter_subscribers: Final[list[Ref[Any]]] = []
        """Actors that get the dead letters of all hosts, also of those to come."""
        self.supervisor: Final = Supervisor(
            settings.host_supervision, self, HostClock(control.now), environment.random
        )
        self.supervisor.start()

    # --- start and stop ---------------------------------------------------------------------

    async def start(self, hosts: int) -> None:
        """Start the hosts and the understudies; raises when one of the hosts cannot."""
        wanted = hosts + self._settings.understudies
        processes = await asyncio.gather(*(self._start_process() for _ in range(wanted)))
        for process in processes:
            self._keep_spare(process)
        spec = ChildSpec(
            "host",
            restart=Restart.PERMANENT,
            stop_timeout=StopTimeout(self._settings.stop_timeout_s),
        )
        for _ in range(hosts):
            slot = self.table.add_slot("")
            slot.name = f"host-{slot.number}"
            self.supervisor.add_child(spec, slot.number)
        self.registrar.directory_changed()
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                await asyncio.shield(self._started)
        except TimeoutError:
            raise ClusterError(
                f"{hosts} hosts did not come up within {self._settings.start_timeout_s:g} s"
                f"{f' ({self._last_failure})' if self._last_failure else ''}.",
                advice="Raise start_timeout_s, or start fewer hosts.",
            ) from None

    async def stop(self, timeout_s: float) -> None:
        """Stop all actors in order, then their processes; at the timeout, at once."""
        self._stopping = True
        try:
            async with asyncio.timeout(timeout_s):
                self.supervisor.stop()
                await asyncio.shield(self._stopped)
        except TimeoutError:
            LOGGER.warning("not all actors stopped within %.1f s; ending their hosts", timeout_s)
        for slot in self.table.slots.values():
            slot.is_up = False

    # --- ChildRunner ---------------------------------------------------------------------------

    def start_child(self, child: ChildId, incarnation: int, spec: ChildSpec) -> None:
        """Bring a slot up."""
        assert isinstance(child, int)
        self._control.run_task(self._bring_up(self.table.slots[child], incarnation))

    def stop_child(
        self, child: ChildId, incarnation: int, timeout: StopTimeout, reason: Exit
    ) -> None:
        """Stop a slot's actors in order, then its process."""
        assert isinstance(child, int)
        self._control.run_task(self._bring_down(self.table.slots[child], incarnation, timeout))

    def child_gone(self, child: ChildId, reason: Exit) -> None:
        """A slot that is never tried again: what waits for it is told."""
        assert isinstance(child, int)
        error = self._last_failure or HostLost(f"host {child} is gone for good.", advice="")
        self._control.link(child).close(error)
        if not self._started.done() and not self._stopping:
            self._started.set_exception(error)

    def supervisor_stopped(self, reason: Exit) -> None:
        """All hosts are down: by request, or because they kept dying."""
        if not self._stopped.done():
            self._stopped.set_result(None)
        if not self._stopping:
            error = HostLost(
                "hosts keep dying faster than they may be replaced; the system gives up.",
                advice="`callboard doctor` and the hosts' logs tell why.",
                reason=reason.to_data(),
            )
            for number in self.table.slots:
                self._control.link(number).close(error)
            self._on_failed(error)

    def set_timer(self, at_s: float, callback: Callable[[], None]) -> TimerHandle:
        """A timer of the control host's loop."""
        return self._control.loop.call_at(at_s, callback)

    # --- hosts up and down ------------------------------------------------------------------------

    async def _start_process(self) -> HostProcess:
        self._processes_started += 1
        return await self._engine.start_process(self._processes_started)

    async def _bring_up(self, slot: Slot, incarnation: int) -> None:
        process: HostProcess | None = None
        try:
            process = self._spares.pop(0) if self._spares else await self._start_process()
            await self._take_over(slot, process, incarnation)
        except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor must know
            failure = (
                error
                if isinstance(error, CallboardError)
                else InternalError(f"{slot.name} did not come up: {error!r}", advice="Report it.")
            )
            LOGGER.warning("host %s did not come up: %s", slot.name, failure)
            self._last_failure = failure
            if process is not None:
                await process.kill()
            reason = Exit.of_error(ExitReason.START_FAILED, failure)
            self.supervisor.child_start_failed(slot.number, incarnation, reason)
            return
        self.supervisor.child_started(slot.number, incarnation)
        if not self._started.done() and all(s.is_up for s in self.table.slots.values()):
            self._started.set_result(None)
        if len(self._spares) < self._settings.understudies:
            # A starting process takes a core for a while: those that are back need it first.
            await asyncio.sleep(HIRE_DELAY_S)
            await self._hire()

    async def _take_over(self, slot: Slot, process: HostProcess, incarnation: int) -> None:
        slot.epoch += 1
        epoch = slot.epoch
        slot.process = process
        carrier = await self._become(slot, process, epoch)
        link = self._control.link(slot.number)
        link.connect(epoch, carrier, is_open=False)
        process.bring_frames(slot.number, epoch)
        self._control.run_task(self._watch(slot, process, incarnation, epoch))
        self._control.run_task(self._heartbeat(slot, process, epoch))
        here = {slot.number: (epoch, process)}
        # Hooks of its actors may ask others, whose hosts must be able to answer; but what
        # they have for these actors waits until all have been started.
        self._control.run_task(self._introduce(slot, here, is_open=False))
        await process.connect(self._peers(slot))
        warden = Address(slot.number, CONTROL_CELL)
        self._control.tell(warden, self.registrar.directory())
        for subscriber in self.letter_subscribers:
            self._control.tell(warden, SubscribeDeadLetters(subscriber=subscriber))
        await self.registrar.populate(slot)
        if slot.dead_epoch == epoch:
            raise HostLost(f"{process.name} died while it took over {slot.name}.")
        link.open()
        slot.is_up = True
        # Again: what has changed meanwhile was sent to living hosts only, and of two that
        # come up together neither could be told of the other before.
        self._control.tell(warden, self.registrar.directory())
        await asyncio.gather(
            process.connect(self._peers(slot)),
            self._introduce(slot, here, is_open=True),
            return_exceptions=True,
        )

    async def _introduce(
        self, slot: Slot, here: dict[int, tuple[int, HostProcess]], *, is_open: bool
    ) -> None:
        await asyncio.gather(
            *(other.process.connect(here, is_open=is_open) for other in self._others(slot)),
            return_exceptions=True,  # One that dies meanwhile is connected when it is back.
        )

    async def _become(self, slot: Slot, process: HostProcess, epoch: int) -> FrameCarrier:
        # An understudy may hang, and nobody listens to its heart yet.
        limit_s = self._settings.heartbeat_s * self._settings.heartbeats_missed_max
        try:
            async with asyncio.timeout(limit_s):
                return await process.become(slot.number, epoch, slot.name)
        except TimeoutError:
            raise HostLost(f"{process.name} has not answered for {limit_s:g} s.") from None

    def _peers(self, slot: Slot) -> dict[int, tuple[int, HostProcess]]:
        return {other.number: (other.epoch, other.process) for other in self._others(slot)}

    def _others(self, slot: Slot) -> list[Slot]:
        return [other for other in self.table.living() if other is not slot]

    async def _watch(self, slot: Slot, process: HostProcess, incarnation: int, epoch: int) -> None:
        reason = await process.watch()
        was_up, slot.is_up = slot.is_up, False
        slot.dead_epoch = epoch
        self.registrar.host_lost(slot)
        error = HostLost(f"{slot.name} ({process.name}) is lost.", slot=slot.number)
        if was_up:  # Otherwise it is still being brought up, and that fails.
            # First of all: what follows may be ten thousand asks that fail.
            self.supervisor.child_exited(slot.number, incarnation, reason)
            await asyncio.sleep(0)
        self._control.link(slot.number).lost(epoch, error)
        if not self._stopping:
            self.lost_hosts += 1
            LOGGER.warning("%s An understudy takes over.", error.message)
        await process.kill()  # It may have failed without its process having died.

    async def _heartbeat(self, slot: Slot, process: HostProcess, epoch: int) -> None:
        """A process that is silent for long is as good as dead: make it so."""
        settings, missed = self._settings, 0
        while slot.epoch == epoch and missed < settings.heartbeats_missed_max:
            await asyncio.sleep(settings.heartbeat_s)
            try:
                async with asyncio.timeout(settings.heartbeat_s):
                    await process.ping()
                missed = 0
            except (TimeoutError, HostLost):
                missed += 1  # Unreachable is not dead: `watch` says when it is that.
        if slot.epoch == epoch and not self._stopping:
            LOGGER.warning("%s has missed %d heartbeats and is ended", slot.name, missed)
            await process.kill()

    async def _bring_down(
        self,
        slot: Slot,
        incarnation: int,
        timeout: StopTimeout,  # noqa: ASYNC109 - a spec
    ) -> None:
        limit_s = None if timeout.is_infinite else timeout.seconds
        reason = SHUT_DOWN
        try:
            async with asyncio.timeout(limit_s):
                await self._control.ask(Address(slot.number, CONTROL_CELL), StopHost(), limit_s)
        except (CallboardError, TimeoutError):
            reason = Exit(ExitReason.KILLED)
        slot.is_up = False
        slot.epoch += 1
        process, slot.process = slot.process, None
        if process is not None:
            await process.kill()
        self.supervisor.child_exited(slot.number, incarnation, reason)

    async def _hire(self) -> None:
        """Start understudies until there are as many as wanted."""
        while not self._stopping and self._hiring + len(self._spares) < self._settings.understudies:
            self._hiring += 1
            try:
                self._keep_spare(await self._start_process())
            except CallboardError as error:
                LOGGER.warning("no understudy: %s", error)
                return
            finally:
                self._hiring -= 1

    def _keep_spare(self, process: HostProcess) -> None:
        self._spares.append(process)
        self._control.run_task(self._watch_spare(process))

    async def _watch_spare(self, process: HostProcess) -> None:
        """Replace an understudy that dies before it is needed."""
        began_s = self._control.now()
        await process.watch()
        if process in self._spares and not self._stopping:
            self._spares.remove(process)
            LOGGER.warning("understudy %s is lost and replaced", process.name)
            # One that dies at once would be replaced without end, as fast as they start.
            await asyncio.sleep(max(0.0, began_s + SPARE_LIFE_MIN_S - self._control.now()))
            await self._hire()

    async def subscribe_letters(self, subscriber: Ref[Any]) -> None:
        """Send each dead letter of every host, also of hosts to come, to an actor."""
        self.letter_subscribers.append(subscriber)
        slots = [CONTROL_SLOT, *(slot.number for slot in self.table.living())]
        await asyncio.gather(
            *(
                self._control.ask(
                    Address(slot, CONTROL_CELL), SubscribeDeadLetters(subscriber=subscriber)
                )
                for slot in slots
            )
        )

    def statistics(self) -> dict[str, Any]:
        """Counts for `callboard tree`."""
        return {"lost_hosts": self.lost_hosts, "understudies": len(self._spares)}
