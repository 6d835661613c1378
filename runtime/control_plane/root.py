"""The root supervisor: its children are hosts, one a slot.

The root has two supervisors: one for the system's own hosts, with the strategy of the settings, and
one for isolated hosts, each of which runs one actor. When a host dies, a standby takes its slot
over at once. The supervisor core is the one that supervises actors. Hosts stop in reverse order
of their starts: isolated hosts first, then the system's own.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import (
    CONTROL_CELL,
    CONTROL_SLOT,
    SubscribeDeadLetters,
)
from callboard.messages.control.hosts import HostSpec
from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import Intensity, SupervisorSpec
from callboard.messages.core.errors import CallboardError, ClusterError, HostLost
from callboard.messages.core.ref import Address, Ref
from callboard.messages.ports import Engine
from callboard.supervisors.supervisor import Supervisor

from ..hosting.boot_time import boot_time_s
from ..hosting.environment import Environment
from ..hosting.settings import Settings
from .authority import UNLIMITED, Authority
from .host_children import HostChildren, child_spec
from .host_lifecycle import Hosting
from .nodes import Nodes
from .records import Records
from .registrar import Registrar
from .slots import Slot, SlotTable
from .standbys import Standbys

__all__ = ["Root"]

LOGGER: Final = logging.getLogger("callboard.root")
ISOLATED: Final = Intensity(restarts=10_000, period_s=10.0)
"""Isolated hosts are many and fail independently. The back-off of the other hosts slows down one
that keeps failing."""


class Root:
    """Supervises the hosts of one system, and knows which actors run on them."""

    def __init__(
        self,
        control: Host,
        engine: Engine,
        settings: Settings,
        on_failed: Callable[[CallboardError], None],
        environment: Environment,
        records: Records | None = None,
        authority: Authority = UNLIMITED,
        *,
        hosts: int = 1,
    ) -> None:
        """`hosts` is their number, or the highest if it changes."""
        self.table: Final = SlotTable()
        nodes = Nodes(control, engine, self.table, settings.start_timeout_s)
        standbys = Standbys(control, nodes, settings.standbys)
        self.registrar: Final = Registrar(
            control,
            self.table,
            self,
            standbys.preload,
            environment.wall_time,
            records,
            authority,
        )
        self.hosting: Final = Hosting(
            control,
            engine,
            settings,
            self.registrar,
            standbys,
            boot_time_s if environment.is_real else control.now,
        )
        self._control = control
        self._settings = settings
        self._on_failed = on_failed
        self._stopping = False
        isolated = SupervisorSpec(intensity=ISOLATED, backoff=settings.host_supervision.backoff)
        self.hosts: Final = HostChildren(
            control, self.hosting, self.registrar, settings.supervision_of(hosts), environment,
            self._hosts_stopped,
        )  # fmt: skip
        """The system's own hosts."""
        self.isolated: Final = HostChildren(
            control, self.hosting, self.registrar, isolated, environment, self._hosts_stopped
        )

    @property
    def supervisor(self) -> Supervisor:
        """The supervisor of the system's own hosts; a child's id is its slot's number."""
        return self.hosts.supervisor

    def supervised_by(self, slot: Slot) -> HostChildren:
        """The group of hosts that a slot's host belongs to."""
        return self.isolated if slot.is_isolated else self.hosts

    def supervisor_of(self, slot: Slot) -> Supervisor:
        """The supervisor of a slot's host."""
        return self.supervised_by(slot).supervisor

    async def open_isolated(self, slot: Slot, spec: HostSpec) -> None:
        """Bring the host of one actor up."""
        await self.isolated.add(slot, spec)

    async def close_isolated(self, slot: Slot) -> None:
        """End the host of an actor that has ended."""
        await self.isolated.remove(slot)

    @property
    def standbys(self) -> Standbys:
        """Processes that wait to take over a slot."""
        return self.hosting.standbys

    @property
    def lost_hosts(self) -> int:
        """The number of hosts that have ended unasked."""
        return self.hosting.lost_hosts

    # --- start and stop ---------------------------------------------------------------------

    async def start(self, specs: Sequence[HostSpec]) -> None:
        """Start the hosts, in the order of their specs, and the standbys.

        Raises a `ClusterError` or the last failure when the hosts do not come up in time.
        """
        # All processes start at once, and become hosts one after the other.
        slots = [self.table.add_slot(spec.name, spec.resources) for spec in specs]
        for slot, spec in zip(slots, specs, strict=True):
            self.supervisor.expect_child(child_spec(slot, spec))
            if slot.resources is not None:
                self.hosting.prepare(slot)
        self.registrar.directory_changed()
        await self.standbys.gather(sum(slot.resources is None for slot in slots))
        self.isolated.start()
        self.hosts.start()
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                await asyncio.shield(self.hosts.started)
        except TimeoutError:
            failure = self.hosts.last_failure
            raise ClusterError(
                f"{len(specs)} hosts did not come up within {self._settings.start_timeout_s:g} s"
                f"{f' ({failure})' if failure else ''}.",
                advice="Raise start_timeout_s, or start fewer hosts.",
            ) from None

    async def stop(self, timeout_s: float) -> None:
        """Stop all actors in order, then their processes; kill what is left at the timeout."""
        self._stopping = True
        try:
            async with asyncio.timeout(timeout_s):
                await self.registrar.stop_spread()
                await self.hosting.close()
                await self.isolated.stop()
                await self.hosts.stop()
        except TimeoutError:
            # After Ctrl-C the time is short on purpose, and the end of handlers is no news.
            is_short = timeout_s < self._settings.stop_timeout_s
            text = "not all actors stopped within %.1f s; their hosts are killed"
            LOGGER.log(logging.INFO if is_short else logging.WARNING, text, timeout_s)
        for slot in self.table.slots.values():
            slot.is_up = False
            slot.process = None

    def _hosts_stopped(self, reason: Exit) -> None:
        """All hosts of one supervisor are down: by request, or because they kept dying."""
        if self._stopping:
            return
        error = _why_it_ended(reason, self.hosts.last_failure)
        if not self.hosts.started.done():
            self.hosts.started.set_exception(error)
            self.hosts.started.exception()  # Seen: `start` may have given up waiting.
            return
        for number in self.table.slots:
            self._control.link(number).close(error)
        self._on_failed(error)

    # --- dead letters -------------------------------------------------------------------------

    async def subscribe_dead_letters(self, subscriber: Ref[Any]) -> None:
        """Send each dead letter of all hosts, present and future, to an actor."""
        subscribers = self.hosting.dead_letter_subscribers
        if subscriber in subscribers:
            return  # A driver asks again when the root dies meanwhile.
        subscribers.append(subscriber)
        await self.registrar.records.dead_letters([ref.address for ref in subscribers])
        slots = [CONTROL_SLOT, *(slot.number for slot in self.table.living())]
        await asyncio.gather(
            *(
                self._control.ask(
                    Address(slot, CONTROL_CELL), SubscribeDeadLetters(subscriber=subscriber)
                )
                for slot in slots
            )
        )

    async def forget_dead_letters(self, slot: int) -> None:
        """Remove the subscriptions of a driver that has left."""
        subscribers = self.hosting.dead_letter_subscribers
        left = [ref for ref in subscribers if ref.address.slot != slot]
        if len(left) != len(subscribers):
            subscribers[:] = left
            await self.registrar.records.dead_letters([ref.address for ref in left])

    def statistics(self) -> dict[str, Any]:
        """Counts for `callboard tree`."""
        return {"lost_hosts": self.lost_hosts, "standbys": self.standbys.ready}


def _why_it_ended(reason: Exit, last_failure: CallboardError | None) -> CallboardError:
    match reason.detail.get("cause"):
        case "child_start_failed" if last_failure is not None:
            return last_failure
        case "auto_shutdown":
            return HostLost(
                f"significant host {reason.detail.get('child')} has ended, so the system ends.",
                advice="host_supervision.auto_shutdown asks for this.",
                reason=reason.to_data(),
            )
        case _:
            return HostLost(
                "hosts died more often than host_supervision allows, so the system gives up.",
                advice="Look for the reason in the hosts' logs, and run `callboard doctor`.",
                reason=reason.to_data(),
            )
