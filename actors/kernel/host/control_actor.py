"""The control actor: cell 0 of every host, where the root's commands are carried out.

What roles are asked for comes here too; their extensions answer it.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, ClassVar, Final, Protocol

from callboard.messages.control.control_plane import (
    CONTROL_CELL,
    ActorsStarted,
    ActorsStopped,
    Barrier,
    BarrierPassed,
    DirectoryChanged,
    HostDown,
    HostLeaves,
    HostStopped,
    LeaveAcknowledged,
    SendBarrier,
    StartActors,
    StopActors,
    StopHost,
    SubscribedDeadLetters,
    SubscribeDeadLetters,
)
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.control.lifecycle import SHUT_DOWN
from callboard.messages.control.monitors import MonitorDropped, MonitorEnded, MonitorRequested
from callboard.messages.control.spec import Restart, StopTimeout
from callboard.messages.control.views import ActorHistories, HostView, QueryHost, QueryHostActor
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import ActorStartFailed, CallboardError, HostLost, MailboxFull
from callboard.messages.core.ref import Address

from ..actor import Actor, OnError, handler
from ..cell import Cell, Lifecycle, Recipe
from ..dead_letters import DeadLetters
from ..inspection.history import histories_of
from ..inspection.views import ViewHost, view_host
from ..lifecycle.spawner import Spawner
from ..link.link import Link
from ..ports import RoleHost
from .extension import Startable
from .membership import Membership

__all__ = ["ControlActor", "ControlHost", "SpawnEntry"]

LEAVE_TIMEOUT_S: Final = 0.5
"""How long a host that is to come back waits for each of its peers before it ends."""
BARRIER_S: Final = 7 * 24 * 3600.0
"""How long an actor may take to work off what was sent to it before a barrier."""
SpawnEntry = tuple[
    type[Actor],
    tuple[Any, ...],
    dict[str, Any] | None,
    str | None,
    Restart,
    StopTimeout | None,
]
"""A plain actor as it is shipped: class, arguments, keywords, name, restart, stop timeout."""


Wanted = tuple[int, Any]
"""A number, and the `SpawnEntry` or `Startable` that is to have it."""
Kind = tuple[type[Actor], Restart, StopTimeout | None]


class ControlHost(ViewHost, RoleHost[Cell], Protocol):
    """What the root's commands are carried out on: a host."""

    @property
    def spawner(self) -> Spawner:
        """How cells come to it."""

    @property
    def membership(self) -> Membership:
        """Which slots there are."""

    @property
    def dead_letters(self) -> DeadLetters:
        """Its dead letters."""

    def link(self, slot: int) -> Link:
        """The way to a slot, made if need be."""


class ControlActor(Actor):
    """Carries out what the root wants done on this host."""

    on_error: ClassVar[OnError] = OnError.RESUME
    concurrency: ClassVar[int] = 4_096
    """Starts and stops wait for user code; a look or a death notice must not wait for them."""

    def __init__(self, host: ControlHost) -> None:
        self._host = host

    @handler
    async def start(self, command: StartActors) -> ActorsStarted:
        """Start actors, all at once; tell which failed."""
        entries: list[SpawnEntry | Startable] = self._host.pickler.loads(command.entries)
        places = [Address(*place) for place in command.places]
        failures: dict[int, dict[str, Any]] = {}
        begun: list[Cell] = []
        known = self._host.cells
        wanted = [
            (number, entry)
            for number, entry in zip(command.cells, entries, strict=True)
            # Otherwise it has ended for good, or the command is repeated.
            if number and number not in known
        ]
        for kind, alike in groupby(wanted, self._kind_of):
            if kind is not None:
                begun += self._begin_alike(kind, list(alike), failures)
            else:
                begun += self._begin_each(alike, places, failures)
        if not command.waits:
            self._host.run_task(self._outcomes(begun))
            return ActorsStarted(failures=failures)
        for cell in begun:
            if cell.lifecycle == Lifecycle.RUNNING and type(cell) is Cell:
                # Nearly all: only a start hook takes longer than its `begin`, and what belongs
                # to the start of a cell of another kind.
                continue
            try:
                await self._host.spawner.outcome(cell)
            except ActorStartFailed as error:
                failures[cell.id] = error.to_data()
        return ActorsStarted(failures=failures)

    async def _outcomes(self, cells: Sequence[Cell]) -> None:
        """Wait for starts that nobody else waits for: what failed, its family has reported."""
        for cell in cells:
            with contextlib.suppress(CallboardError):
                await self._host.spawner.outcome(cell)

    def _kind_of(self, wanted: Wanted) -> Kind | None:
        """What a plain actor has in common with others, or None for what is begun by itself."""
        entry = wanted[1]
        if type(entry) is not tuple:
            return None
        actor, _, _, name, restart, stop_timeout = entry
        if name is not None or not self._host.spawner.is_plain(actor):
            return None
        return actor, restart, stop_timeout

    def _begin_alike(
        self, kind: Kind, alike: Sequence[Wanted], failures: dict[int, dict[str, Any]]
    ) -> list[Cell]:
        actor, restart, stop_timeout = kind
        recipes = [(number, Recipe(actor, entry[1], entry[2])) for number, entry in alike]
        entries = self._host.spawner
        try:
            return entries.begin_all(actor, recipes, entries.spec(restart, stop_timeout))
        except CallboardError:
            # One by one, so that those which can be had are, and each other one is told why.
            return self._begin_each(alike, (), failures)

    def _begin_each(
        self,
        wanted: Iterable[Wanted],
        places: Sequence[Address],
        failures: dict[int, dict[str, Any]],
    ) -> list[Cell]:
        begun = []
        for number, entry in wanted:
            try:
                begun.append(self._begin(entry, number, places))
            except CallboardError as error:
                failures[number] = error.to_data()
        return begun

    def _begin(self, entry: SpawnEntry | Startable, number: int, places: Sequence[Address]) -> Cell:
        if not isinstance(entry, tuple):
            return entry.begin(self._host, number, places)
        actor, args, keywords, name, restart, stop_timeout = entry
        recipe = Recipe(actor, args, keywords, name)
        return self._host.spawner.begin(recipe, None, restart, stop_timeout, number)

    @handler
    async def stop(self, command: StopActors) -> ActorsStopped:
        """Stop actors in order."""
        for number in command.cells:
            if number in self._host.spawner.guardian.cells:
                await self._host.termination.stop_child(None, number)
        return ActorsStopped()

    @handler
    async def send_barrier(self, command: SendBarrier) -> BarrierPassed:
        """See that all that this host has sent to an actor has been taken in."""
        address = Address(command.slot, command.cell)
        with contextlib.suppress(CallboardError):
            await self._host.ask(address, Barrier(), BARRIER_S)
        return BarrierPassed()

    @handler
    async def stop_host(self, command: StopHost) -> HostStopped:
        """Stop every actor, in reverse order of their starts."""
        await self._host.spawner.stop_all(comes_back=command.comes_back)
        if command.comes_back:
            await self._announce_leave()
        monitors = self._host.monitors
        monitors.release(monitors.detach(CONTROL_CELL), SHUT_DOWN, comes_back=None)
        return HostStopped()

    async def _announce_leave(self) -> None:
        """See that no ask is lost that came too late, or is on its way.

        Once a peer has answered, all that it had sent is here and goes back to it; once it has
        answered again, that is there.
        """
        host = self._host
        peers = [slot for slot, link in host.links.items() if link.is_connected]
        leave = HostLeaves(slot=host.slot, epoch=host.epoch)
        for _ in range(2):
            answers = await asyncio.gather(
                *(host.ask(Address(slot, CONTROL_CELL), leave, LEAVE_TIMEOUT_S) for slot in peers),
                return_exceptions=True,
            )
            peers = [
                slot
                for slot, answer in zip(peers, answers, strict=True)
                if not isinstance(answer, BaseException)
            ]

    @handler
    async def host_leaves(self, notice: HostLeaves) -> LeaveAcknowledged:
        """Let what is for the actors of another host wait for its next incarnation."""
        link = self._host.link(notice.slot)
        if link.epoch == notice.epoch:
            link.hold_requests()
        return LeaveAcknowledged()

    @handler
    async def host_down(self, notice: HostDown) -> None:
        """Another host is gone: let everybody here know who waits for it or watches it."""
        self._host.monitors.host_down(notice)
        link = self._host.link(notice.slot)
        error = HostLost(f"host {notice.slot} has ended.", slot=notice.slot)
        if notice.comes_back:
            link.declare_dead(notice.epoch, error)
        else:
            link.close(error)

    @handler
    async def monitor(self, request: MonitorRequested) -> None:
        """An actor of another host watches one of this host, or is linked to it."""
        self._host.monitors.handle_request(request)

    @handler
    async def monitor_ended(self, notice: MonitorEnded) -> None:
        """What an actor of this host is tied to has ended."""
        self._host.monitors.handle_end(notice)

    @handler
    async def monitor_dropped(self, notice: MonitorDropped) -> None:
        """Somebody watches an actor of this host no longer."""
        self._host.monitors.handle_drop(notice)

    @handler
    async def directory(self, change: DirectoryChanged) -> None:
        """Take over a newer directory."""
        is_newer = change.version > self._host.directory.version
        self._host.directory.replace(
            change.version,
            {name: Address(*where) for name, where in change.names.items()},
            {
                name: tuple(Address(*where) for where in places)
                for name, places in change.offers.items()
            },
            {
                Address(*(int(part) for part in where.split("/"))): size
                for where, size in change.sizes.items()
            },
            change.hosts,
            change.routings,
        )
        if is_newer:
            self._host.membership.update(change.places, change.newest_slot)

    @handler
    async def query(self, request: QueryHost) -> HostView:
        """What is on this host."""
        return await view_host(self._host, request)

    @handler
    async def query_actor(self, request: QueryHostActor) -> ActorHistories:
        """Why an actor of this host is as it is."""
        return histories_of(self._host, request)

    @handler
    async def dead_letters(self, request: SubscribeDeadLetters) -> SubscribedDeadLetters:
        """Send dead letters to an actor; one that cannot take them loses them."""
        subscriber = request.subscriber.address

        def pass_on(letter: DeadLetter) -> None:
            link = self._host.links.get(subscriber.slot)
            if link is not None and link.outbox.closed_by is not None:
                unsubscribe()  # A driver that has left.
            # A dead letter of a dead letter would go round for ever.
            elif letter.contract != DeadLetter.contract_name:
                self._tell(subscriber, letter)

        unsubscribe = self._host.dead_letters.subscribe(pass_on)
        return SubscribedDeadLetters(before=dict(self._host.dead_letters.counts))

    def _tell(self, address: Address, message: Contract) -> None:
        try:
            self._host.tell(address, message)
        except MailboxFull as error:
            self._host.dead_letters.counts["not_sent"] += 1
            del error
