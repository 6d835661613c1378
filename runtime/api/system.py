"""The driver's API: a running system of hosts, and what one can do with it.

    async def main(system: System) -> None:
        await system.pool(Reviewer, size=8)
        print(await system.ask(ReviewFile(path="a.py")))

    callboard.run(main, hosts=2)

A system lives on the event loop it was started on. When its driver ends, everything it
started ends too; unless it is detached: then it goes on, and drivers come and go.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from callboard.actors.executions.handle import ExecutionHandle
from callboard.actors.kernel.actor import Actor
from callboard.actors.kernel.directory.subscriptions import contract_name_of
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.monitors.monitors import Watch
from callboard.actors.kernel.props import props_of
from callboard.actors.kernel.spawnable import Spawnable
from callboard.actors.keyed.activation import KeyedPlan
from callboard.actors.trees.ref import TreeRef
from callboard.actors.trees.spec import ActorSpec, TreeSpec, walk
from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.control.notices import Offers
from callboard.messages.control.placement import Placement, Resources
from callboard.messages.control.routing import Routing
from callboard.messages.control.spawning import SubscribeAllDeadLetters
from callboard.messages.control.spec import Restart, StopTimeout
from callboard.messages.control.views import CallboardView, QuerySystem
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.core.ref import Address, Ref, message_comes_first
from callboard.messages.jobs.job import Job
from callboard.messages.ports import Engine
from callboard.messages.storage.keyed_stores import KeyedStore

from ..admin.commands import ExecutionCommands
from ..admin.service import AdminService
from ..admin.unix_socket import AdminSocket
from ..control_plane.control import Connection, Control
from ..control_plane.spawn_requests import raise_first
from ..control_plane.tree_requests import places_in, spawn_of
from ..detached.ports import Enter
from ..executions.executions import Executions, Submits
from ..executions.journals import JournalOpener, OpenJournal, open_journal
from ..executions.service.client import RemoteExecutions
from ..executions.states import SystemStates
from ..hosting.environment import Environment
from ..hosting.settings import Settings
from . import notices
from .composition import enter, environment_of, make_engine
from .keyed import KeyedActors, parts_for, store_of
from .pools import Pool, PoolPlan
from .spawner import DriverSpawner

__all__ = ["System"]

LOGGER: Final = logging.getLogger("callboard")
ActorT = TypeVar("ActorT", bound=Actor)
ReplyT = TypeVar("ReplyT")
RequestT = TypeVar("RequestT", bound=Contract)
ResultT = TypeVar("ResultT")


class System:
    """A running system, seen from its driver. Made by `start` or `run`."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine | None = None,
        environment: Environment | None = None,
        *,
        joins: bool = False,
        open_journal: JournalOpener = open_journal,
        enter: Enter = enter,
    ) -> None:
        self.settings: Final = settings
        self._engine = engine
        self._environment = environment_of(settings) if environment is None else environment
        self._open_journal = open_journal
        self._enter = enter
        self._joins = joins
        """Whether a detached system is attached to, not started."""
        self._connection: Connection | None = None
        self._admin: AdminSocket | None = None
        self._failure: CallboardError | None = None
        self._driver: asyncio.Task[Any] | None = None
        self._journal: OpenJournal | None = None
        self._executions: Submits | None = None

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Bring everything up, or attach to what is up; `start` and `attach` call it."""
        self._driver = asyncio.current_task()
        self._executions = await (self._attach() if self.settings.detached else self._bring_up())
        await self._executions.prepare()

    async def _attach(self) -> Submits:
        environment = self._environment
        driver = self._connection = await self._enter(
            self.settings, environment, self._failed, starts=not self._joins
        )
        if driver.make_ledger is not None:
            return RemoteExecutions(
                driver, driver.settings, environment, driver.make_ledger, lambda: driver.is_over
            )
        self._journal = journal = await self._open_journal(driver.settings)
        return Executions(driver.host, environment, journal)

    async def _bring_up(self) -> Submits:
        self._journal = journal = await self._open_journal(self.settings)
        engine = self._engine = self._engine or make_engine(self.settings)
        await engine.start()
        self._connection = control = Control(self.settings, engine, self._environment, self._failed)
        await control.start()
        executions = Executions(control.host, self._environment, journal)
        if self._environment.is_real:
            commands = ExecutionCommands(executions, executions.resume)
            service = AdminService(
                queries=DriverSpawner(control).ask_root, commands=commands.answer
            )
            self._admin = AdminSocket(service)
            await self._admin.start()
        return executions

    async def close(self, timeout_s: float) -> None:
        """Bring everything down that lives as long as this driver; `start` calls it."""
        if self._executions is not None:
            await self._executions.leave()
        if self._connection is not None:
            await self._connection.stop(timeout_s)
        if self._admin is not None:  # Not before: one may look at what stops slowly.
            await self._admin.stop()
        if self._journal is not None:
            await self._journal.close()
        if self._engine is not None:
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
    def _host(self) -> Host:
        return self._running().host

    def _running(self) -> Connection:
        if self._connection is None:
            raise UsageError("the system is not running.", advice="Use `async with start(...)`.")
        return self._connection

    # --- actors ---------------------------------------------------------------------------------

    async def spawn(
        self,
        actor: Spawnable[ActorT],
        *,
        name: str | None = None,
        host: int | str | None = None,
        offer: bool = False,
        placement: Placement | None = None,
        restart: Restart = Restart.TRANSIENT,
        stop_timeout: StopTimeout | None = None,
    ) -> Ref[ActorT]:
        """Start an actor on the least loaded host (or on `host`: a number from 1, or a name).

        `actor` is a class, or `props(Class, ...)` with its constructor's arguments.
        `placement` says more than `host`: an isolated actor gets a host of its own. With
        `offer`, the actor is found by the contracts it handles, as a pool is. Raises
        `ActorStartFailed`, `NameTaken`, `SpecError`, `UsageError`.
        """
        return await self._spawner().spawn(
            props_of(actor),
            Placement(host) if placement is None else placement,
            name=name,
            offer=offer,
            restart=restart,
            stop_timeout=stop_timeout,
        )

    async def spawn_many(
        self,
        actors: Iterable[Spawnable[ActorT]],
        *,
        host: int | str | None = None,
        restart: Restart = Restart.TRANSIENT,
    ) -> list[Ref[ActorT]]:
        """Start many actors, spread over the hosts: `props(Counter, n) for n in range(1_000)`.

        Raises `ActorStartFailed` of the first that failed, after all have been tried; those
        that started go on running.
        """
        return await self._spawner().spawn_many(actors, host, restart)

    async def pool(
        self,
        agent: Spawnable[ActorT],
        *,
        size: int | None = None,
        name: str | None = None,
        routing: Routing | None = None,
        isolated: Resources | None = None,
    ) -> Pool[ActorT]:
        """Start a pool: `size` agents over all hosts (default: 2 a host), found by contract.

        An `ask` that names no receiver reaches whichever agent is idle; `routing` says how a
        host is chosen. With `isolated` each agent gets a host of its own with these resources.
        Raises `ActorStartFailed` (no agent is left running then), `ClusterError` for resources
        that cannot be had, `SpecError`.
        """
        spawner, made = self._spawner(), props_of(agent)
        spawner.learn(made.actor)
        pool: Pool[ActorT] = Pool(spawner, PoolPlan(made, name, routing, isolated))
        await pool.start(size)
        return pool

    async def keyed(
        self,
        actor: Spawnable[ActorT],
        *,
        store: KeyedStore | Ref[Any] | None = None,
        idle_s: float = 60.0,
        active_max: int = 100_000,
        memory_bytes_max: int | None = None,
        save_every: int | None = None,
        save_after_s: float | None = None,
        name: str | None = None,
    ) -> KeyedActors[ActorT]:
        """Let messages for a key activate the actor of that key, one in the whole system.

        `store` keeps the states: a `KeyedStore`, of which each host gets a copy, or a
        reference to a `StoreActor`; without one, each host's memory. An actor is put away when
        it has been idle for `idle_s`, when a host has more than `active_max`, or when its
        process is over `memory_bytes_max`. Its state is saved then, and when the system stops
        in order; `save_every` messages and `save_after_s` bound what a kill loses.
        """
        spawner, made = self._spawner(), props_of(actor)
        plan = KeyedPlan(
            made.actor, made.args, made.keywords, name or made.actor.__name__, store_of(store),
            idle_s, active_max, memory_bytes_max, save_every, save_after_s,
        )  # fmt: skip
        parts, offers = parts_for(self._host.pickler, self._host.directory.hosts, plan)
        spawner.learn(made.actor)
        return KeyedActors(spawner, made.actor, await spawner.start(parts, offers))

    async def start_tree(self, tree: TreeSpec) -> TreeRef:
        """Start a supervision tree, each child once the one before it runs.

        When one does not start, those before it are stopped in reverse and nothing is left.
        Raises `ActorStartFailed`, whose `details["path"]` names the child, `NameTaken`, and
        `SpecError` for what cannot be sent to a host.
        """
        spawner, spawn = self._spawner(), spawn_of(self._host.pickler, tree)
        for _, node in walk(tree):
            if isinstance(node, ActorSpec):
                spawner.learn(node.props.actor)
        started = await spawner.ask_root(spawn)
        raise_first(started)
        return TreeRef(self._host, tree, places_in(tree, started))

    async def stop(self, actor: Ref[Any] | TreeRef) -> None:
        """Stop a top-level actor or a tree in order, and wait. Raises `ActorNotFound`.

        A `subtree` is stopped as `TreeRef.terminate_child` does it.
        """
        if isinstance(actor, TreeRef):
            if await actor.stop_as_child():
                return
            actor = actor.ref
        await self._spawner().stop(actor)

    def _spawner(self) -> DriverSpawner:
        return DriverSpawner(self._running())

    # --- messages ---------------------------------------------------------------------------------

    def ask(
        self,
        request: Request[ReplyT],
        to: Ref[Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Awaitable[ReplyT]:
        """The reply to `request`, from `to` or else from an actor that offers its contract.

        Raises, when awaited, an `AskError` or a `ContractError`.
        """
        if isinstance(request, Ref):
            raise message_comes_first()
        return self._host.ask(None if to is None else to.address, request, timeout_s)

    def tell(self, message: Contract, to: Ref[Any] | None = None) -> None:
        """Send and forget, to `to` or else to an actor that offers the contract; see `Ref.tell`."""
        self._host.tell(self._address(message, to), message)

    async def send(
        self, message: Contract, to: Ref[Any] | None = None, *, timeout_s: float | None = None
    ) -> None:
        """Like `tell`, but waits until there is room; see `Ref.send`."""
        await self._host.send(self._address(message, to), message, timeout_s)

    def _address(self, message: Contract, to: Ref[Any] | None) -> Address:
        if isinstance(message, Ref):
            raise message_comes_first()
        return self._host.directory.address_for(message) if to is None else to.address

    async def lookup(self, name: str) -> Ref[Any]:
        """The actor of that name; raises `ActorNotFound`."""
        return await self._host.lookup(name)

    # --- being told -----------------------------------------------------------------------------

    def watch(self, ref: Ref[Any]) -> Watch:
        """Watch the incarnation that runs behind `ref`; await it for its `Down`.

        See `Context.watch`. It never fails: what is still watched when the system stops has
        lost its host.
        """
        return self._host.monitors.watch_for_driver(ref)

    def watch_host(self, number: int) -> Watch:
        """The same for a host, by its number from 1."""
        return self._host.monitors.watch_for_driver(self._host.ref(Address(number, CONTROL_CELL)))

    def offers(self, contract: type[Contract] | str) -> AsyncIterator[Offers]:
        """Who offers a contract: at once, and after each change until the system stops.

        An iteration that is slow sees the newest state, not every one before it.
        """
        return notices.offers_of(self._host, contract_name_of(contract))

    # --- executions -----------------------------------------------------------------------------

    def submit(
        self,
        job: Job[RequestT, ResultT],
        request: RequestT,
        *,
        attributes: Mapping[str, Any] | None = None,
        execution_id: str | None = None,
    ) -> ExecutionHandle[ResultT]:
        """Take `request` the whole way of `job`; it is on its way when this returns.

        `attributes` reach the job's `enrich`. Nothing is raised here: what fails, the handle's
        `result` raises. An `execution_id` of one's own must be new to the journal. A detached
        system runs the job itself: `SpecError` says what of it cannot be sent there. A driver
        that `callboard resume` starts goes on here with the execution named there.
        """
        return self._submits().submit(job, request, attributes, execution_id)

    async def resume(
        self, job: Job[RequestT, ResultT], execution_id: str
    ) -> ExecutionHandle[ResultT]:
        """Go on with an execution of the journal: what has ended in it is not run again.

        One that is over gives its result, or its error, once more; one that a detached system
        runs is followed. Raises `UsageError` when there is none of that id and job.
        """
        return await self._submits().resume(job, execution_id)

    def _submits(self) -> Submits:
        self._running()
        assert self._executions is not None
        return self._executions

    @property
    def states(self) -> SystemStates:
        """What the journal says of executions (the setting `states`); `UsageError` without it."""
        return self._submits().states

    # --- looking ----------------------------------------------------------------------

    @property
    def living_hosts(self) -> int:
        """How many hosts run now."""
        return len(self._running().processes())

    async def view(self, actors_max: int = 50) -> CallboardView:
        """All hosts and their actors, as `callboard tree` shows them."""
        return await self._spawner().ask_root(QuerySystem(actors_max=actors_max))

    async def dead_letters(self) -> dict[str, int]:
        """How many dead letters there have been on all living hosts, by reason."""
        hosts = (await self.view(actors_max=0)).hosts
        return dict(sum((Counter(host.dead_letters) for host in hosts), Counter()))

    async def on_dead_letter(self, subscriber: Callable[[DeadLetter], None]) -> None:
        """Call `subscriber` with each dead letter of the driver and all hosts from now on."""
        box = await self._host.spawn(notices.DeadLetterListener.recipe(subscriber), None)
        ref = self._host.ref(Address(self._host.slot, box.id))
        await self._spawner().ask_root(SubscribeAllDeadLetters(subscriber=ref))
