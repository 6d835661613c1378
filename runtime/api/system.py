"""The driver's API: a running system of hosts.

    async def main(system: System) -> None:
        await system.pool(Reviewer, size=8)
        print(await system.ask(ReviewFile(path="a.py")))

    callboard.run(main, hosts=2)

A system lives on the event loop that started it, and ends with its driver. A detached system
outlives its drivers.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from callboard.actors.executions.handle import ExecutionHandle
from callboard.actors.kernel.actor import Actor
from callboard.actors.kernel.directory.subscriptions import contract_name_of
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.inspection.meter import Meter
from callboard.actors.kernel.monitors.monitors import Watch
from callboard.actors.kernel.props import props_of
from callboard.actors.kernel.spawnable import Spawnable
from callboard.actors.keyed.activation import KeyedPlan
from callboard.actors.trees.ref import TreeRef
from callboard.actors.trees.spec import ActorSpec, TreeSpec, walk
from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.control.logs import LogsPage, QueryLogs
from callboard.messages.control.notices import Offers
from callboard.messages.control.placement import Placement, Resources
from callboard.messages.control.routing import Routing
from callboard.messages.control.spawning import SubscribeAllDeadLetters
from callboard.messages.control.spec import Restart, StopTimeout
from callboard.messages.control.views import CallboardView, QuerySystem
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.core.names import check_name
from callboard.messages.core.ref import CONTRACT_TYPE, Address, Ref, check_message, not_a_message
from callboard.messages.jobs.job import Job
from callboard.messages.ports import Engine
from callboard.messages.storage.keyed_stores import KeyedStore
from callboard.messages.storage.stores import ReadModelStore

from ..admin.extension import AdminExtension
from ..admin.pipelines import PipelineQueries
from ..admin.port import Part
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
from ..stores.choose import read_model_store
from ..telemetry.tracing.extension import check_tracing
from . import notices
from .admin_service import admin_service
from .alerts import start_chosen_alerts
from .approvals import approvals_url
from .composition import enter, environment_of, make_engine, node_here
from .imports import ImportCheck
from .keyed import KeyedActors, parts_for, store_of
from .metrics import (
    SystemMetrics,
    join_metrics,
    journal_url,
    metrics_url,
    objects_url,
    shards_of,
    start_metrics,
)
from .pools import Pool, PoolPlan
from .spawner import DriverSpawner
from .ui.system_ui import SystemUi

__all__ = ["System"]

ActorT = TypeVar("ActorT", bound=Actor)
ReplyT = TypeVar("ReplyT")
RequestT = TypeVar("RequestT", bound=Contract)
ResultT = TypeVar("ResultT")


class System:
    """A running system, for its driver. `start`, `run` and `attach` make it.

    All methods belong to the event loop of the system. Timeouts are in seconds.
    """

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
        """Use `start`, `run` or `attach`, which call this."""
        self.settings: Final = settings
        """The settings that this driver has given."""
        self._settings_of_all = settings
        """The settings of the system, which a driver that joins it has not given."""
        if settings.traces is not None:
            check_tracing()
        self._engine = engine
        self._environment = environment_of(settings) if environment is None else environment
        self._open_journal = open_journal
        self._enter = enter
        self._joins = joins
        """Whether to attach to a detached system that runs, instead of starting one."""
        self._connection: Connection | None = None
        self._admin: AdminSocket | None = None
        self._service: AdminService | None = None
        self._stores: Final[list[ReadModelStore]] = []
        """The stores of pipelines that the admin API shows."""
        self._failure: CallboardError | None = None
        self._driver: asyncio.Task[Any] | None = None
        self._journal: OpenJournal | None = None
        self._executions: Submits | None = None
        self._metrics: SystemMetrics | None = None
        self._ui: SystemUi | None = None
        spreads = settings.engine != "inline" and self._environment.is_real
        self._imports = ImportCheck() if spreads else None

    # --- open and close -----------------------------------------------------------------------

    async def open(self) -> None:
        """Start the system, or attach to it. `start` and `attach` call this."""
        self._driver = asyncio.current_task()
        self._executions = await (self._attach() if self.settings.detached else self._bring_up())
        await self._open_metrics()
        await self._executions.prepare()
        ui = self._settings_of_all.page
        if ui is not None and not self._joins:
            await self.ui.start(ui)
            if ui.prints_link:
                await self.ui.print_link()

    async def _open_metrics(self) -> None:
        settings = self._settings_of_all
        url = metrics_url(settings, self._journal)
        if not url:
            return
        shards = shards_of(settings)
        if self._joins:
            self._metrics = await join_metrics(self, self._host, url, shards=shards)
            if self._metrics is not None:
                await self._metrics.open_archive()
            return
        self._metrics = await start_metrics(
            self,
            self._host,
            url,
            shards=shards,
            durability=settings.durability,
            objects=objects_url(settings),
        )
        await start_chosen_alerts(self, url)

    async def _attach(self) -> Submits:
        environment = self._environment
        driver = self._connection = await self._enter(
            self.settings, environment, self._failed, starts=not self._joins
        )
        self._settings_of_all = driver.settings
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
        service = self._service = admin_service(self, control, executions)
        control.host.extension(AdminExtension).service = service
        if self._environment.is_real:
            self._admin = AdminSocket(service)
            control.host.meters.instruments.add(self._admin.reading)
            await self._admin.start()
        return executions

    async def close(self, timeout_s: float) -> None:
        """Stop everything that lives as long as this driver. `start` and `attach` call this."""
        if self._executions is not None:
            await self._executions.leave()
        if self._metrics is not None:
            await self._metrics.close(ends=not self.settings.detached)
        if self._connection is not None:
            await self._connection.host.extensions.stopping()
            await self._connection.stop(timeout_s)
        if self._admin is not None:  # Last, so that a slow stop can be inspected.
            await self._admin.stop()
        for store in self._stores:
            await asyncio.to_thread(store.close)
        if self._journal is not None:
            await self._journal.close()
        if self._engine is not None:
            await self._engine.stop()

    def _failed(self, error: CallboardError) -> None:
        """End the driver's waits with the reason: the root has given up."""
        self._failure = error
        if self._driver is not None and not self._driver.done():
            self._driver.cancel(str(error))

    @property
    def approvals_url(self) -> str:
        """The store of its approvals, unless `start_approvals` names another one."""
        return approvals_url(self._settings_of_all, self._journal)

    @property
    def failure(self) -> CallboardError | None:
        """The reason why the system has given up; None while it runs."""
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
        """Start an actor on the least loaded host, and return its reference.

        `actor` is a class, or `props(Class, ...)` with the arguments of its constructor. `name`
        makes it available to `lookup`. `host` is the number (from 1) or the name of a host;
        `placement` replaces it, for example to give the actor an isolated host. With `offer`,
        asks without a receiver reach it by the contracts that it handles, like a pool.
        `restart` and `stop_timeout` are its restart kind and its time to stop.

        Raises `ActorStartFailed` when its start fails, `NameTaken`, `SpecError` for a class or
        arguments that cannot be pickled, `UsageError` for an unknown host, and `ClusterError`
        when the resources of an isolated host are missing, or when a host where it may run cannot
        import its module.
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

        Returns their references in the order of `actors`. Tries all, then raises the
        `ActorStartFailed` of the first failure; the started actors keep running.
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
        """Start a pool of `size` agents over all hosts (default: 2 for each host).

        An `ask` without a receiver reaches an idle agent by its contract; `routing` chooses the
        host. `name` is one more name to reach the pool by. With `isolated`, each agent gets a
        host of its own with these resources.

        Raises `ActorStartFailed` (then no agent runs), `ClusterError` when the cluster lacks the
        resources, and `SpecError` for a wrong size, or a routing that another pool of the same
        contract does not share.
        """
        spawner, made = self._spawner(), props_of(agent)
        check_name("the name of a pool is", made.actor.__name__ if name is None else name)
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
        shares: int = 0,
        name: str | None = None,
    ) -> KeyedActors[ActorT]:
        """Declare keyed actors: a message for a key activates the one actor of that key.

        `store` keeps the states: a `KeyedStore`, of which each host gets a copy, or a reference
        to a `StoreActor`. Without a store, the memory of each host keeps them.

        An actor is passivated when it is idle for `idle_s` seconds, when its host has more than
        `active_max` active actors, or when the process exceeds `memory_bytes_max`. Passivation
        saves its state, and so does an orderly stop of the system. A kill loses at most the
        changes of `save_every` messages or of `save_after_s` seconds.

        With `shares`, the keys are divided into so many shares, which are spread evenly over the
        hosts, and go on to hosts that come later. A key that is a whole number names its own
        share. Without, a key stays with the hosts of now.

        Raises `SpecError` for a wrong limit, or when other actors handle the same contracts, and
        `ActorStartFailed`.
        """
        spawner, made = self._spawner(), props_of(actor)
        chosen = made.actor.__name__ if name is None else name
        check_name("the name of keyed actors is", chosen)
        plan = KeyedPlan(
            made.actor, made.args, made.keywords, chosen, store_of(store),
            idle_s, active_max, memory_bytes_max, save_every, save_after_s, shares,
        )  # fmt: skip
        parts, offers = parts_for(self._host.pickler, self._host.directory.hosts, plan)
        spawner.learn(made.actor)
        return KeyedActors(spawner, made.actor, await spawner.start(parts, offers))

    async def start_tree(self, tree: TreeSpec) -> TreeRef:
        """Start a supervision tree: each child starts when the one before it runs.

        When a child does not start, the started ones stop in reverse order, and none is left.

        Raises `ActorStartFailed` (`details["path"]` names the child), `NameTaken`, and
        `SpecError` for a child that cannot be pickled.
        """
        spawner, spawn = self._spawner(), spawn_of(self._host.pickler, tree)
        for _, node in walk(tree):
            if isinstance(node, ActorSpec):
                spawner.learn(node.props.actor)
        await spawner.check(spawn.parts)
        started = await spawner.ask_root(spawn)
        raise_first(started)
        return TreeRef(self._host, tree, places_in(tree, started))

    async def stop(self, actor: Ref[Any] | TreeRef) -> None:
        """Stop a top-level actor or a tree in order, and wait. Raises `ActorNotFound`.

        For a subtree this is `TreeRef.terminate_child`.
        """
        if isinstance(actor, TreeRef):
            if await actor.stop_as_child():
                return
            actor = actor.ref
        await self._spawner().stop(actor)

    def _spawner(self) -> DriverSpawner:
        return DriverSpawner(self._running(), self._imports)

    # --- messages ---------------------------------------------------------------------------------

    def ask(
        self,
        request: Request[ReplyT],
        to: Ref[Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Awaitable[ReplyT]:
        """Send `request` to `to`, or to an actor that offers its contract; await the reply.

        `timeout_s` is in seconds; None means the setting `ask_timeout_s`. The await raises an
        `AskError` when no reply came, and a `ContractError` when a host refused the message.
        """
        if type(type(request)) is not CONTRACT_TYPE:
            raise not_a_message(request)  # Here, too: the arguments may be in the wrong order.
        return self._host.ask(None if to is None else to.address, request, timeout_s)

    def tell(self, message: Contract, to: Ref[Any] | None = None) -> None:
        """Send `message` to `to`, or to an actor that offers its contract, without a reply.

        See `Ref.tell`. Raises `MailboxFull` when there is no room to send, and `NoAgentOffers`
        when no actor offers the contract.
        """
        self._host.tell(self._address(message, to), message)

    async def send(
        self, message: Contract, to: Ref[Any] | None = None, *, timeout_s: float | None = None
    ) -> None:
        """Send `message` like `tell`, but wait until there is room; see `Ref.send`.

        `timeout_s` is in seconds; None means the setting `ask_timeout_s`. Raises
        `DeadlineExceeded` when there is no room in time.
        """
        await self._host.send(self._address(message, to), message, timeout_s)

    def _address(self, message: Contract, to: Ref[Any] | None) -> Address:
        if type(type(message)) is not CONTRACT_TYPE:
            raise not_a_message(message)
        return self._host.directory.address_for(message) if to is None else to.address

    async def lookup(self, name: str) -> Ref[Any]:
        """The reference of the actor with that name. Raises `ActorNotFound`."""
        return await self._host.lookup(name)

    # --- notices --------------------------------------------------------------------------------

    def watch(self, ref: Ref[Any]) -> Watch:
        """Watch the present incarnation of an actor: await the result for its `Down`.

        See `Context.watch`. The await never fails: when the system stops first, the `Down` says
        that the host is lost.
        """
        return self._host.monitors.watch_for_driver(ref)

    def watch_host(self, number: int) -> Watch:
        """Watch a host by its number, from 1; see `watch`."""
        return self._host.monitors.watch_for_driver(self._host.ref(Address(number, CONTROL_CELL)))

    def offers(self, contract: type[Contract] | str) -> AsyncIterator[Offers]:
        """Iterate over the offers of a contract: now, and after each change until the end.

        `contract` is a contract, or its name. A slow reader gets the newest offers and misses
        those before.
        """
        return notices.offers_of(self._host, contract_name_of(contract))

    @property
    def meter(self) -> Meter:
        """The meter of this driver; see `Context.meter`."""
        return self._host.meter

    def publish(self, channel: str, event: Contract, *, key: str = "") -> bool:
        """Publish an event to a channel of the stream hub; see `Context.publish`."""
        return self._host.publishing.publish(channel, event, source=self._host.name, key=key)

    # --- executions -----------------------------------------------------------------------------

    def submit(
        self,
        job: Job[RequestT, ResultT],
        request: RequestT,
        *,
        attributes: Mapping[str, Any] | None = None,
        execution_id: str | None = None,
    ) -> ExecutionHandle[ResultT]:
        """Start an execution of `job` for `request`, and return its handle at once.

        `attributes` reach the job's `enrich`. With an `execution_id` of your own, one request is
        executed once: while an execution of that id runs, the handle follows it; one that was
        interrupted continues from the journal, and one that is over gives its result or error
        once more. Without a journal, only an execution that runs is known. In a driver that
        `callboard resume` started, the first matching submission continues the execution named
        there.

        Errors of the execution are raised by `result` of the handle. This includes
        `ExecutionIdTaken` when another request was submitted under the id and, in a detached
        system, which runs the job itself, a `SpecError` for parts of the job that cannot be
        pickled. Raises `UsageError` for a text that cannot be an id.
        """
        check_message(request)
        return self._submits().submit(job, request, attributes, execution_id)

    async def resume(
        self, job: Job[RequestT, ResultT], execution_id: str
    ) -> ExecutionHandle[ResultT]:
        """Continue an execution of the journal; its completed sub-tasks do not run again.

        For an execution that is over, the handle gives the result or the error once more. An
        execution that a detached system runs is followed. Raises `UsageError` when the journal
        has no execution of that id and job, or when the system has no journal.
        """
        return await self._submits().resume(job, execution_id)

    async def offer(self, job: Job[RequestT, Any], request: type[RequestT]) -> None:
        """Let clients outside of the system submit requests of a job, by its name.

        `request` is the contract of the requests, whose fields clients send as JSON. A later offer
        of the same name takes the place of an earlier one. It ends with this driver; a detached
        system with a journal keeps it. Clients need the scope `submit`; see `callboard.remote`.

        Raises `UsageError` for too many offers and, in a detached system, `SpecError` for parts of
        the job that cannot be pickled.
        """
        await self._submits().offer(job, request)

    async def show_pipelines(self, *stores: str) -> None:
        """Let the admin API show the pipelines in these stores, and replay their dead letters.

        A store is named as for a `PipelineActor`. In a detached system the process that serves the
        page does this. Raises `UsageError` there, and the stores' errors.
        """
        service = self._service
        if service is None:
            raise UsageError(
                "this driver does not answer for its system.", advice="Name the stores to its `ui`."
            )
        for url in stores:
            store = read_model_store(url)
            await asyncio.to_thread(store.open)
            self._stores.append(store)
        service.serve(Part.PIPELINES, PipelineQueries(self._stores).answer)

    def _submits(self) -> Submits:
        self._running()
        assert self._executions is not None
        return self._executions

    @property
    def states(self) -> SystemStates:
        """The states of executions, fed from the journal. `UsageError` without `states`."""
        return self._submits().states

    @property
    def metrics(self) -> SystemMetrics:
        """The metrics of the system. `UsageError` without the setting `metrics`."""
        self._running()
        if self._metrics is None:
            raise UsageError(
                "this system keeps no metrics.",
                advice="Start it with metrics='auto', or with a path or a URL.",
            )
        return self._metrics

    @property
    def ui(self) -> SystemUi:
        """The page, the HTTP API and the streams of the system; see the setting `ui`."""
        self._running()
        if self._ui is None:
            settings = self._settings_of_all
            journal, metrics = journal_url(settings, self._journal), ""
            if self._metrics is not None:
                metrics = self._metrics.url
            node = settings.journal_node or node_here(settings)
            self._ui = SystemUi(self, settings, journal=journal, metrics=metrics, node=node)
        return self._ui

    # --- views ------------------------------------------------------------------------

    @property
    def living_hosts(self) -> int:
        """The number of hosts that run now."""
        return len(self._running().processes())

    async def view(self, actors_max: int = 50) -> CallboardView:
        """View all hosts and their actors, as `callboard tree` shows them.

        `actors_max` bounds the actors that are listed for each host. A host that does not answer
        within 2 s has a line with the reason.
        """
        return await self._spawner().ask_root(QuerySystem(actors_max=actors_max))

    async def logs(self, where: str = "", *, level: str = "debug", limit: int = 100) -> LogsPage:
        """The newest log lines of all hosts, dead ones included, as `callboard logs` shows them.

        `where` is a path, of a host or an actor and all below it, or the beginning of an
        execution's id. Lines arrive some 0.2 s after they were logged.
        """
        query = QueryLogs(where=where, level=level, limit=limit)
        return await self._spawner().ask_root(query)

    async def dead_letters(self) -> dict[str, int]:
        """The number of dead letters on all living hosts since their start, by reason."""
        hosts = (await self.view(actors_max=0)).hosts
        return dict(sum((Counter(host.dead_letters) for host in hosts), Counter()))

    async def on_dead_letter(self, subscriber: Callable[[DeadLetter], None]) -> None:
        """Call `subscriber` with each dead letter of the driver and all hosts from now on."""
        listener = await self._host.spawn(notices.DeadLetterListener.recipe(subscriber), None)
        ref = self._host.ref(Address(self._host.slot, listener.id))
        await self._spawner().ask_root(SubscribeAllDeadLetters(subscriber=ref))
