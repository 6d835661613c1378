"""The control actor: cell 0 of every host, which carries out the root's commands.

Requests to roles come here too; the extensions of the host answer them.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, ClassVar, Final, Protocol

from callboard.messages.control.control_plane import (
    CONTROL_CELL,
    CONTROL_SLOT,
    ActorsStarted,
    ActorsStopped,
    Barrier,
    BarrierPassed,
    DirectoryChanged,
    DirectoryPatched,
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
    WantDirectory,
)
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.control.lifecycle import SHUT_DOWN
from callboard.messages.control.monitors import MonitorDropped, MonitorEnded, MonitorRequested
from callboard.messages.control.spec import Restart, StopTimeout
from callboard.messages.control.views import (
    ActorHistories,
    ActorsPage,
    HostView,
    QueryHost,
    QueryHostActor,
    QueryHostActors,
)
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import ActorStartFailed, CallboardError, HostLost, MailboxFull
from callboard.messages.core.ref import Address

from ..actor import Actor, OnError, handler
from ..cell import Cell, Lifecycle, Recipe
from ..dead_letters import DeadLetters
from ..directory.registry import address_of
from ..inspection.history import histories_of
from ..inspection.listing import list_actors
from ..inspection.views import ViewHost, view_host
from ..lifecycle.spawner import Spawner
from ..link.link import Link
from ..ports import RoleHost
from .extension import Extensions, Startable
from .membership import Membership

__all__ = ["ControlActor", "ControlHost", "SpawnEntry"]

LEAVE_TIMEOUT_S: Final = 0.5
"""How long a host that a restart stops waits for each of its peers before it ends."""
BARRIER_S: Final = 7 * 24 * 3600.0
"""How long an actor may take to handle the messages sent to it before a barrier."""
SpawnEntry = tuple[
    type[Actor],
    tuple[Any, ...],
    dict[str, Any] | None,
    str | None,
    Restart,
    StopTimeout | None,
]
"""A plain actor on the wire: class, arguments, keywords, name, restart, stop timeout."""


Wanted = tuple[int, Any]
"""A cell's number, and the `SpawnEntry` or `Startable` for it."""
BatchKey = tuple[type[Actor], Restart, StopTimeout | None]


class ControlHost(ViewHost, RoleHost[Cell], Protocol):
    """The host, for its control actor."""

    @property
    def spawner(self) -> Spawner:
        """Starts cells on it."""

    @property
    def membership(self) -> Membership:
        """The slots of the system, as the root reports them."""

    @property
    def dead_letters(self) -> DeadLetters:
        """Its dead letters."""

    @property
    def extensions(self) -> Extensions:
        """What roles have here."""

    def link(self, slot: int) -> Link:
        """The link to a slot, made at first use."""


class ControlActor(Actor):
    """Carries out the root's commands on this host."""

    on_error: ClassVar[OnError] = OnError.RESUME
    concurrency: ClassVar[int] = 4_096
    """Starts and stops wait for user code; queries and death notices must not wait for them."""

    def __init__(self, host: ControlHost) -> None:
        self._host = host

    @handler
    async def start(self, command: StartActors) -> ActorsStarted:
        """Start actors, all at once; the reply has the failures."""
        self._host.fences.raise_to(command.fence)
        entries: list[SpawnEntry | Startable] = self._host.pickler.loads(command.entries)
        places = [Address(*place) for place in command.places]
        failures: dict[int, dict[str, Any]] = {}
        begun: list[Cell] = []
        known = self._host.cells
        wanted = [
            (number, entry)
            for number, entry in zip(command.cells, entries, strict=True)
            # Otherwise the actor has ended for good, or the command is a repetition.
            if number and number not in known
        ]
        for key, alike in groupby(wanted, self._batch_key):
            if key is not None:
                begun += self._begin_alike(key, list(alike), failures)
            else:
                begun += self._begin_each(alike, places, failures)
        if not command.waits:
            self._host.run_task(self._outcomes(begun))
            return ActorsStarted(failures=failures)
        for cell in begun:
            if cell.lifecycle == Lifecycle.RUNNING and type(cell) is Cell:
                # Nearly all actors: only a start hook, and a cell of another kind, may still be
                # starting after `begin`.
                continue
            try:
                await self._host.spawner.outcome(cell)
            except ActorStartFailed as error:
                failures[cell.id] = error.to_data()
        return ActorsStarted(failures=failures)

    async def _outcomes(self, cells: Sequence[Cell]) -> None:
        """Wait for starts that no spawner waits for; supervisors report their failures."""
        for cell in cells:
            with contextlib.suppress(CallboardError):
                await self._host.spawner.outcome(cell)

    def _batch_key(self, wanted: Wanted) -> BatchKey | None:
        """What a plain actor shares with others of its batch; None for an entry begun by itself."""
        entry = wanted[1]
        if type(entry) is not tuple:
            return None
        actor, _, _, name, restart, stop_timeout = entry
        if name is not None or not self._host.spawner.is_plain(actor):
            return None
        return actor, restart, stop_timeout

    def _begin_alike(
        self, key: BatchKey, alike: Sequence[Wanted], failures: dict[int, dict[str, Any]]
    ) -> list[Cell]:
        actor, restart, stop_timeout = key
        recipes = [(number, Recipe(actor, entry[1], entry[2])) for number, entry in alike]
        spawner = self._host.spawner
        try:
            return spawner.begin_all(actor, recipes, spawner.spec(restart, stop_timeout))
        except CallboardError:
            # One by one, so that all that can start do, and each other one has its own error.
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
        """Reply once an actor has handled all messages that this host has sent to it."""
        address = Address(command.slot, command.cell)
        with contextlib.suppress(CallboardError):
            await self._host.ask(address, Barrier(), BARRIER_S)
        return BarrierPassed()

    @handler
    async def stop_host(self, command: StopHost) -> HostStopped:
        """Stop every actor, in reverse order of their starts."""
        await self._host.spawner.stop_all(comes_back=command.comes_back)
        await self._host.extensions.stopping()
        if command.comes_back:
            await self._announce_leave()
        monitors = self._host.monitors
        monitors.release(monitors.detach(CONTROL_CELL), SHUT_DOWN, comes_back=None)
        return HostStopped()

    async def _announce_leave(self) -> None:
        """Announce the leave to all peers, so that no ask on its way here is lost.

        Once a peer has answered, all its messages have arrived here and bounce back to it.
        Once it has answered again, they have arrived there.
        """
        host = self._host
        peers = host.membership.reached()
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
        """Hold the messages for the actors of another host until its next incarnation."""
        link = self._host.link(notice.slot)
        if link.epoch == notice.epoch:
            link.hold_requests()
        return LeaveAcknowledged()

    @handler
    async def host_down(self, notice: HostDown) -> None:
        """Another host has ended: notify the watchers here, and fail the asks under way."""
        self._host.monitors.host_down(notice)
        error = HostLost(f"host {notice.slot} has ended.", slot=notice.slot)
        if notice.comes_back:
            self._host.membership.declare_dead(notice.slot, notice.epoch, error)
        else:
            self._host.link(notice.slot).close(error)

    @handler
    async def monitor(self, request: MonitorRequested) -> None:
        """An actor of another host watches one of this host, or is linked to it."""
        self._host.monitors.handle_request(request)

    @handler
    async def monitor_ended(self, notice: MonitorEnded) -> None:
        """An actor has ended that an actor of this host watches or is linked to."""
        self._host.monitors.handle_end(notice)

    @handler
    async def monitor_dropped(self, notice: MonitorDropped) -> None:
        """A watch of another host on an actor of this host has ended."""
        self._host.monitors.handle_drop(notice)

    @handler
    async def directory(self, change: DirectoryChanged) -> None:
        """Replace the directory by a newer copy."""
        is_newer = change.version > self._host.directory.version
        self._host.directory.replace(
            change.version,
            {name: Address(*where) for name, where in change.names.items()},
            {
                name: tuple(Address(*where) for where in places)
                for name, places in change.offers.items()
            },
            {address_of(where): size for where, size in change.sizes.items()},
            change.hosts,
            change.routings,
        )
        if is_newer:
            self._host.fences.raise_to(change.fence)
            self._host.membership.update(change.places, change.newest_slot)

    @handler
    async def directory_patched(self, change: DirectoryPatched) -> None:
        """Bring the directory up to date, or ask for the whole when a change is missing."""
        directory = self._host.directory
        if change.version <= directory.version:
            return
        if change.base != directory.version:
            root = Address(CONTROL_SLOT, CONTROL_CELL)
            self._tell(root, WantDirectory(slot=self._host.slot))
            return
        directory.patch(change)
        self._host.fences.raise_to(change.fence)
        self._host.membership.patch(change.places, change.places_gone, change.newest_slot)

    @handler
    async def query(self, request: QueryHost) -> HostView:
        """A view of this host."""
        return await view_host(self._host, request)

    @handler
    async def query_actors(self, request: QueryHostActors) -> ActorsPage:
        """A page of the actors of this host."""
        return await list_actors(self._host, request)

    @handler
    async def query_actor(self, request: QueryHostActor) -> ActorHistories:
        """The histories of the actors that a path may mean."""
        return histories_of(self._host, request)

    @handler
    async def dead_letters(self, request: SubscribeDeadLetters) -> SubscribedDeadLetters:
        """Send dead letters to an actor; an actor without room for them loses them."""
        subscriber = request.subscriber.address

        def forward(letter: DeadLetter) -> None:
            if self._host.membership.has_ended(subscriber.slot):
                unsubscribe()
            # The dead letter of a dead letter would start an endless loop.
            elif letter.contract != DeadLetter.contract_name:
                self._tell(subscriber, letter)

        unsubscribe = self._host.dead_letters.subscribe(forward, subscriber.slot)
        return SubscribedDeadLetters(before=dict(self._host.dead_letters.counts))

    def _tell(self, address: Address, message: Contract) -> None:
        try:
            self._host.tell(address, message)
        except MailboxFull:
            self._host.dead_letters.counts["not_sent"] += 1
