"""The warden: cell 0 of every host, where the root's commands are carried out."""

import itertools
import os
import pathlib
import resource
import socket
from typing import TYPE_CHECKING, Any, ClassVar, Final

from callboard.messages.contract import Contract
from callboard.messages.control import (
    CONTROL_CELL,
    CONTROL_SLOT,
    ActorEnded,
    ActorsStarted,
    ActorsStopped,
    DirectoryChanged,
    HostStopped,
    StartActors,
    StopActors,
    StopHost,
    SubscribedDeadLetters,
    SubscribeDeadLetters,
)
from callboard.messages.errors import (
    ActorNotFound,
    ActorStartFailed,
    CallboardError,
    MailboxFull,
)
from callboard.messages.letters import DeadLetter
from callboard.messages.lifecycle import Exit
from callboard.messages.ref import Address
from callboard.messages.spec import Restart, StopTimeout
from callboard.messages.views import ActorView, HostView, LookAtHost

from ..actor import Actor, OnError, handler
from ..cell import Cell, Life, Recipe
from ..family import Family
from ..shard import PoolRecipe

if TYPE_CHECKING:
    from .host import Host

__all__ = ["Birth", "Warden", "WardenRecipe"]

PAGE_BYTES: Final = resource.getpagesize()
FAILURE_CHARS_MAX: Final = 200
"""A longer reason is cut in views: a line of `callboard tree` is for looking."""

Birth = tuple[
    type[Actor],
    tuple[Any, ...],
    dict[str, Any] | None,
    str | None,
    Restart,
    StopTimeout | None,
    int,
]
"""Actor, arguments, keywords, name, restart, stop timeout, pool size (0: no pool)."""


class WardenRecipe(Recipe):
    """Makes the warden of a host; never leaves its process."""

    def __init__(self, host: "Host") -> None:
        super().__init__(Warden, (host,), None, "warden")


class Warden(Actor):
    """Carries out what the root wants done on this host."""

    on_error: ClassVar[OnError] = OnError.RESUME
    concurrency: ClassVar[int] = 64
    """Starts and stops wait for user code; a look at the host must not wait for them."""

    def __init__(self, host: "Host") -> None:
        self._host = host
        host.endings.watch(self._ended)

    @handler
    async def start(self, command: StartActors) -> ActorsStarted:
        """Start actors, all at once; tell which failed."""
        births: list[Birth] = self._host.pickler.loads(command.births)
        failures: dict[int, dict[str, Any]] = {}
        begun: list[Cell] = []
        for number, birth in zip(command.cells, births, strict=True):
            if not number or number in self._host.cells:
                continue  # It has ended for good, or the command is repeated.
            actor, args, keywords, name, restart, stop_timeout, size = birth
            recipe = (
                PoolRecipe(actor, args, keywords, name, size)
                if size
                else Recipe(actor, args, keywords, name)
            )
            try:
                cell = self._host.births.begin(recipe, None, restart, stop_timeout, number)
            except CallboardError as error:
                failures[number] = error.to_data()
            else:
                begun.append(cell)
        for cell in begun:
            if cell.life == Life.RUNNING and type(cell) is Cell:
                # Nearly all: only a start hook takes longer than its `begin`, and a pool's
                # part runs before its agents do.
                continue
            try:
                await self._host.births.outcome(cell)
            except ActorStartFailed as error:
                failures[cell.id] = error.to_data()
        return ActorsStarted(failures=failures)

    @handler
    async def stop(self, command: StopActors) -> ActorsStopped:
        """Stop actors in order."""
        for number in command.cells:
            if number in self._host.births.guardian.cells:
                await self._host.stop_child(None, number)
        return ActorsStopped()

    @handler
    async def stop_host(self, command: StopHost) -> HostStopped:
        """Stop every actor, in reverse order of their starts."""
        await self._host.births.stop_all()
        return HostStopped()

    @handler
    async def directory(self, change: DirectoryChanged) -> None:
        """Take over a newer directory."""
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
        )

    @handler
    async def look(self, request: LookAtHost) -> HostView:
        """What is on this host."""
        host = self._host
        family = host.births.guardian
        return HostView(
            slot=host.slot,
            epoch=host.epoch,
            name=host.name,
            pid=os.getpid(),
            node=socket.gethostname(),
            actors=len(host.cells) - 1,
            handled=host.dispatcher.handled,
            pending_asks=len(host.pending),
            dead_letters=dict(host.letters.counts),
            memory_bytes=_memory_bytes(),
            members=_views(family, request.actors_max),
        )

    @handler
    async def letters(self, request: SubscribeDeadLetters) -> SubscribedDeadLetters:
        """Send dead letters to an actor; one that cannot take them loses them."""

        def pass_on(letter: DeadLetter) -> None:
            # A dead letter of a dead letter would go round for ever.
            if letter.contract != DeadLetter.contract_name:
                self._tell(request.subscriber.address, letter)

        self._host.letters.subscribe(pass_on)
        return SubscribedDeadLetters(before=dict(self._host.letters.counts))

    def _ended(self, cell: Cell, reason: Exit) -> None:
        if self._host.slot != CONTROL_SLOT and not self._host.births.is_stopping:
            ended = ActorEnded(slot=self._host.slot, cell=cell.id, reason=reason.to_data())
            self._tell(Address(CONTROL_SLOT, CONTROL_CELL), ended)

    def _tell(self, address: Address, message: Contract) -> None:
        try:
            self._host.tell(address, message)
        except MailboxFull as error:
            self._host.letters.counts["not_sent"] += 1
            del error


def _views(family: Family | None, actors_max: int) -> tuple[ActorView, ...]:
    if family is None:
        return ()
    views = []
    for cell in itertools.islice(family.cells.values(), actors_max):
        restarts, last_failure = _trouble(family, cell)
        views.append(
            ActorView(
                cell=cell.id,
                name=cell.name,
                kind=cell.behaviour.actor.__qualname__,
                life=cell.life.name.lower(),
                mailbox=len(cell.box or ()),
                incarnation=cell.incarnation,
                children=0 if cell.children is None else len(cell.children.cells),
                restarts=restarts,
                last_failure=last_failure,
                members=_views(cell.children, actors_max // 4),
            )
        )
    return tuple(views)


def _trouble(family: Family, cell: Cell) -> tuple[int, str]:
    """How often it was restarted, and why last."""
    try:
        child = family.supervisor.child(cell.id)
    except ActorNotFound:
        return 0, ""  # Gone for its supervisor, and about to go for its family.
    if child.last_exit is None or not child.last_exit.is_abnormal:
        return child.restarts, ""
    reason = str(child.last_exit.detail.get("message", "")) or child.last_exit.kind.value
    return child.restarts, reason[:FAILURE_CHARS_MAX]


def _memory_bytes() -> int:
    """Resident memory of this process; its peak where the system does not tell more."""
    statm = pathlib.Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text(encoding="ascii").split()[1]) * PAGE_BYTES
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
