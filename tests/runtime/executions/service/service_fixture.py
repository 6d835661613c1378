"""An execution service on the inline engine, whose journal and ledger outlive its hosts."""

import asyncio
import contextlib
import dataclasses
import functools
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

import callboard
from callboard import Agent, Contract, Job, Ref, Request, SubTask, System, handler
from callboard.actors.journal.core import JournalLimits
from callboard.actors.journal.journal import Journal
from callboard.actors.kernel.props import props
from callboard.messages.control.spec import Restart
from callboard.messages.core.ref import Address
from callboard.messages.storage.errors import StoreUnavailable
from callboard.messages.storage.events import Append, EventStore
from callboard.runtime.admin.extension import EXECUTION_SERVICE
from callboard.runtime.api.inside import host_of, root_of
from callboard.runtime.executions.journals import OpenJournal
from callboard.runtime.executions.service.client import RemoteExecutions
from callboard.runtime.executions.service.execution_service import ExecutionService
from callboard.runtime.hosting.environment import REAL
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.stores.memory import MemoryEventStore

WITHIN_S: Final = 30.0


class Done(Contract, name="service.done"):
    n: int


class Step(Request[Done], name="service.step"):
    n: int


class Order(Contract, name="service.order"):
    count: int = 1


class Worker(Agent):
    """Notes each run; held steps wait until the test releases them."""

    concurrency: ClassVar[int] = 64
    runs: ClassVar[list[int]] = []
    keys: ClassVar[list[str]] = []
    held: ClassVar[set[int]] = set()
    fails: ClassVar[set[int]] = set()
    gate: ClassVar["asyncio.Event | None"] = None

    @handler
    async def step(self, request: Step, ctx: callboard.Context) -> Done:
        Worker.runs.append(request.n)
        Worker.keys.append(ctx.idempotency_key)
        if request.n in Worker.fails:
            Worker.fails.discard(request.n)
            raise ConnectionError("the line broke")
        if request.n in Worker.held:
            assert Worker.gate is not None
            await Worker.gate.wait()
        return Done(n=request.n)


def plan(order: Order) -> list[SubTask]:
    return [SubTask(f"s{n}", Step(n=n)) for n in range(order.count)]


JOB: Final = Job[Order, list[Done]](name="steps", decompose=plan)


class Away(MemoryEventStore):
    """A store that can be unavailable."""

    def __init__(self, stage: "Stage", **options: Any) -> None:
        super().__init__(**options)
        self._stage = stage

    def open(self) -> None:
        self._check()

    def commit(self, appends: Sequence[Append]) -> Any:
        self._check()
        return super().commit(appends)

    def _check(self) -> None:
        if self._stage.is_away:
            raise StoreUnavailable("the journal is out of reach.")


class Entries:
    """A ledger in memory."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}

    async def write(self, entries: Mapping[str, bytes | None]) -> None:
        for key, value in entries.items():
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value

    async def read(self) -> dict[str, bytes]:
        return dict(self.entries)


STAGES: Final[dict[str, "Stage"]] = {}
"""By name: the pickled arguments of a service name their stage."""


def entries_of(name: str) -> Entries:
    return STAGES[name].ledger


async def journal_of(settings: Settings, *, fence: int = 0) -> OpenJournal:
    stage = STAGES[settings.name]
    limits = JournalLimits(patience_s=0.0)
    owner = f"incarnation-{stage.incarnations}"
    journal = Journal(stage.store(), owner=owner, fence=fence, limits=limits)
    stage.incarnations += 1
    try:
        await journal.open()
    except BaseException:
        await journal.close()
        raise
    return OpenJournal(journal, None)


class Driver(RemoteExecutions):
    """A driver whose execution services are its stage's."""

    def __init__(self, stage: "Stage") -> None:
        super().__init__(
            stage.system._running(), stage.settings, stage.environment,
            functools.partial(entries_of, stage.name), lambda: False,
        )  # fmt: skip
        self._stage = stage

    async def _start_execution_service(self) -> Address | None:
        return await self._stage.start_one()


class Stage:
    """One system, its execution service, and drivers of it."""

    def __init__(self, system: System) -> None:
        self.name = secrets.token_hex(4)
        self.system = system
        self.ledger = Entries()
        self.log = MemoryEventStore()
        self.is_away = False
        self.incarnations = 0
        self.drivers: list[Driver] = []
        self.environment = dataclasses.replace(REAL, is_real=False)
        self.settings = Settings(name=self.name, journal="memory:")
        self.execution_service: Ref[Any]
        self._starting = asyncio.Lock()

    def store(self) -> EventStore:
        return Away(self, log=self.log._log)

    async def start_one(self) -> Address:
        """The execution service on host 2; it is started when there is none."""
        async with self._starting:
            found = host_of(self.system).directory.find(EXECUTION_SERVICE)
            if found is not None:
                return found
            make_ledger = functools.partial(entries_of, self.name)
            execution_service = props(
                ExecutionService, self.settings, make_ledger, self.environment, journal_of
            )
            self.execution_service = await self.system.spawn(
                execution_service, name=EXECUTION_SERVICE, host=2, restart=Restart.TRANSIENT
            )
            return self.execution_service.address

    async def kill(self) -> None:
        """The execution service's host ends, as by kill -9; its successor comes on a standby."""
        slot = root_of(self.system).table.slots[2]
        epoch = slot.epoch
        await slot.process.kill()
        await until(lambda: slot.epoch > epoch)

    def driver(self) -> Driver:
        driver = Driver(self)
        self.drivers.append(driver)
        return driver

    async def ran(self, count: int) -> None:
        """Wait until so many steps have begun."""
        await until(lambda: len(Worker.runs) >= count)

    def events(self, execution_id: str) -> list[Any]:
        return self.log.second_handle().read_stream(f"execution/{execution_id}", limit=10_000)


async def until(is_so: Callable[[], object]) -> None:
    """Wait for a condition without an event."""
    async with asyncio.timeout(WITHIN_S):
        while not is_so():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """A system of two hosts: agents on the first, the execution service on the second."""
    Worker.runs, Worker.keys, Worker.held, Worker.fails = [], [], set(), set()
    Worker.gate = asyncio.Event()
    async with callboard.start(engine="inline", hosts=2) as system:
        stage = Stage(system)
        STAGES[stage.name] = stage
        try:
            await system.spawn(Worker, host=1, offer=True)
            await stage.start_one()
            yield stage
        finally:
            for driver in stage.drivers:
                await driver.leave()
            del STAGES[stage.name]
