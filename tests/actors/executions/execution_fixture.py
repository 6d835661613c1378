"""A driver's host and agent hosts in one process, joined by real links, and some agents."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from callboard.actors.executions.execution import Execution
from callboard.actors.executions.handle import ExecutionHandle
from callboard.actors.kernel.actor import Agent, handler
from callboard.actors.kernel.cell import Recipe
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.host.host import Host
from callboard.actors.pools.cell import PoolRecipe
from callboard.messages.control.spec import SupervisorSpec
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import HostLost
from callboard.messages.core.ref import Address
from callboard.messages.jobs.job import Job
from callboard.messages.jobs.plan import SubTask
from callboard.messages.ports import ChildRunner
from callboard.supervisors.supervisor import Supervisor


class Squared(Contract, name="test.squared"):
    number: int
    square: int


class Square(Request[Squared], name="test.square"):
    number: int


class Summed(Contract, name="test.summed"):
    total: int


class SumUp(Request[Summed], name="test.sum_up"):
    """Adds up squares that are bound to it; one of them may be missing."""

    squares: tuple[Squared | None, ...] = ()


class Gone(Contract, name="test.gone"):
    pass


class Linger(Request[Gone], name="test.linger"):
    """A request whose handler runs until it is released or stopped."""

    label: str = ""


class Stumble(Request[Squared], name="test.stumble"):
    """Fails `times` times, then works."""

    label: str
    times: int = 1
    error: str = "ValueError"


ERRORS: Final[Mapping[str, type[BaseException]]] = {
    each.__name__: each for each in (TypeError, ValueError, asyncio.CancelledError)
}


class Line(Contract, name="test.line"):
    label: str
    number: int
    text: str = ""


class Recited(Contract, name="test.recited"):
    lines: int


class Recite(Request[Recited], name="test.recite"):
    """Streams so many lines; the first `times` attempts stop after half of them."""

    label: str = ""
    lines: int = 3
    times: int = 0
    lingers: bool = False
    """Whether it waits for the release after the lines."""
    size: int = 0


class Nobody(Request[Squared], name="test.nobody"):
    """No agent handles it."""


class Ticks:
    """The calls of one world's agents, shared by reference between the inline hosts."""

    def __init__(self) -> None:
        self.handled: list[Any] = []
        self.begun: dict[str, int] = {}
        self.stopped: list[str] = []
        self.release = asyncio.Event()
        self.lingering = asyncio.Event()


class Calculator(Agent):
    """Does everything the contracts above ask for."""

    def __init__(self, ticks: Ticks) -> None:
        self.ticks = ticks

    @handler
    async def square(self, request: Square) -> Squared:
        self.ticks.handled.append(request.number)
        return Squared(number=request.number, square=request.number**2)

    @handler
    async def sum_up(self, request: SumUp) -> Summed:
        return Summed(total=sum(each.square for each in request.squares if each is not None))

    @handler
    async def linger(self, request: Linger, ctx: Context) -> Gone:
        self.ticks.begun[request.label] = self.ticks.begun.get(request.label, 0) + 1
        self.ticks.lingering.set()
        try:
            await self.ticks.release.wait()
        except asyncio.CancelledError:
            self.ticks.stopped.append(request.label)
            raise
        return Gone()

    @handler
    async def stumble(self, request: Stumble) -> Squared:
        begun = self.ticks.begun.get(request.label, 0) + 1
        self.ticks.begun[request.label] = begun
        if begun <= request.times:
            raise ERRORS[request.error](request.label)
        return Squared(number=begun, square=begun**2)

    @handler
    async def recite(self, request: Recite) -> AsyncIterator[Line | Recited]:
        begun = self.ticks.begun.get(request.label, 0) + 1
        self.ticks.begun[request.label] = begun
        try:
            for number in range(request.lines):
                self.ticks.handled.append(number)
                yield Line(label=request.label, number=number, text="x" * request.size)
                if begun <= request.times and number >= request.lines // 2:
                    raise ValueError(request.label)
            self.ticks.lingering.set()
            if request.lingers:
                await self.ticks.release.wait()
        finally:
            self.ticks.stopped.append(request.label)
        yield Recited(lines=request.lines)


class Now:
    def __init__(self) -> None:
        self.now = asyncio.get_running_loop().time


def supervise(spec: SupervisorSpec, runner: ChildRunner) -> Supervisor:
    return Supervisor(spec, runner, Now(), lambda: 0.5)


class NoPickler:
    """No code travels here."""

    def dumps(self, value: Any) -> bytes:
        raise AssertionError("everything is started in place")

    def loads(self, data: bytes) -> Any:
        raise AssertionError("everything is started in place")


class NoLargeValues:
    """Large values never leave the process here."""

    def put(self, body: bytes, buffers: Sequence[Any]) -> Any:
        return (body, tuple(bytes(buffer) for buffer in buffers))

    async def get(self, reference: Any) -> Any:
        return reference


class Wire:
    """Carries frames to a host in the same process; `cut` it and the host is dead."""

    def __init__(self, to: Host) -> None:
        self.to = to
        self.is_cut = False
        self.is_stream = False

    def write(self, frame: bytes) -> bool:
        return False

    def close(self) -> None:
        pass

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> Any:
        await asyncio.sleep(0)
        answered = None if self.is_cut else await self.to.answer(frame, references)
        if answered is None:
            raise HostLost(f"host {self.to.slot} is dead.")
        return answered


class World:
    """Slot 0 drives, slots from 1 on have agents."""

    def __init__(self) -> None:
        self.ticks = Ticks()
        self.driver = self._host(0)
        self.hosts: dict[int, Host] = {}
        self.offers: dict[str, list[Address]] = {}
        self.sizes: dict[Address, int] = {}
        self._version = itertools.count(1)
        self._wires: dict[int, Wire] = {}
        self._ids = itertools.count(1)

    def _host(self, slot: int, epoch: int = 1) -> Host:
        return Host(
            slot=slot,
            epoch=epoch,
            name=f"host-{slot}",
            make_supervisor=supervise,
            large_values=NoLargeValues(),
            pickler=NoPickler(),
        )

    async def add_pool(
        self, slot: int, size: int, *, name: str | None = None, cell: int = 100
    ) -> Address:
        """A pool's pool cell on a slot; its host is started if it is not there."""
        host = self.driver if slot == 0 else self.hosts.get(slot) or self.add_host(slot)
        recipe = PoolRecipe(Calculator, (self.ticks,), None, "pool", size)
        found = host.spawner.begin(recipe, None, number=cell)
        await host.spawner.outcome(found)
        address = Address(slot, found.id)
        for row in found.behaviour.handlers.values():
            self.driver.contracts.learn(row.contract)
            self.driver.contracts.learn(row.reply)  # type: ignore[arg-type]
            self.offer(row.contract.contract_name, address)
        if name is not None:
            self.offer(name, address)
        self.sizes[address] = size
        self.publish()
        return address

    def offer(self, kind: str, address: Address) -> None:
        rows = self.offers.setdefault(kind, [])
        if address not in rows:
            rows.append(address)

    def publish(self) -> None:
        self.driver.directory.replace(next(self._version), {}, self.offers, self.sizes)

    def add_host(self, slot: int) -> Host:
        epoch = self.driver.link(slot).epoch + 1
        host = self.hosts[slot] = self._host(slot, epoch)
        wire = self._wires[slot] = Wire(host)
        host.link(0).connect(self.driver.epoch, Wire(self.driver))
        self.driver.link(slot).connect(epoch, wire)
        return host

    def kill(self, slot: int) -> None:
        """The host dies, and the driver notices."""
        self._wires[slot].is_cut = True
        link = self.driver.link(slot)
        link.mark_lost(link.epoch, HostLost(f"host {slot} died.", may_have_run=True))

    async def revive(self, slot: int, size: int) -> None:
        """Another process takes over the slot, and its actors come back under their numbers."""
        await self.hosts.pop(slot).close()
        await self.add_pool(slot, size)

    def submit(
        self, job: Job[Any, Any], request: Contract | None = None, **attributes: Any
    ) -> ExecutionHandle[Any]:
        return Execution.start(
            self.driver,
            job,
            request if request is not None else Square(number=0),
            new_id=lambda: f"execution-{next(self._ids)}",
            random=random.Random(1).random,
            wall_time=time.time,
            attributes=attributes,
        )

    async def close(self) -> None:
        self.ticks.release.set()
        for host in (self.driver, *self.hosts.values()):
            await host.close()


def squares(count: int, **fields: Any) -> tuple[SubTask, ...]:
    return tuple(SubTask(f"s{n}", Square(number=n), **fields) for n in range(count))


async def turns(count: int = 20) -> None:
    """Let the event loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


__all__ = [
    "Calculator",
    "Gone",
    "Line",
    "Linger",
    "Nobody",
    "Recipe",
    "Recite",
    "Recited",
    "Square",
    "Squared",
    "Stumble",
    "SumUp",
    "Summed",
    "World",
    "squares",
    "turns",
]
