"""Starts and stops top-level actors for a driver: asks the root, and registers the contracts."""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Final, TypeVar

from callboard.actors.kernel.actor import Actor, behaviour_of
from callboard.actors.kernel.host.control_actor import SpawnEntry
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.props import props_of
from callboard.actors.kernel.spawnable import Props, Spawnable
from callboard.messages.control.placement import Placement
from callboard.messages.control.spawning import Offer, Spawn, SpawnPart, StopActor
from callboard.messages.control.spec import Restart, StopTimeout
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import ActorNotFound
from callboard.messages.core.ref import Address, Ref

from ..control_plane.control import Connection
from ..control_plane.spawn_requests import START_BATCH, contracts_of, part_of, raise_first
from .imports import ImportCheck

__all__ = ["DriverSpawner"]

ActorT = TypeVar("ActorT", bound=Actor)
ReplyT = TypeVar("ReplyT")
ROOT_TIMEOUT_S: Final = 150.0
"""How long the root may take: it waits for start hooks, twice when a host dies meanwhile."""


class DriverSpawner:
    """Starts and stops top-level actors for one driver."""

    def __init__(self, connection: Connection, imports: ImportCheck | None = None) -> None:
        self._connection = connection
        self._imports = imports
        """Checks what the hosts can import; None where all run in this process."""

    @property
    def host(self) -> Host:
        """The driver's own host."""
        return self._connection.host

    async def ask_root(self, request: Request[ReplyT]) -> ReplyT:
        """Ask the root, with time for the start hooks of actors."""
        return await self._connection.ask_root(request, ROOT_TIMEOUT_S)

    async def spawn(
        self,
        made: Props[ActorT],
        place: Placement,
        *,
        name: str | None,
        offer: bool,
        restart: Restart,
        stop_timeout: StopTimeout | None,
    ) -> Ref[ActorT]:
        """Start one actor; see `System.spawn`."""
        behaviour = behaviour_of(made.actor)
        self.learn(made.actor)
        entry: SpawnEntry = (made.actor, made.args, made.keywords, name, restart, stop_timeout)
        offers = []
        if offer or name is not None:
            contracts = contracts_of(behaviour) if offer else ()
            offers.append(Offer(part=0, name=name, contracts=contracts, size=behaviour.concurrency))
        part = part_of(self.host.pickler, [entry], place)
        (ref,) = await self.start((part,), offers)
        return ref

    async def spawn_many(
        self, actors: Iterable[Spawnable[ActorT]], host: int | str | None, restart: Restart
    ) -> list[Ref[ActorT]]:
        """Start many; see `System.spawn_many`."""
        all_props = [actor if type(actor) is Props else props_of(actor) for actor in actors]
        entries: list[SpawnEntry] = [
            (made.actor, made.args, made.keywords, None, restart, None) for made in all_props
        ]
        for kind in dict.fromkeys(map(attrgetter("actor"), all_props)):
            self.learn(kind)
        hosts = self.host.directory.hosts if host is None else (host,)
        refs: list[Any] = [None] * len(entries)
        stride = START_BATCH * len(hosts)

        async def start(number: int | str, chunk: slice) -> None:
            wanted, ref = entries[chunk], self.host.ref
            part = part_of(self.host.pickler, wanted, Placement(number))
            await self.check((part,))
            started = await self.ask_root(Spawn(parts=(part,)))
            slot, first = started.parts[0]
            refs[chunk] = [ref(Address(slot, first + i)) for i in range(len(wanted))]
            raise_first(started)

        failures = await asyncio.gather(
            *(
                start(number, slice(begin, begin + stride, len(hosts)))
                for place, number in enumerate(hosts)
                for begin in range(place, len(entries), stride)
            ),
            return_exceptions=True,
        )
        for failure in failures:
            if failure is not None:
                raise failure
        return refs

    async def start(self, parts: Sequence[SpawnPart], offers: Sequence[Offer]) -> list[Ref[Any]]:
        """Start the actors of all parts, or none; returns the first actor of each part."""
        await self.check(parts)
        started = await self.ask_root(
            Spawn(parts=tuple(parts), offers=tuple(offers), all_or_none=len(parts) > 1)
        )
        raise_first(started)
        return [self.host.ref(Address(*first)) for first in started.parts]

    async def check(self, parts: Sequence[SpawnPart]) -> None:
        """Raise `ClusterError` for modules that the hosts of these parts do not have."""
        if self._imports is not None:
            await self._imports.check(self.host, parts)

    async def stop(self, ref: Ref[Any], *, drains: bool = False) -> None:
        """Stop an actor in order. Raises `ActorNotFound`. See `StopActor` for `drains`."""
        await self.ask_root(StopActor(slot=ref.address.slot, cell=ref.address.cell, drains=drains))

    async def stop_all(self, refs: Iterable[Ref[Any]], *, drains: bool = False) -> None:
        """Stop those that still run, all at once."""

        async def stop(ref: Ref[Any]) -> None:
            with contextlib.suppress(ActorNotFound):
                await self.stop(ref, drains=drains)

        for failure in await asyncio.gather(*map(stop, refs), return_exceptions=True):
            if failure is not None:
                raise failure

    def learn(self, actor: type[Actor]) -> None:
        """Register the contracts of an actor, so that the driver can read its replies."""
        for row in behaviour_of(actor).handlers.values():
            self.host.contracts.learn(row.contract)
            if row.reply is not None:
                self.host.contracts.learn(row.reply)
            for kind in row.yields:
                self.host.contracts.learn(kind)
