"""Hosts as the children of one supervisor, and the runner that performs its decisions on them.

The supervisor core is the one that supervises actors. The system's own hosts are the children of
one supervisor, with the strategy of the settings. Isolated hosts are the children of another: each
belongs to one actor alone, so they fail independently of the strategy of the others.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.hosts import HostSpec
from callboard.messages.control.lifecycle import SHUT_DOWN, Exit, ExitReason
from callboard.messages.control.spec import ChildId, ChildSpec, StopTimeout, SupervisorSpec
from callboard.messages.core.errors import CallboardError, HostLost, InternalError
from callboard.messages.ports import FrameCarrier, HostProcess, TimerHandle
from callboard.supervisors.tree import ChildState

from ..hosting.environment import Environment
from ..hosting.wiring import HostClock
from .host_lifecycle import Hosting

if TYPE_CHECKING:
    from .registrar import Registrar
    from .slots import Slot

__all__ = ["HostChildren", "child_spec"]

LOGGER: Final = logging.getLogger("callboard.root")
MOVE_MARGIN_S: Final = 2.0
"""The time at the end of a move's limit in which its host is killed and its slot taken over."""
MOVE_MIN_S: Final = 0.5
"""The least time that the actors of a host that moves get."""


def child_spec(slot: "Slot", spec: HostSpec) -> ChildSpec:
    """A host as its supervisor sees it: the child's id is the number of the slot."""
    return ChildSpec(
        slot.number,
        restart=spec.restart,
        stop_timeout=spec.stop_timeout,
        significant=spec.significant,
    )


def _failure_of(slot: "Slot", error: Exception) -> CallboardError:
    """Why a host did not come up, in the log as well."""
    failure = (
        error
        if isinstance(error, CallboardError)
        else InternalError(f"{slot.name} did not come up: {error!r}", advice="Report it.")
    )
    LOGGER.warning("host %s did not come up: %s", slot.name, failure)
    return failure


class HostChildren:
    """Performs one supervisor's decisions on slots: a `ChildRunner`."""

    def __init__(
        self,
        control: Host,
        hosting: Hosting,
        registrar: "Registrar",
        spec: SupervisorSpec,
        environment: Environment,
        on_stopped: Callable[[Exit], None],
    ) -> None:
        self._control = control
        self._hosting = hosting
        self._registrar = registrar
        self._on_stopped = on_stopped
        self._starts: dict[int, asyncio.Task[None]] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._gone: dict[int, asyncio.Future[None]] = {}
        self._failures: dict[int, CallboardError] = {}
        self._ended: dict[int, None] = {}
        """Slots whose process has ended, and of which the supervisor may not have decided yet."""
        self._adopted = 0
        self._moving: set[int] = set()
        """Slots whose host stops because another node takes it over."""
        self.spec: Final = spec
        self.last_failure: CallboardError | None = None
        self.started: Final[asyncio.Future[None]] = control.loop.create_future()
        self.stopped: Final[asyncio.Future[None]] = control.loop.create_future()
        self.supervisor: Final = environment.make_supervisor(
            spec, self, HostClock(control.now), environment.random
        )

    # --- commands of the root ---------------------------------------------------------------

    def start(self) -> None:
        """Start the hosts that the supervisor expects, one after the other."""
        self.supervisor.start()

    async def stop(self) -> None:
        """Stop all hosts in reverse order of their starts, and wait."""
        self.supervisor.stop()
        await asyncio.shield(self.stopped)

    async def add(self, slot: "Slot", spec: HostSpec) -> None:
        """Start one more host and wait until it is up. Raises the reason when it does not."""
        waiting = self._waiting[slot.number] = self._control.loop.create_future()
        self.supervisor.add_child(child_spec(slot, spec), slot.number)
        await asyncio.shield(waiting)

    def adopt(self, slot: "Slot", spec: HostSpec) -> int:
        """Adopt a host that an earlier root started; returns its incarnation here.

        Call `resume` or `report_death` next.
        """
        incarnation = self._adopted = self._adopted + 1
        self.supervisor.adopt_child(child_spec(slot, spec), incarnation, slot.number)
        return incarnation

    def resume(
        self, slot: "Slot", incarnation: int, process: HostProcess, carrier: FrameCarrier
    ) -> None:
        """Supervise an adopted host that works."""

        def ended(reason: Exit) -> None:
            self._handle_exit(slot, incarnation, reason)

        self._hosting.adopt(slot, process, carrier, ended)

    def report_death(
        self, slot: "Slot", incarnation: int, end: "asyncio.Task[None] | None"
    ) -> None:
        """Report that an adopted host died while there was no root; the supervisor decides.

        `end` is the end of its process, if that is not proven yet: the decision waits for it.
        """
        lost = HostLost(f"{slot.name} has died while there was no root.", slot=slot.number)
        reason = Exit.of_error(ExitReason.HOST_LOST, lost)
        slot.dead_epoch = slot.epoch
        self._hosting.announce(slot, slot.epoch, reason)
        if end is None:
            self._end_adopted(slot, incarnation, reason)
            return
        slot.problem = "it cannot be reached"

        async def report() -> None:
            await asyncio.shield(end)
            if slot.dead_epoch == slot.epoch and not self._hosting.is_closing:
                self._end_adopted(slot, incarnation, reason)

        self._control.run_task(report())

    def _end_adopted(self, slot: "Slot", incarnation: int, reason: Exit) -> None:
        self._registrar.host_lost(slot)
        self._handle_exit(slot, incarnation, reason)

    async def remove(self, slot: "Slot") -> None:
        """Stop a host in order and forget it, and wait."""
        if slot.number not in self.supervisor.core:
            if slot.number in self._registrar.table.slots:  # The host was never started.
                self._registrar.remove_slot(slot)
        else:
            gone = self._gone.setdefault(slot.number, self._control.loop.create_future())
            self.supervisor.remove_child(slot.number)
            await asyncio.shield(gone)

    def move(self, slot: "Slot", node: str, within_s: float) -> "asyncio.Task[None] | None":
        """Let a process on another node take a running host's slot over, in order.

        The process starts first. Then the host stops as for a restart of its group: its actors
        finish what runs, at most for `within_s`, and messages wait for their return. None when
        the host does not run, or changes already.
        """
        view = self.supervisor.child(slot.number)
        before = self._starts.get(slot.number)
        if not slot.is_up or view.state is not ChildState.RUNNING:
            return None
        if before is not None and not before.done():
            return None
        task = self._control.start_task(self._move(slot, view.incarnation, node, within_s))
        self._starts[slot.number] = task  # So that a stop of the child ends the move.
        return task

    async def _move(self, slot: "Slot", incarnation: int, node: str, within_s: float) -> None:
        process, until_s = slot.process, self._control.now() + within_s
        self._hosting.prepare(slot, node)
        try:
            await self._hosting.prepared(slot)
        except CallboardError as error:
            LOGGER.warning("%s stays where it is: %s", slot.name, error)
            return
        if not slot.is_up or slot.process is not process:
            return  # It has ended meanwhile, and comes back as after any end.
        left_s = max(MOVE_MIN_S, until_s - self._control.now() - MOVE_MARGIN_S)
        limit = self.supervisor.child(slot.number).spec.stop_timeout.seconds
        self._moving.add(slot.number)
        slot.problem = "moves to another node"
        try:
            await self._hosting.bring_down(slot, StopTimeout(min(limit, left_s)), comes_back=True)
        finally:
            self._moving.discard(slot.number)
        try:
            await self._hosting.bring_up(
                slot, lambda reason: self._handle_exit(slot, incarnation, reason)
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor must know
            failure = _failure_of(slot, error)
            self._handle_exit(slot, incarnation, Exit.of_error(ExitReason.HOST_LOST, failure))

    # --- ChildRunner --------------------------------------------------------------------------

    def start_child(self, child: ChildId, incarnation: int, spec: ChildSpec) -> None:
        """Bring a slot up."""
        slot = self._slot(child)
        self._ended.pop(slot.number, None)
        task = self._control.start_task(self._bring_up(slot, incarnation))
        self._starts[slot.number] = task

    def start_children(
        self, children: Sequence[ChildId], first_incarnation: int, spec: ChildSpec
    ) -> None:
        """Bring slots up."""
        for incarnation, child in enumerate(children, first_incarnation):
            self.start_child(child, incarnation, spec)

    async def _bring_up(self, slot: "Slot", incarnation: int) -> None:
        def ended(reason: Exit) -> None:
            self._handle_exit(slot, incarnation, reason)

        try:
            await self._hosting.bring_up(slot, ended)
        except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor must know
            failure = _failure_of(slot, error)
            self.last_failure = self._failures[slot.number] = failure
            slot.problem = failure.message
            reason = Exit.of_error(ExitReason.START_FAILED, failure)
            self.supervisor.child_start_failed(slot.number, incarnation, reason)
            self._settle_ended()
            return
        self._failures.pop(slot.number, None)
        self.supervisor.child_started(slot.number, incarnation)
        waiting = self._waiting.pop(slot.number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _handle_exit(self, slot: "Slot", incarnation: int, reason: Exit) -> None:
        if slot.number in self._moving:
            return  # It was to stop anyway, and comes back elsewhere.
        slot.problem = str(reason.detail.get("message", "")) or reason.kind.value
        self._ended[slot.number] = None
        self.supervisor.child_exited(slot.number, incarnation, reason)
        self._settle_ended()
        if slot.number in self._ended and slot.resources is None and not self._hosting.is_closing:
            # It comes back after other hosts of its group: start its process meanwhile.
            self._hosting.prepare(slot)

    def stop_child(
        self,
        child: ChildId,
        incarnation: int,
        timeout: StopTimeout,
        reason: Exit,
        *,
        comes_back: bool,
    ) -> None:
        """Stop a slot's actors in order, then its process."""
        slot = self._slot(child)
        if comes_back:
            # Its next process starts while other hosts of the group still stop.
            self._hosting.prepare(slot)
        down = self._bring_down(slot, incarnation, timeout, comes_back=comes_back)
        self._control.run_task(down)

    async def _bring_down(
        self,
        slot: "Slot",
        incarnation: int,
        timeout: StopTimeout,  # noqa: ASYNC109 - a spec
        *,
        comes_back: bool,
    ) -> None:
        start = self._starts.pop(slot.number, None)
        if start is not None and not start.done():
            start.cancel()
            await asyncio.wait((start,))
        outcome = await self._hosting.bring_down(slot, timeout, comes_back=comes_back)
        self._handle_exit(slot, incarnation, outcome)

    def child_gone(self, child: ChildId, reason: Exit) -> None:
        """Remove the slot of a host that never comes back, and settle the waits for it."""
        slot = self._slot(child)
        number = slot.number
        self._hosting.announce(slot, slot.epoch, reason, comes_back=False)
        self._ended.pop(number, None)
        self._starts.pop(number, None)
        self._hosting.forget(slot)
        self._registrar.remove_slot(slot)
        failure = self._failures.pop(number, None) or HostLost(
            f"{slot.name} has ended for good: {reason.kind.value}.", advice=""
        )
        waiting = self._waiting.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(failure)
        gone = self._gone.pop(number, None)
        if gone is not None and not gone.done():
            gone.set_result(None)

    def supervisor_started(self) -> None:
        """Report that every host given at construction is up."""
        if not self.started.done():
            self.started.set_result(None)

    def supervisor_stopped(self, reason: Exit) -> None:
        """Report that all hosts are down: by request, or because they kept dying."""
        for waiting in (*self._waiting.values(), *self._gone.values()):
            if not waiting.done():
                waiting.set_exception(HostLost("the system has stopped.", advice=""))
                waiting.exception()
        if not self.stopped.done():
            self.stopped.set_result(None)
        self._on_stopped(reason)

    def set_timer(self, at_s: float, callback: Callable[[], None]) -> TimerHandle:
        """Set a timer of the control host's loop."""
        return self._control.loop.call_at(at_s, callback)

    # --- hosts that stay down -----------------------------------------------------------------

    def _settle_ended(self) -> None:
        """Find the ended hosts that do not come back by themselves, and end their actors.

        A transient host that ended in good order stays down and keeps its spec; its group may
        start it again. Until then its actors have ended, and nothing waits for them.
        """
        for number in list(self._ended):
            slot = self._registrar.table.slots.get(number)
            if slot is None or number not in self.supervisor.core:
                self._ended.pop(number, None)
            elif self.supervisor.child(number).is_down:
                self._ended.pop(number, None)
                reason = self.supervisor.child(number).last_exit or SHUT_DOWN
                self._hosting.announce(slot, slot.epoch, reason, comes_back=False)
                self._registrar.stop_for_good(slot)

    def _slot(self, child: ChildId) -> "Slot":
        assert isinstance(child, int)
        return self._registrar.table.slots[child]
