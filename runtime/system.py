"""The driver's API: a running system of hosts, and what one can do with it.

    async def main(system: System) -> None:
        await system.pool(Reviewer, size=8)
        print(await system.ask(ReviewFile(path="a.py")))

    callboard.run(main, hosts=2)

A system lives on the event loop it was started on. When its driver ends, everything it
started ends too.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from callboard.actors.actor import Actor, Behaviour, behaviour_of
from callboard.actors.execution.execution import Execution
from callboard.actors.execution.handle import ExecutionHandle
from callboard.actors.host.host import Host
from callboard.actors.host.warden import Birth
from callboard.messages.contract import Contract, Request
from callboard.messages.control import CONTROL_CELL, CONTROL_SLOT
from callboard.messages.errors import CallboardError, SpecError, UsageError, error_from_data
from callboard.messages.job import Job
from callboard.messages.letters import DeadLetter
from callboard.messages.placement import Placement
from callboard.messages.ports import Engine
from callboard.messages.ref import Address, Ref
from callboard.messages.spawning import (
    Offer,
    Spawn,
    Spawned,
    SpawnPart,
    StopActor,
    SubscribeAllLetters,
)
from callboard.messages.spec import Restart, StopTimeout
from callboard.messages.views import CallboardView, LookAtSystem

from .announcer import Announcer
from .births import START_BATCH, part_of
from .control import Control
from .engines.choose import make_engine
from .environment import REAL, Environment
from .letterbox import Letterbox
from .root.root import Root
from .settings import Settings, settings_of

__all__ = ["System", "start"]

LOGGER: Final = logging.getLogger("callboard")
ActorT = TypeVar("ActorT", bound=Actor)
ReplyT = TypeVar("ReplyT")
RequestT = TypeVar("RequestT", bound=Contract)
ResultT = TypeVar("ResultT")
POOL_SIZE_MAX: Final = 1_000_000
ROOT_TIMEOUT_S: Final = 150.0
"""How long the root may take: it waits for the start hooks of actors, twice if a host dies."""
DESK: Final = Address(CONTROL_SLOT, CONTROL_CELL)
INTERRUPTED_STOP_S: Final = 1.5
"""How long actors may take to stop after Ctrl-C: ending Ray takes about as long again, and
everything has to be gone within 5 s."""


class System:
    """A running system, seen from its driver. Made by `start` or `run`."""

    def __init__(
        self, settings: Settings, engine: Engine | None = None, environment: Environment = REAL
    ) -> None:
        self.settings: Final = settings
        self._engine = make_engine(settings) if engine is None else engine
        self._environment = environment
        self._control: Control | None = None
        self._announcer: Announcer | None = None
        self._failure: CallboardError | None = None
        self._driver: asyncio.Task[Any] | None = None

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Bring everything up; `start` calls it."""
        await self._engine.start()
        self._driver = asyncio.current_task()
        self._control = Control(self.settings, self._engine, self._environment, self._failed)
        await self._control.start()
        if self._environment.is_real:
            self._announcer = Announcer(self)
            self._announcer.start()

    async def close(self, timeout_s: float) -> None:
        """Bring everything down; `start` calls it."""
        if self._announcer is not None:
            await self._announcer.stop()
        if self._control is not None:
            await self._control.stop(timeout_s)
        await self._engine.stop()

    def _failed(self, error: CallboardError) -> None:
        """The root gave up: the driver's waits end with the reason."""
        self._failure = error
        if self._driver is not None and not self._driver.done():
            self._driver.cancel(str(error))

    @property
    def failure(self) -> CallboardError | None:
        """Why the system gave up; None while it has not."""
        return self._failure

    @property
    def host(self) -> Host:
        """The driver's own host (slot 0): the kernel under this API."""
        return self._running().host

    @property
    def root(self) -> Root:
        """The root supervisor."""
        return self._running().root

    def _running(self) -> Control:
        if self._control is None:
            raise UsageError("the system is not running.", advice="Use `async with start(...)`.")
        return self._control

    # --- actors ---------------------------------------------------------------------------------

    async def spawn(
        self,
        actor: type[ActorT],
        *args: Any,
        name: str | None = None,
        host: int | None = None,
        offer: bool = False,
        placement: Placement | None = None,
        restart: Restart = Restart.TRANSIENT,
        stop_timeout: StopTimeout | None = None,
        **keywords: Any,
    ) -> Ref[ActorT]:
        """Start an actor on the least loaded host (or on host number `host`, from 1).

        `placement` says more: an isolated actor gets a host of its own. With `offer`, the
        actor is found by the contracts it handles, as a pool is. Raises `ActorStartFailed`,
        `NameTaken`, `SpecError`, `UsageError`.
        """
        behaviour = behaviour_of(actor)
        self._learn(actor)
        birth: Birth = (actor, args, keywords or None, name, restart, stop_timeout, 0)
        place = Placement(host) if placement is None else placement
        offers = []
        if offer or name is not None:
            contracts = _contracts(behaviour) if offer else ()
            offers.append(Offer(part=0, name=name, contracts=contracts, size=behaviour.concurrency))
        part = part_of(self.host.pickler, [birth], place)
        (ref,) = await self._spawn((part,), offers)
        return ref

    async def spawn_many(
        self,
        actor: type[ActorT],
        arguments: Iterable[tuple[Any, ...]],
        *,
        host: int | None = None,
        restart: Restart = Restart.TRANSIENT,
    ) -> list[Ref[ActorT]]:
        """Start one actor for each tuple of constructor arguments, spread over the hosts.

        Raises `ActorStartFailed` of the first that failed, after all have been tried; those
        that started go on running.
        """
        behaviour_of(actor)
        self._learn(actor)
        hosts = self.host.directory.hosts if host is None else (host,)
        births: list[Birth] = [(actor, args, None, None, restart, None, 0) for args in arguments]
        refs: list[Any] = [None] * len(births)
        rows = [range(i, len(births), len(hosts)) for i in range(len(hosts))]
        chunks = [
            (number, row[i : i + START_BATCH])
            for number, row in zip(hosts, rows, strict=True)
            for i in range(0, len(row), START_BATCH)
        ]

        async def start(number: int, chunk: Sequence[int]) -> None:
            wanted = [births[place] for place in chunk]
            part = part_of(self.host.pickler, wanted, Placement(number))
            started = await self._ask_root(Spawn(parts=(part,)))
            slot, first = started.parts[0]
            for offset, place in enumerate(chunk):
                refs[place] = self.host.ref(Address(slot, first + offset))
            _raise_first(started)

        failures = await asyncio.gather(
            *(start(*chunk) for chunk in chunks), return_exceptions=True
        )
        for failure in failures:
            if failure is not None:
                raise failure
        return refs

    async def pool(
        self,
        agent: type[ActorT],
        *args: Any,
        size: int | None = None,
        name: str | None = None,
        **keywords: Any,
    ) -> list[Ref[ActorT]]:
        """Start a pool: `size` agents over all hosts (default: 2 a host), found by contract.

        `ask` without a target reaches whichever agent is idle. Gives one reference a host,
        to that host's part of the pool. Raises `ActorStartFailed` (no agent is left running
        then), `SpecError`.
        """
        hosts = self.host.directory.hosts
        total = 2 * len(hosts) if size is None else size
        if not 1 <= total <= POOL_SIZE_MAX:
            raise SpecError(
                f"a pool of {total} agents.", advice=f"Give it 1 to {POOL_SIZE_MAX}.", field="size"
            )
        behaviour = behaviour_of(agent)
        self._learn(agent)
        shares = [total // len(hosts) + (i < total % len(hosts)) for i in range(len(hosts))]
        contracts = (*_contracts(behaviour), *(() if name is None else (name,)))
        parts: list[SpawnPart] = []
        offers: list[Offer] = []
        for host, share in zip(hosts, shares, strict=True):
            if share:
                birth: Birth = (
                    agent, args, keywords or None, name or agent.__name__,
                    Restart.PERMANENT, None, share,
                )  # fmt: skip
                working = share * behaviour.concurrency
                offers.append(Offer(part=len(parts), contracts=contracts, size=working))
                parts.append(part_of(self.host.pickler, [birth], Placement(host)))
        return await self._spawn(tuple(parts), offers)

    async def stop(self, actor: Ref[Any]) -> None:
        """Stop a top-level actor in order, and wait. Raises `ActorNotFound`."""
        await self._ask_root(StopActor(slot=actor.address.slot, cell=actor.address.cell))

    async def _spawn(self, parts: tuple[SpawnPart, ...], offers: Sequence[Offer]) -> list[Ref[Any]]:
        started = await self._ask_root(
            Spawn(parts=parts, offers=tuple(offers), all_or_none=len(parts) > 1)
        )
        _raise_first(started)
        return [self.host.ref(Address(*first)) for first in started.parts]

    async def _ask_root(self, request: Request[ReplyT]) -> ReplyT:
        return await self.host.ask(DESK, request, ROOT_TIMEOUT_S)

    def _learn(self, actor: type[Actor]) -> None:
        # A driver that asks must be able to read the replies.
        for row in behaviour_of(actor).handlers.values():
            self.host.contracts.learn(row.contract)
            if row.reply is not None:
                self.host.contracts.learn(row.reply)

    # --- messages ---------------------------------------------------------------------------------

    def ask(
        self,
        request: Request[ReplyT],
        to: Ref[Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Awaitable[ReplyT]:
        """The reply to `request`, from `to` or else from whoever offers its contract.

        Raises, when awaited, an `AskError` or a `ContractError`.
        """
        return self.host.ask(None if to is None else to.address, request, timeout_s)

    async def lookup(self, name: str) -> Ref[Any]:
        """The actor of that name; raises `ActorNotFound`."""
        return await self.host.lookup(name)

    # --- executions -----------------------------------------------------------------------------

    def submit(
        self,
        job: Job[RequestT, ResultT],
        request: RequestT,
        *,
        attributes: Mapping[str, Any] | None = None,
    ) -> ExecutionHandle[ResultT]:
        """Take `request` the whole way of `job`; it is on its way when this returns.

        `attributes` reach the job's `enrich`. Nothing is raised here: what fails, the
        handle's `result` raises.
        """
        return Execution.start(
            self.host,
            job,
            request,
            new_id=self._environment.new_id,
            random=self._environment.random,
            wall_time=self._environment.wall_time,
            attributes=attributes,
        )

    # --- looking ----------------------------------------------------------------------

    async def view(self, actors_max: int = 50) -> CallboardView:
        """All hosts and their actors, as `callboard tree` shows them."""
        return await self.host.ask(DESK, LookAtSystem(actors_max=actors_max))

    async def dead_letters(self) -> dict[str, int]:
        """How many dead letters there have been on all living hosts, by reason."""
        counts: dict[str, int] = {}
        for host in (await self.view(actors_max=0)).hosts:
            for reason, count in host.dead_letters.items():
                counts[reason] = counts.get(reason, 0) + count
        return counts

    async def on_dead_letter(self, subscriber: Callable[[DeadLetter], None]) -> None:
        """Call `subscriber` with each dead letter of the driver and all hosts from now on."""
        box = await self.host.spawn(Letterbox.recipe(subscriber), None)
        ref = self.host.ref(Address(self.host.slot, box.id))
        await self._ask_root(SubscribeAllLetters(subscriber=ref))

    def host_processes(self) -> Sequence[Any]:
        """The processes of the living hosts, in the order of their slots."""
        return [slot.process for slot in self.root.table.living()]


def _contracts(behaviour: Behaviour) -> tuple[str, ...]:
    return tuple(row.contract.contract_name for row in behaviour.handlers.values())


def _raise_first(started: Spawned) -> None:
    for data in started.failures.values():
        raise error_from_data(data)


@contextlib.asynccontextmanager
async def start(settings: Settings | None = None, /, **options: Any) -> AsyncIterator[System]:
    """Start a system on the running event loop and stop it at the end.

    `options` are the fields of `Settings`; what they leave out or None, the environment may
    say (`CALLBOARD_HOSTS` and so on). Raises `SpecError` for a wrong one, and
    `ClusterUnreachable` or another `ClusterError` when the hosts cannot be had.
    """
    system = System(settings if settings is not None else settings_of(options, os.environ))
    interrupted = False
    try:
        await system.open()
        yield system
    except (asyncio.CancelledError, KeyboardInterrupt):
        interrupted = True
        if system.failure is not None:
            raise system.failure from None
        raise
    finally:
        timeout_s = INTERRUPTED_STOP_S if interrupted else system.settings.stop_timeout_s
        await asyncio.shield(asyncio.ensure_future(system.close(timeout_s)))
