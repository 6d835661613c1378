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
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from callboard.actors.actor import Actor, behaviour_of
from callboard.actors.execution.execution import Execution
from callboard.actors.execution.handle import ExecutionHandle
from callboard.actors.host.host import Host
from callboard.actors.host.warden import Birth
from callboard.messages.contract import Contract, Request
from callboard.messages.control import (
    CONTROL_CELL,
    CONTROL_SLOT,
    CallboardView,
    LookAtSystem,
    SubscribeDeadLetters,
)
from callboard.messages.errors import CallboardError, SpecError, UsageError
from callboard.messages.job import Job
from callboard.messages.letters import DeadLetter
from callboard.messages.ref import Address, Ref
from callboard.messages.spec import Restart, StopTimeout

from .announcer import Announcer
from .engines.choose import make_engine
from .letterbox import Letterbox
from .root.desk import open_desk
from .root.root import Root
from .root.slots import Slot
from .settings import Settings, settings_of
from .wiring import make_host

__all__ = ["System", "start"]

LOGGER: Final = logging.getLogger("callboard")
ActorT = TypeVar("ActorT", bound=Actor)
ReplyT = TypeVar("ReplyT")
RequestT = TypeVar("RequestT", bound=Contract)
ResultT = TypeVar("ResultT")
POOL_SIZE_MAX: Final = 1_000_000
INTERRUPTED_STOP_S: Final = 1.5
"""How long actors may take to stop after Ctrl-C: ending Ray takes about as long again, and
everything has to be gone within 5 s."""


class System:
    """A running system, seen from its driver. Made by `start` or `run`."""

    def __init__(self, settings: Settings) -> None:
        self.settings: Final = settings
        self._engine = make_engine(settings)
        self._host: Host | None = None
        self._root: Root | None = None
        self._watchdog: Any = None
        self._announcer: Announcer | None = None
        self._failure: CallboardError | None = None
        self._driver: asyncio.Task[Any] | None = None

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Bring everything up; `start` calls it."""
        await self._engine.start()
        self._driver = asyncio.current_task()
        self._host, self._watchdog = make_host(
            slot=CONTROL_SLOT,
            epoch=os.getpid(),
            name="driver",
            settings=self.settings,
            blobs=self._engine.blobs(),
        )
        self._engine.attach(self._host)
        self._root = Root(self._host, self._engine, self.settings, self._failed)
        open_desk(self._host, self._root, self.settings.name)
        await self._root.start(self.settings.hosts or self._engine.default_hosts())
        self._announcer = Announcer(self)
        self._announcer.start()

    async def close(self, timeout_s: float) -> None:
        """Bring everything down; `start` calls it."""
        if self._announcer is not None:
            await self._announcer.stop()
        if self._root is not None:
            await self._root.stop(timeout_s)
        if self._watchdog is not None:
            self._watchdog.stop()
        if self._host is not None:
            await self._host.close()
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
        if self._host is None:
            raise UsageError("the system is not running.", advice="Use `async with start(...)`.")
        return self._host

    @property
    def root(self) -> Root:
        """The root supervisor."""
        if self._root is None:
            raise UsageError("the system is not running.", advice="Use `async with start(...)`.")
        return self._root

    # --- actors ---------------------------------------------------------------------------------

    async def spawn(
        self,
        actor: type[ActorT],
        *args: Any,
        name: str | None = None,
        host: int | None = None,
        offer: bool = False,
        restart: Restart = Restart.TRANSIENT,
        stop_timeout: StopTimeout | None = None,
        **keywords: Any,
    ) -> Ref[ActorT]:
        """Start an actor on the least loaded host (or on host number `host`, from 1).

        With `offer`, it is found by the contracts it handles, as a pool is. Raises
        `ActorStartFailed`, `NameTaken`, `SpecError`.
        """
        slot = self._slot(host)
        number = self.root.table.next_cell()
        address = Address(slot.number, number)
        behaviour = behaviour_of(actor)
        self._learn(actor)
        if name is not None:
            self.root.table.take_name(name, address)
        birth: Birth = (number, actor, args, keywords or None, name, restart, stop_timeout, 0)
        failures = await self.root.spawn(slot, [birth])
        for failure in failures.values():
            raise failure
        if offer:
            names = [row.contract.contract_name for row in behaviour.handlers.values()]
            self.root.table.offer(names, address, behaviour.concurrency)
        if offer or name is not None:
            self.root.directory_changed()
            await self.root.published()
        return self.host.ref(address)

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
        slots = [self._slot(host)] if host is not None else list(self.root.table.slots.values())
        births: dict[int, list[Birth]] = {slot.number: [] for slot in slots}
        addresses = []
        for turn, args in enumerate(arguments):
            number = self.root.table.next_cell()
            slot = slots[turn % len(slots)]
            births[slot.number].append((number, actor, args, None, None, restart, None, 0))
            addresses.append(Address(slot.number, number))
        outcomes = await asyncio.gather(
            *(self.root.spawn(slot, births[slot.number]) for slot in slots)
        )
        for failures in outcomes:
            for failure in failures.values():
                raise failure
        return [self.host.ref(address) for address in addresses]

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
        to that host's part of the pool. Raises `ActorStartFailed`, `SpecError`.
        """
        slots = list(self.root.table.slots.values())
        total = 2 * len(slots) if size is None else size
        if not 1 <= total <= POOL_SIZE_MAX:
            raise SpecError(
                f"a pool of {total} agents.", advice=f"Give it 1 to {POOL_SIZE_MAX}.", field="size"
            )
        behaviour = behaviour_of(agent)
        self._learn(agent)
        shares = [total // len(slots) + (i < total % len(slots)) for i in range(len(slots))]
        addresses = []
        starts = []
        for slot, share in zip(slots, shares, strict=True):
            if share:
                number = self.root.table.next_cell()
                part = f"{name or agent.__name__}"
                birth: Birth = (
                    number, agent, args, keywords or None, part, Restart.PERMANENT, None, share,
                )  # fmt: skip
                addresses.append((Address(slot.number, number), share))
                starts.append(self.root.spawn(slot, [birth]))
        for failures in await asyncio.gather(*starts):
            for failure in failures.values():
                raise failure
        names = [row.contract.contract_name for row in behaviour.handlers.values()]
        if name is not None:
            names.append(name)
        for address, share in addresses:
            self.root.table.offer(names, address, share * behaviour.concurrency)
        self.root.directory_changed()
        await self.root.published()
        return [self.host.ref(address) for address, _ in addresses]

    async def stop(self, actor: Ref[Any]) -> None:
        """Stop a top-level actor in order, and wait. Raises `ActorNotFound`."""
        await self.root.stop_actor(actor.address)

    def _slot(self, number: int | None) -> Slot:
        if number is None:
            return self.root.table.least_loaded()
        slot = self.root.table.slots.get(number)
        if slot is None:
            raise UsageError(
                f"there is no host {number}.",
                advice=f"Hosts are numbered from 1 to {len(self.root.table.slots)}.",
            )
        return slot

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
            new_id=lambda: uuid.uuid4().hex,
            random=random.random,
            wall_time=time.time,
            attributes=attributes,
        )

    # --- looking ----------------------------------------------------------------------

    async def view(self, actors_max: int = 50) -> CallboardView:
        """All hosts and their actors, as `callboard tree` shows them."""
        return await self.host.ask(
            Address(CONTROL_SLOT, CONTROL_CELL), LookAtSystem(actors_max=actors_max)
        )

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
        ref = self.host.ref(Address(CONTROL_SLOT, box.id))
        self.root.letter_subscribers.append(ref)
        slots = [CONTROL_SLOT, *(slot.number for slot in self.root.table.living())]
        await asyncio.gather(
            *(
                self.host.ask(Address(slot, CONTROL_CELL), SubscribeDeadLetters(subscriber=ref))
                for slot in slots
            )
        )

    def host_processes(self) -> Sequence[Any]:
        """The processes of the living hosts, in the order of their slots."""
        return [slot.process for slot in self.root.table.living()]


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
