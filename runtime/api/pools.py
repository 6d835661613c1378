"""Pools for a driver: the spawn request, and the handle on a running pool."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, final

from callboard.actors.kernel.actor import Actor, behaviour_of
from callboard.actors.kernel.directory.routing import Load, Router, router_of
from callboard.actors.kernel.host.extension import RecipeStart
from callboard.actors.kernel.spawnable import Props
from callboard.actors.pools.cell import PoolRecipe
from callboard.messages.control.hosts import HOSTS_MAX
from callboard.messages.control.placement import Placement, Resources
from callboard.messages.control.routing import ROUTING_DEFAULT, Routing
from callboard.messages.control.spawning import Offer, PartSize, ResizePool, SpawnPart
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, NoAgentOffers, SpecError
from callboard.messages.core.ref import Address, Ref
from callboard.messages.ports import Pickler

from ..control_plane.spawn_requests import contracts_of, part_of
from .group import Group
from .spawner import DriverSpawner

__all__ = ["POOL_SIZE_MAX", "Pool", "PoolPlan"]

POOL_SIZE_MAX: Final = 1_000_000
AGENTS_A_HOST: Final = 2
ActorT_co = TypeVar("ActorT_co", bound=Actor, covariant=True)


@final
@dataclass(frozen=True, slots=True)
class PoolPlan:
    """The description of a pool, without its size."""

    agent: Props[Actor]
    name: str | None
    routing: Routing | None
    isolated: Resources | None

    def shares(self, size: int | None, hosts: Sequence[int]) -> list[tuple[Placement, int]]:
        """The places of the agents, and the number at each. Raises `SpecError`."""
        if self.isolated is not None:
            size = _checked(0 if size is None else size, HOSTS_MAX)
            return [(Placement(isolated=self.isolated), 1)] * size
        size = _checked(AGENTS_A_HOST * len(hosts) if size is None else size, POOL_SIZE_MAX)
        if not hosts:
            raise SpecError(
                "there is no host for a pool: all hosts have ended.",
                advice="Start a new system.",
                field="size",
            )
        shares = (size // len(hosts) + (i < size % len(hosts)) for i in range(len(hosts)))
        return [
            (Placement(host), share) for host, share in zip(hosts, shares, strict=True) if share
        ]

    def part(
        self, pickler: Pickler, place: Placement, share: int, generation: int, number: int = 0
    ) -> tuple[SpawnPart, Offer]:
        """One host's part and its offer; `number` is the place of the part in the request.

        Each `generation` has a name of its own: the part before it may still handle messages.
        """
        made, behaviour = self.agent, behaviour_of(self.agent.actor)
        name = self.name or made.actor.__name__
        recipe = PoolRecipe(
            made.actor, made.args, made.keywords, f"{name}-{generation}" if generation else name,
            share,
        )  # fmt: skip
        offer = Offer(
            part=number,
            contracts=(*contracts_of(behaviour), *(() if self.name is None else (self.name,))),
            size=share * behaviour.concurrency,
            routing=None if self.routing is None else self.routing.to_text(),
        )
        return part_of(pickler, [RecipeStart(recipe)], place), offer


def _checked(size: int, limit: int) -> int:
    if not 1 <= size <= limit:
        raise SpecError(
            f"a pool cannot have {size} agents.", advice=f"Give it 1 to {limit}.", field="size"
        )
    return size


@dataclass(frozen=True, slots=True)
class PoolPart:
    """One host's part of a running pool."""

    ref: Ref[Any]
    place: Placement
    share: int
    generation: int


@final
class Pool(Group[ActorT_co]):
    """A running pool, for the driver that started it by `System.pool`.

        async with await system.pool(Reviewer, size=8) as pool:
            print(await pool.ask(ReviewFile(path="a.py")))
            await pool.resize(32)

    A message goes to an idle agent on the host that the pool's routing chooses. Other actors and
    drivers reach the agents by the contracts that they handle. `async with` stops the pool at the
    end.
    """

    def __init__(self, spawner: DriverSpawner, plan: PoolPlan) -> None:
        """Use `System.pool`, which calls this."""
        super().__init__(spawner)
        self._plan = plan
        self._parts: list[PoolPart] = []
        self._generation = 0
        self._loads: dict[Address, Load] = {}
        self._router: Router | None = None
        self._changing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Pool of {self.size} {self._plan.agent.actor.__qualname__}>"

    @property
    def size(self) -> int:
        """The number of agents on all hosts."""
        return sum(part.share for part in self._parts)

    @property
    def refs(self) -> tuple[Ref[ActorT_co], ...]:
        """One reference for each host, to its part of the pool; isolated agents have one each."""
        return tuple(part.ref for part in self._parts)

    def _choose(self, message: Contract) -> Address | Load:
        if self._router is None:
            raise self._stopped()
        return self._router.choose(message)

    def _stopped(self) -> NoAgentOffers:
        return NoAgentOffers(
            f"the pool of {self._plan.agent.actor.__qualname__} has been stopped.",
            advice="Start another pool.",
            may_have_run=False,
        )

    # --- start, resize, stop ------------------------------------------------------------------

    async def start(self, size: int | None) -> None:
        """Start the agents; `System.pool` calls it."""
        async with self._changing:
            await self._change(self._plan.shares(size, self._spawner.host.directory.hosts))

    async def resize(self, size: int) -> None:
        """Change the number of agents to `size`, spread over the present hosts.

        No message is lost when the pool shrinks: a removed agent takes no more messages and ends
        after the present one; the last agent of a host handles the messages that were sent there
        before. `resize` does not wait for that.

        Raises `ActorStartFailed` when an agent does not start (the pool keeps its size then),
        `ClusterError` when the cluster lacks the resources of an isolated agent, `SpecError` for
        a size that is not allowed, and `NoAgentOffers` when the pool has been stopped.
        """
        async with self._changing:
            if self._router is None:
                raise self._stopped()
            await self._change(self._plan.shares(size, self._spawner.host.directory.hosts))

    async def stop(self) -> None:
        """Stop all agents in order, and wait. Pending asks to them fail."""
        async with self._changing:
            refs = self.refs
            self._parts, self._router = [], None
            await self._spawner.stop_all(refs)

    async def _change(self, shares: Sequence[tuple[Placement, int]]) -> None:
        """Make the parts of the pool exactly these shares."""
        before = self._living()
        staying: list[PoolPart] = []
        added: list[tuple[Placement, int]] = []
        for place, share in shares:
            # An isolated part has no host number: any of them matches.
            match = next((part for part in before if part.place == place), None)
            if match is None:
                added.append((place, share))
            else:
                before.remove(match)
                staying.append(match)
        wanted = dict(shares)
        new = await self._start(added)
        resized = [replace(part, share=wanted[part.place]) for part in staying]
        try:
            await self._resize(staying, resized)
        except BaseException:
            await self._spawner.stop_all((part.ref for part in new), drains=True)
            raise
        self._parts = [*resized, *new]
        self._route()
        await self._spawner.stop_all((part.ref for part in before), drains=True)

    def _living(self) -> list[PoolPart]:
        """The parts whose hosts have not ended for good."""
        hosts = self._spawner.host.directory.hosts
        return [part for part in self._parts if part.place.isolated or part.place.host in hosts]

    async def _start(self, shares: Sequence[tuple[Placement, int]]) -> list[PoolPart]:
        if not shares:
            return []
        pickler = self._spawner.host.pickler
        generation = self._generation
        self._generation += 1
        made = [self._plan.part(pickler, *share, generation, i) for i, share in enumerate(shares)]
        refs = await self._spawner.start([part for part, _ in made], [offer for _, offer in made])
        return [PoolPart(ref, *share, generation) for ref, share in zip(refs, shares, strict=True)]

    async def _resize(self, before: Sequence[PoolPart], after: Sequence[PoolPart]) -> None:
        changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
        try:
            await self._ask_for([new for _, new in changed])
        except CallboardError:
            await self._ask_for([old for old, _ in changed])
            raise

    async def _ask_for(self, parts: Sequence[PoolPart]) -> None:
        if not parts:
            return
        sizes = []
        for part in parts:
            shipped, offer = self._plan.part(
                self._spawner.host.pickler, part.place, part.share, part.generation
            )
            slot, cell = part.ref.address
            sizes.append(PartSize(slot=slot, cell=cell, size=part.share, part=shipped, offer=offer))
        await self._spawner.ask_root(ResizePool(parts=tuple(sizes)))

    def _route(self) -> None:
        working = behaviour_of(self._plan.agent.actor).concurrency
        loads, self._loads = self._loads, {}
        for part in self._parts:
            address, size = part.ref.address, part.share * working
            load = loads.get(address) or Load(address, size, self._spawner.host)
            load.resize(size)
            self._loads[address] = load
        routing = ROUTING_DEFAULT if self._plan.routing is None else self._plan.routing
        self._router = router_of(routing, list(self._loads), self._loads)
