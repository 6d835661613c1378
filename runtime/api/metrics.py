"""Metrics of a system: aggregators on its hosts, the store of their windows, and their reader.

    async with callboard.start(metrics="auto") as system:
        rows = await system.metrics.reader.windows(...)

A store in a file is kept by one actor on the machine of the file. Aggregators on any host commit
through it. They use a server (PostgreSQL) directly.
"""

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeVar

from callboard.actors.kernel.actor import Actor, OnError, Overflow, handler
from callboard.actors.kernel.cell import Recipe
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.props import props
from callboard.actors.kernel.spawnable import Spawnable
from callboard.actors.metrics.aggregation.actor import MetricsAggregator, ShardActivator, ShardStore
from callboard.actors.metrics.aggregation.messages import (
    FollowWindows,
    LateRead,
    ReadLate,
    ReadShard,
    ShardRead,
    WindowsClosed,
)
from callboard.actors.metrics.aggregation.packed import unpack_windows
from callboard.actors.metrics.aggregation.reader import AggregatorsReader, SystemReader
from callboard.actors.metrics.aggregation.shard import ShardLimits
from callboard.actors.metrics.aggregation.storage import (
    RemoteStorage,
    ShardStorage,
    ThreadStorage,
)
from callboard.actors.metrics.aggregation.store_actor import MetricsStoreActor
from callboard.actors.metrics.ports import WindowReader
from callboard.actors.metrics.query.promql.evaluator import ExpressionEvaluator
from callboard.actors.metrics.query.range_query import MetricsQuery, QueryResult, run_query
from callboard.actors.metrics.query.readers import CombinedReader
from callboard.actors.metrics.query.window_samples import WindowSamples
from callboard.actors.metrics.recording.extension import FlushRecording, Recorder, RecordingFlushed
from callboard.actors.metrics.recording.options import RecordingOptions
from callboard.actors.metrics.recording.sources import PointSource
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.windows.settings import DEFAULT_SETTINGS, WindowSettings
from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.placement import Placement
from callboard.messages.control.spec import Restart
from callboard.messages.control.views import CallboardView
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import ActorNotFound, CallboardError
from callboard.messages.core.ref import Address, Ref

from ..admin.metrics import METRICS_STORE, answer_metrics
from ..executions.journals import OpenJournal
from ..hosting.settings import Settings
from ..stores.choose import metrics_storage, path_of
from .keyed import KeyedActors
from .tiers import open_archive, start_tiers

__all__ = [
    "SystemMetrics",
    "join_metrics",
    "journal_url",
    "metrics_url",
    "objects_url",
    "on_this_machine",
    "open_windows",
    "shards_of",
    "start_metrics",
]

ReplyT = TypeVar("ReplyT")
OFF, AUTO, MEMORY = "off", "auto", "memory:"
NEVER_S: Final = 1e9
"""Aggregators are not passivated: their windows have to close."""
FOLLOW_SHARE: Final = 0.4
"""A follower asks again after this share of its time."""
RETRY_S: Final = 1.0
FLUSH_S: Final = 10.0
CLOSE_FLUSH_S: Final = 3.0


class Finds(Protocol):
    """What a reader of metrics needs of a `System`, or of the context of an actor."""

    def ask(
        self,
        request: Request[ReplyT],
        to: Ref[Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Awaitable[ReplyT]:
        """See `System.ask`."""

    async def lookup(self, name: str) -> Ref[Any]:
        """See `System.lookup`."""


class Starts(Finds, Protocol):
    """What the start of metrics needs of a `System`."""

    async def spawn(
        self,
        actor: Spawnable[Any],
        *,
        name: str | None = None,
        offer: bool = False,
        placement: Placement | None = None,
        restart: Restart = Restart.TRANSIENT,
    ) -> Ref[Any]:
        """See `System.spawn`."""

    async def keyed(self, actor: Spawnable[Any], *, idle_s: float = 60.0, shares: int = 0) -> Any:
        """See `System.keyed`."""

    async def stop(self, actor: Ref[Any]) -> None:
        """See `System.stop`."""

    async def view(self, actors_max: int = 50) -> CallboardView:
        """See `System.view`."""


def journal_url(settings: Settings, journal: OpenJournal | None) -> str:
    """The journal of a system as other processes read it; empty for none, or one in memory."""
    url = settings.journal  # Of a detached system: another process opens it.
    if journal is not None:
        name = journal.journal.store.name
        url = name.removeprefix("sqlite ") if name.startswith("sqlite ") else url
    return "" if url in (OFF, AUTO) or url.startswith(MEMORY) else url


def metrics_url(settings: Settings, journal: OpenJournal | None) -> str:
    """The store of the metrics of a system; empty for none."""
    if settings.metrics == OFF:
        return ""
    if settings.metrics != AUTO:
        return settings.metrics
    url = journal_url(settings, journal)
    path = path_of(url) if url else None
    return MEMORY if path is None else str(path.with_name(path.name + ".metrics").absolute())


def objects_url(settings: Settings) -> str:
    """The object store of old windows; empty for none. A folder has the same path everywhere."""
    objects = settings.metrics_objects
    if objects == OFF:
        return ""
    return objects if "://" in objects else str(Path(objects).absolute())


def shards_of(settings: Settings) -> int:
    """The number of aggregators of a system."""
    return (settings.recording or RecordingOptions()).shards


async def start_metrics(
    system: Starts,
    host: Host,
    url: str,
    *,
    shards: int = 4,
    settings: WindowSettings = DEFAULT_SETTINGS,
    limits: ShardLimits | None = None,
    durability: str = "full",
    objects: str = "",
) -> "SystemMetrics":
    """Start the aggregators of a system, and return its metrics for the driver.

    `url` names the store of the windows. A file is on the machine of this driver; when no host
    runs there, on that of any host. `objects` names the object store of old windows, if there is
    one.

    Raises `SpecError` for a URL that names no store, and `ActorStartFailed` when it does not open.
    """
    make_store = functools.partial(metrics_storage, url, durability=durability, alone=True)
    make_store()  # Refuse a wrong URL here, not on a host.
    store: ShardStore = make_store
    reader: ShardStorage
    if path_of(url) is not None or url.startswith(MEMORY):
        store = await system.spawn(
            props(MetricsStoreActor, make_store),
            name=METRICS_STORE,
            placement=await on_this_machine(system),
            restart=Restart.PERMANENT,
        )
        reader = RemoteStorage(store)
    else:
        reader = ThreadStorage(make_store())
        await reader.open()
    shards = await shards_with_stored(reader, shards)
    made = props(MetricsAggregator, store, settings, limits)
    keyed = await system.keyed(made, idle_s=NEVER_S, shares=shards)
    activator = await system.spawn(props(ShardActivator, shards), restart=Restart.PERMANENT)
    metrics = SystemMetrics(system, host, url, shards, reader, (system, activator, keyed))
    if not url.startswith(MEMORY):
        near = await on_this_machine(system) if path_of(url) is not None else None
        await start_tiers(system, url, objects, durability=durability, placement=near)
    await metrics.open_archive()
    return metrics


async def on_this_machine(system: Starts) -> Placement:
    """The first host on the machine of this driver; any host when there is none."""
    hosts = (await system.view(actors_max=0)).hosts
    here = [host.slot for host in hosts if host.slot > 0 and host.node == socket.gethostname()]
    return Placement(host=min(here)) if here else Placement()


async def join_metrics(
    system: Finds, host: Host, url: str, *, shards: int
) -> "SystemMetrics | None":
    """The metrics of a detached system that this driver is attached to; None without any."""
    if path_of(url) is not None or url.startswith(MEMORY):
        try:
            storage: ShardStorage = RemoteStorage(await system.lookup(METRICS_STORE))
        except ActorNotFound:
            return None
    else:
        storage = ThreadStorage(metrics_storage(url, reads_only=True))
        await storage.open()
    shards = await shards_with_stored(storage, shards)
    return SystemMetrics(system, host, url, shards, storage)


async def shards_with_stored(storage: ShardStorage, shards: int) -> int:
    """The number of aggregators: those of the settings, and those that the store has more.

    The latter get no new points. They close the windows that were open when the number changed, so
    that finer windows can expire.
    """
    return max(shards, *(shard + 1 for shard in await storage.shards()), 1)


class SystemMetrics:
    """The metrics of a running system, for its driver."""

    def __init__(
        self,
        system: Finds,
        host: Host,
        url: str,
        shards: int,
        storage: ShardStorage,
        parts: tuple[Starts, Ref[Any], KeyedActors[MetricsAggregator]] | None = None,
    ) -> None:
        """Use the setting `metrics`, or `start_metrics`, which call this."""
        self.url: Final = url
        """The store of the windows."""
        self.shards: Final = shards
        self.storage: Final = storage
        """The stored windows."""
        self.aggregators: Final = AggregatorsReader(system.ask, shards)
        """The windows in the memory of the aggregators."""
        self._system = system
        self._host = host
        self._parts = parts
        """What ends with the driver that has started the metrics."""
        self._archive: tuple[WindowReader, ...] = ()
        self._open = contextlib.AsyncExitStack()

    async def open_archive(self) -> None:
        """Read the windows in object stores, too, where this driver can reach the catalogue.

        The catalogue lies in the store of the windows: a file has to be on this machine. Raises
        the errors of the store.
        """
        path = path_of(self.url)
        if not self.url.startswith(MEMORY) and (path is None or path.exists()):
            archive = open_archive(self.url)
            reader = await self._open.enter_async_context(archive)
            self._open.callback(self._host.meters.instruments.add(reader.reading))
            self._archive = (reader,)

    @property
    def reader(self) -> WindowReader:
        """All windows of the system: the newest in memory, the stored ones, and archived ones."""
        return SystemReader(self.aggregators, self.storage, *self._archive)

    @property
    def evaluator(self) -> ExpressionEvaluator:
        """The query language over all windows of the system."""
        return ExpressionEvaluator(WindowSamples(self.reader))

    async def query(self, query: MetricsQuery) -> QueryResult:
        """Answer a query by name, tags, range and step. Raises `UsageError`."""
        return await run_query(self.reader, query)

    async def answer(self, request: Request[Any]) -> Any:
        """Answer a request of the admin API. Raises `UsageError`."""
        return await answer_metrics(self.reader, request)

    async def figures(self) -> list[ShardRead]:
        """The figures of each aggregator, by shard."""
        asks = (self._system.ask(ReadShard(shard=shard)) for shard in range(self.shards))
        return list(await asyncio.gather(*asks))

    async def late(self, limit: int = 1_000) -> list[LateRead]:
        """The newest points of each shard that came too late for their windows."""
        asks = (
            self._system.ask(ReadLate(shard=shard, limit=limit)) for shard in range(self.shards)
        )
        return list(await asyncio.gather(*asks))

    @contextlib.asynccontextmanager
    async def following(self, subscriber: Callable[[WindowRows], None]) -> AsyncIterator[None]:
        """Call `subscriber` with windows as they close, until the end of `async with`.

        A slow driver, or an aggregator that moves, may miss some: read them from the store.
        """
        listener = await self._host.spawn(Recipe(_Listener, (subscriber,)), None)
        ref = self._host.ref(Address(self._host.slot, listener.id))
        tasks = [asyncio.ensure_future(self._follow(shard, ref)) for shard in range(self.shards)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(CallboardError):
                await self._host.termination.stop_child(None, listener.id)

    async def _follow(self, shard: int, follower: Ref[Any]) -> None:
        while True:
            wait_s = RETRY_S
            with contextlib.suppress(CallboardError):
                followed = await self._system.ask(FollowWindows(shard=shard, follower=follower))
                wait_s = FOLLOW_SHARE * followed.for_s
            await asyncio.sleep(wait_s)

    def add_source(self, source: PointSource) -> Callable[[], None]:
        """Pull the points of a source from now on, in this driver; returns a function to end it.

        Raises `UsageError` for a name that is in use.
        """
        return self._host.extension(Recorder).add_source(source)

    async def flush(self, timeout_s: float = FLUSH_S) -> int:
        """Bring all recorded points to the aggregators; gives how many are left after the time."""
        hosts = (self._host.slot, *self._host.directory.hosts)
        asks = [
            self._host.ask(Address(slot, CONTROL_CELL), FlushRecording(timeout_s=timeout_s), None)
            for slot in dict.fromkeys(hosts)
        ]
        answers = await asyncio.gather(*asks, return_exceptions=True)
        return sum(answer.left for answer in answers if isinstance(answer, RecordingFlushed))

    async def close(self, *, ends: bool) -> None:
        """Close what this driver has opened.

        With `ends`, when the system ends with it: bring all points to the aggregators, and stop
        them while their store still runs.
        """
        if ends and self._parts is not None:
            system, activator, keyed = self._parts
            with contextlib.suppress(CallboardError):
                await self.flush(CLOSE_FLUSH_S)
                await system.stop(activator)
                await keyed.stop()
        await self._open.aclose()
        if isinstance(self.storage, ThreadStorage):
            await self.storage.close()


class _Listener(Actor):
    """Receives closed windows for a driver."""

    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST
    on_error: ClassVar[OnError] = OnError.RESUME

    def __init__(self, subscriber: Callable[[WindowRows], None]) -> None:
        self._subscriber = subscriber

    @handler
    async def closed(self, message: WindowsClosed) -> None:
        """Hand windows to the subscriber."""
        self._subscriber(unpack_windows(message.data))


@contextlib.asynccontextmanager
async def open_windows(url: str) -> AsyncIterator[WindowReader]:
    """Read the stored windows at a URL, hot and archived, with or without a system that writes.

    The store must exist, and stays unchanged. Raises `SpecError` for a URL that names no store,
    and the errors of the store when it opens.
    """
    storage = ThreadStorage(metrics_storage(url, reads_only=True))
    await storage.open()
    try:
        async with open_archive(url) as archive:
            yield CombinedReader((storage, archive))
    finally:
        await storage.close()
