"""The record of one run of a detached system, kept outside the system, and its checks."""

from collections.abc import Iterator
from typing import Any, Final

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import is_driver_slot
from callboard.messages.core.ref import Address

from ..durable import ExecutionChecker
from ..run import Run
from .system import DetachedSystem, Driver

__all__ = ["RunRecord"]


class RunRecord:
    """The actors that the drivers of one run have started, stopped, or know."""

    def __init__(self, run: Run, system: DetachedSystem) -> None:
        self.run: Final = run
        self.system: Final = system
        self.receivers: list[Address] = []
        self.senders: list[Address] = []
        self.waiter: Address | None = None
        self.at_work: Final[dict[int, None]] = {}
        """Drivers with running activities."""
        self.known: Final[dict[int, Address]] = {}
        """Addresses of the started actors that a driver knows and has not stopped, by tag."""
        self.stopped: Final[set[int]] = set()
        """Tags of actors whose stop was confirmed to a driver."""
        self.checker: ExecutionChecker | None = None
        """The checker of the journalled execution, if there is one."""
        self.may_leave = False
        self.is_going_down = False
        self._tags = 0

    def new_tag(self) -> int:
        """A unique number."""
        self._tags += 1
        return self._tags

    # --- during the run ---------------------------------------------------------------------

    def check_loss(self, driver: Driver, to: Address) -> None:
        """Check a failed ask: a fault must have hit its host or its driver."""
        hit = self.system.touched
        if not (self.is_going_down or driver.was_suspended or hit & {to.slot, driver.number}):
            self.run.complain("work_goes_on", f"an ask to {to} was lost, whose host never died")

    # --- at rest ----------------------------------------------------------------------------

    def check_at_rest(self) -> None:
        """Check the system after it has healed and come to rest."""
        hosts = {host.slot: host for host in self.run.living()}
        for name, seen in (
            *(("work_goes_on", seen) for seen in self._restarted()),
            *(("started_once", seen) for seen in self._started(hosts)),
            *(("drivers_forgotten", seen) for seen in self._remembered(hosts)),
            *(("drivers_are_kept", seen) for seen in self._dropped()),
        ):
            self.run.complain(name, seen)
        self.run.check_now()

    def _restarted(self) -> Iterator[str]:
        """Hosts that ended without a fault."""
        for slot in self.system.root.table.slots.values():
            if slot.number not in self.system.touched and slot.epoch > 1:
                yield f"{slot.name} is in its epoch {slot.epoch}, and nothing has hit it"

    def _started(self, hosts: dict[int, Host]) -> Iterator[str]:
        """Actors that run twice, are missing, or run after their stop."""
        found: dict[int, list[Address]] = {}
        for host in hosts.values():
            for number, cell in host.cells.items():
                tag = getattr(cell.actor, "tag", None)
                if tag is not None:
                    found.setdefault(tag, []).append(Address(host.slot, number))
        for tag, places in found.items():
            if len(places) > 1:
                yield f"actor {tag} runs at {places}"
            if tag in self.stopped:
                yield f"actor {tag} runs at {places} after it was stopped"
        for tag, address in self.known.items():
            if found.get(tag) != [address]:
                yield f"actor {tag} was at {address}, now it is at {found.get(tag, 'no place')}"

    def _remembered(self, hosts: dict[int, Host]) -> Iterator[str]:
        """Find remains of drivers that are gone."""
        attached = {driver.slot for driver in self.system.drivers if driver.is_attached}
        for host in hosts.values():
            if is_driver_slot(host.slot):
                continue
            for slot, link in host.links.items():
                if (
                    is_driver_slot(slot)
                    and slot not in attached
                    and (link.is_connected or link.receiver.asks)
                ):
                    yield f"{host.name} still talks to driver {slot}, which is gone"
        for process in self.system.cluster.named.values():
            left = set(process.pulls.slots) - attached
            if left and not process.loop.is_dead:
                yield f"{process.name} keeps frames for drivers {left}, which are gone"
        for ref in self.system.root.hosting.dead_letter_subscribers:
            if is_driver_slot(ref.address.slot) and ref.address.slot not in attached:
                yield f"dead letters go to {ref}, which is gone"
        waiting = self._waiting(hosts)
        if waiting:
            yield f"asks {waiting} still run, and their askers are gone"

    def _waiting(self, hosts: dict[int, Host]) -> list[int]:
        host = None if self.waiter is None else hosts.get(self.waiter.slot)
        cell: Any = (
            None if host is None or self.waiter is None else host.cells.get(self.waiter.cell)
        )
        return [] if cell is None else list(cell.actor.waiting)

    def _dropped(self) -> Iterator[str]:
        """Drivers that the root dropped although they sent heartbeats."""
        for driver in self.system.drivers:
            if driver.system.failure is not None and not driver.was_suspended:
                yield f"{driver.name} was dropped: {driver.system.failure}"

    # --- down -------------------------------------------------------------------------------

    def check_down(self) -> None:
        """Check that the system is down, and that the attached drivers know it."""
        for seen in self._left():
            self.run.complain("nothing_left", seen)
        self.run.check_now()

    def _left(self) -> Iterator[str]:
        living = self.system.cluster.living()
        if living:
            yield f"left: processes {living}"
        if self.system.root_process.ledger.entries:
            yield f"left: entries {list(self.system.root_process.ledger.entries)}"
        for driver in self.system.drivers:
            loop = driver.process.loop
            if loop.is_dead:
                continue
            if driver.task is None or not driver.task.done():
                yield f"{driver.name} does not know that the system has ended"
            elif loop.tasks or self.run.world.timers_of(loop):
                timers = self.run.world.timers_of(loop)
                yield f"left of {driver.name}: {[t.get_coro() for t in loop.tasks]}, {timers}"
            elif not driver.task.cancelled() and driver.task.exception() is not None:
                yield f"{driver.name} ended with {driver.task.exception()!r}"
