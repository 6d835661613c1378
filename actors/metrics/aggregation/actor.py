"""The aggregator of one shard: a keyed actor, of which the system has at most one at a time."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, ClassVar, Final

import numpy as np

from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.core.errors import ActorStopped, CallboardError
from callboard.messages.core.ref import Ref

from ...kernel.actor import Actor, OnError, handler
from ...kernel.context import Context
from ...keyed.actor import KeyedActor
from ..points import AppendPoints, PointsAccepted
from ..ports import HotStorage
from ..query.readers import too_many_rows, too_many_series
from ..rows import WindowRows
from ..windows.settings import DEFAULT_SETTINGS, WindowSettings
from .messages import (
    CloseDue,
    ExtentsRead,
    FollowWindows,
    LateRead,
    NewestRead,
    ReadLate,
    ReadNewest,
    ReadNewestExtents,
    ReadNewestSeries,
    ReadShard,
    SeriesRead,
    ShardAwake,
    ShardRead,
    WakeShard,
    WakeShards,
    WindowsClosed,
    WindowsFollowed,
    matchers_of,
)
from .packed import pack_windows, series_text
from .shard import Shard, ShardLimits
from .storage import RemoteStorage, ShardStorage, ThreadStorage

__all__ = ["MetricsAggregator", "ShardActivator", "ShardStore"]

ShardStore = Ref[Any] | Callable[[], HotStorage]
"""A reference to a `MetricsStoreActor`, or a function that makes the store on an aggregator's host.
"""
TICK_S: Final = 1.0
WAKE_S: Final = 0.5
WAKE_TIMEOUT_S: Final = 2.0
FOLLOWERS_MAX: Final = 100
"""Followers of one shard. Each has to ask again before its time is over."""
FOLLOW_S: Final = 60.0


class MetricsAggregator(KeyedActor):
    """Keeps the windows of one shard; its state lies in the store of metrics.

    An answer to `AppendPoints` says what is durable. After kill -9 of its host the next message
    for the shard activates it elsewhere, or on the host's next process: it goes on from the
    store, and its sources send again what was not acknowledged.
    """

    key: ClassVar[str] = "shard"
    concurrency: ClassVar[int] = 1_024
    on_error: ClassVar[OnError] = OnError.RESUME

    def __init__(
        self,
        store: ShardStore,
        settings: WindowSettings = DEFAULT_SETTINGS,
        limits: ShardLimits | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store = store
        self._settings = settings
        self._limits = limits
        self._clock_ns = clock_ns
        self._shard: Shard | None = None
        self._host = ""
        self._open = contextlib.AsyncExitStack()
        self._followers: Final[dict[Ref[Any], float]] = {}
        """Who gets closed windows, and until when."""
        self._now_s: Callable[[], float] = time.monotonic

    async def started(self, ctx: Context) -> None:
        """Claim the shard and restore its windows. Raises the store's errors."""

        def broken(error: CallboardError) -> None:
            ctx.stop(Exit.of_error(ExitReason.FAILED, error))

        async with contextlib.AsyncExitStack() as stack:
            shard = Shard(
                int(ctx.path.rpartition("/")[2]),
                ctx.fence,
                await self._storage(stack),
                clock_ns=self._clock_ns,
                settings=self._settings,
                limits=self._limits,
                sinks=(self,),
                on_broken=broken,
            )
            await shard.open()
            stack.push_async_callback(shard.close)
            self._shard, self._open = shard, stack.pop_all()
        self._host = ctx.host_name
        ctx.measure(shard.reading)
        ctx.send_every(TICK_S, CloseDue(shard=shard.number))

    async def _storage(self, stack: contextlib.AsyncExitStack) -> ShardStorage:
        if isinstance(self._store, Ref):
            return RemoteStorage(self._store)
        storage = ThreadStorage(self._store())
        stack.push_async_callback(storage.close)
        await storage.open()
        return storage

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """Commit what has arrived, also the windows that are open, and leave the store."""
        await self._open.aclose()

    def _running(self) -> Shard:
        if self._shard is None:
            raise ActorStopped("the aggregator has not restored its windows.", may_have_run=False)
        return self._shard

    # --- points -------------------------------------------------------------------------------

    @handler
    async def append(self, request: AppendPoints) -> PointsAccepted:
        """Add points, and answer when they are durable; see `Shard.append`."""
        return await self._running().append(request.batch)

    @handler
    async def close_due(self, tick: CloseDue) -> None:
        """Close the windows that are due."""
        del tick
        self._running().tick()

    @handler
    async def wake(self, request: WakeShard) -> ShardAwake:
        """Do nothing more than run."""
        del request
        return ShardAwake()

    # --- queries ------------------------------------------------------------------------------

    @handler
    async def newest(self, request: ReadNewest) -> NewestRead:
        """The newest windows, open ones among them."""
        shard = self._running()
        rows = shard.windows_in(
            matchers_of(request.matchers), request.width_ns, request.from_ns, request.to_ns
        )
        if len(rows) > request.limit:
            raise too_many_rows(request.limit)
        return NewestRead(
            data=pack_windows(rows), complete_from_ns=shard.complete_from_ns(request.width_ns)
        )

    @handler
    async def series(self, request: ReadNewestSeries) -> SeriesRead:
        """The series of the newest windows."""
        found = self._running().series_in(
            matchers_of(request.matchers), request.from_ns, request.to_ns
        )
        if len(found) > request.limit:
            raise too_many_series(request.limit)
        return SeriesRead(series=tuple(map(series_text, sorted(found))))

    @handler
    async def extents(self, request: ReadNewestExtents) -> ExtentsRead:
        """The time that the newest windows cover."""
        del request
        found = self._running().extents()
        return ExtentsRead(extents=tuple((width, *extent) for width, extent in found.items()))

    @handler
    async def figures(self, request: ReadShard) -> ShardRead:
        """The figures of this aggregator."""
        figures = {**self._running().figures(), "followers": float(len(self._followers))}
        return ShardRead(shard=request.shard, host=self._host, figures=figures)

    @handler
    async def late(self, request: ReadLate) -> LateRead:
        """The newest points that came too late for their windows."""
        found = self._running().windows.late(request.limit)
        places = {key: place for place, key in enumerate(dict.fromkeys(found.series))}
        return LateRead(
            series=tuple(map(series_text, places)),
            index=np.array([places[key] for key in found.series], np.int32),
            times_ns=found.times_ns,
            values=found.values,
            discarded=found.discarded,
        )

    # --- followers ----------------------------------------------------------------------------

    @handler
    async def follow(self, request: FollowWindows) -> WindowsFollowed:
        """Tell `follower` of each closed window from now on, for `FOLLOW_S`; then ask again."""
        now_s = self._now_s()
        for each, until_s in tuple(self._followers.items()):
            if until_s < now_s:
                del self._followers[each]
        if request.follower not in self._followers and len(self._followers) >= FOLLOWERS_MAX:
            raise ActorStopped(
                f"shard {request.shard} of the metrics has {FOLLOWERS_MAX} followers.",
                advice="Follow by fewer actors, and pass the windows on.",
                may_have_run=False,
            )
        self._followers[request.follower] = now_s + FOLLOW_S
        return WindowsFollowed(for_s=FOLLOW_S)

    def closed(self, shard: int, rows: WindowRows) -> None:
        """Tell the followers; one that takes nothing misses these windows, not later ones."""
        if not self._followers:
            return
        now_s = self._now_s()
        message = WindowsClosed(shard=shard, width_ns=rows.width_ns, data=pack_windows(rows))
        for follower, until_s in tuple(self._followers.items()):
            if until_s < now_s:
                del self._followers[follower]
                continue
            with contextlib.suppress(CallboardError):
                follower.tell(message)


class ShardActivator(Actor):
    """Keeps the aggregators of all shards active: their windows close also without new points."""

    on_error: ClassVar[OnError] = OnError.RESUME

    def __init__(self, shards: int) -> None:
        self._shards = shards

    async def started(self, ctx: Context) -> None:
        """Wake all shards again and again."""
        ctx.send_every(WAKE_S, WakeShards())

    @handler
    async def wake(self, message: WakeShards, ctx: Context) -> None:
        """Wake all shards; one that cannot be reached is woken the next time."""
        del message
        asks = (
            ctx.ask(WakeShard(shard=shard), timeout_s=WAKE_TIMEOUT_S)
            for shard in range(self._shards)
        )
        await asyncio.gather(*asks, return_exceptions=True)
