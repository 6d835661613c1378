"""The collector of a host: from its meter and its sources to the aggregators.

    meter --flush--> stages --> split by shard --> `Outgoing` --asks--> aggregators
    sources --pull------^

The shell around `core.py`: it has the timers, the asks, and the loop over user sources. A flush
begins at a whole multiple of `flush_s`, or when half of the meter's room is used.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

from callboard.messages.core.errors import AskError, CallboardError, HandlerFailed, UsageError

from ..points import PointBatch, PointsAccepted, SourceKind
from .columns import PointColumns, checked_columns
from .core import Send
from .meter import HostMeter
from .options import RecordingOptions
from .routes import Route
from .sources import PointSource

__all__ = ["Collector", "ShardSender", "Tap"]

LOGGER: Final = logging.getLogger("callboard.metrics")
PART_POINTS: Final = 262_144
"""Points that pass the stages in one turn of the event loop: some 20 ms of work."""
WARN_S: Final = 10.0
SOURCES_MAX: Final = 64
SOURCE_PAUSE_S: Final = 5.0
"""The pause before a source that has failed begins again."""
ROOM_WAIT_S: Final = 3_600.0
"""How long a source waits for room before its wait begins again."""


class ShardSender(Protocol):
    """The way to the aggregators."""

    async def append(self, shard: int, batch: PointBatch) -> PointsAccepted:
        """Bring a batch to its shard; the answer comes when it is durable.

        Raises `HandlerFailed` and other errors that are no `AskError` when the shard has failed
        with this batch, and an `AskError` when it could not be asked.
        """


Tap = Callable[[PointColumns], None]
"""What gets the columns of each flush, before the stages: it must not keep or change them."""


class Tasks(Protocol):
    """The host, for its collector."""

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run a coroutine in the background of the host."""


class Collector:
    """Collects the points of one host, and brings them to the aggregators."""

    def __init__(
        self,
        tasks: Tasks,
        meter: HostMeter,
        sender: ShardSender | None,
        options: RecordingOptions,
        *,
        name: str,
        instance: str,
        kind: SourceKind = SourceKind.SERVICE,
        wall_time: Callable[[], float] = time.time,
        taps: Sequence[Tap] = (),
    ) -> None:
        """`name` is unique for this incarnation of the host; `instance` is the host's name.

        Without a sender, only the taps get points.
        """
        self._tasks: Final = tasks
        self._meter: Final = meter
        self._sender: Final = sender
        self._options: Final = options
        self._name: Final = name
        self._instance: Final = instance
        self._wall_time: Final = wall_time
        self._loop: Final = asyncio.get_running_loop()
        self._taps: Final = tuple(taps)
        self._own: Final = Route(kind, name, instance, options)
        self._routes: Final[dict[str, Route]] = {}
        """Of user sources, by their names."""
        self._added = 0
        self._ending: Final[set[str]] = set()
        """User sources that give no more."""
        self._past: Final[Counter[str]] = Counter()
        """The counts of those that are forgotten."""
        self._pressure: Final = asyncio.Event()
        self._changed: Final = asyncio.Event()
        """Set when an answer has come, and briefly for each."""
        self._running: Final[set[asyncio.Task[None]]] = set()
        """Its loop, and those of user sources."""
        self._asks: Final[set[asyncio.Task[None]]] = set()
        self._failing_since_s = math.inf
        """When batches began to fail, without a success since."""
        self._has_warned = False
        self.source_failures = 0
        self.tap_failures = 0
        self.flush_failures = 0
        """Flushes that a defect has ended."""

    # --- the loop -----------------------------------------------------------------------------

    def start(self) -> None:
        """Record, and flush, from now on."""
        self._meter.on_pressure = self._press
        self._meter.has_way = lambda: self._own.outgoing.has_room
        self._meter.start()
        _ = self._start(self._run(), self._running)

    def _press(self) -> None:
        self._loop.call_soon_threadsafe(self._pressure.set)

    async def _run(self) -> None:
        while True:
            await self._until_due()
            try:
                await self.flush()
            except Exception:
                self.flush_failures += 1
                if self.flush_failures == 1:
                    LOGGER.exception(
                        "a flush of %s has failed; further ones are counted", self._name
                    )

    async def _until_due(self) -> None:
        """Wait for the next flush, or for a moment at which something is to be sent again."""
        every_s, now_s = self._options.flush_s, self._wall_time()
        # At a whole multiple of the interval, so that few seconds lie in two flushes.
        flush_s = (now_s // every_s + 1.0) * every_s - now_s
        again_s = min(route.outgoing.next_s(self._loop.time()) for route in self._all_routes())
        wait_s = max(0.0, min(flush_s, again_s - self._loop.time()))
        try:
            async with asyncio.timeout(wait_s):
                await self._pressure.wait()
        except TimeoutError:
            pass
        self._pressure.clear()

    async def flush(self) -> None:
        """Take what the meter has, and send what is due."""
        now_s = self._wall_time()
        columns = self._meter.take()
        self._tap(columns)
        if self._sender is None:
            return
        for route in self._all_routes():
            route.end_flush()
        for begin in range(0, columns.points, PART_POINTS):
            if begin:
                await asyncio.sleep(0)
            part = columns.part(begin, begin + PART_POINTS)
            if part is not columns:
                part = part.compact()
            self._own.give(part, int(now_s * 1e9))
            self._pump(self._own)
        self._own.outgoing.advance(int(now_s * 1e9))
        for route in self._all_routes():
            self._pump(route)
        if self._ending:
            self._forget_ended()
        self._meter.room_changed()

    def _tap(self, columns: PointColumns) -> None:
        for tap in self._taps if columns.points else ():
            try:
                tap(columns)
            except Exception as error:  # noqa: BLE001 - it must not end the flushes
                self.tap_failures += 1
                if self.tap_failures == 1:
                    LOGGER.warning("points are not shown elsewhere: %r", error)

    def _all_routes(self) -> tuple[Route, ...]:
        return self._own, *self._routes.values()

    def _pump(self, route: Route) -> None:
        for send in tuple(route.outgoing.due(self._loop.time())):
            self._begin_ask(route, send)

    def _begin_ask(self, route: Route, send: Send) -> None:
        _ = self._start(self._ask(route, send), self._asks)

    def _start(
        self, coroutine: Coroutine[Any, Any, None], tasks: "set[asyncio.Task[None]]"
    ) -> "asyncio.Task[None]":
        task = self._tasks.start_task(coroutine)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    async def _ask(self, route: Route, send: Send) -> None:
        outgoing = route.outgoing
        assert self._sender is not None
        try:
            answer = await self._sender.append(send.shard, send.batch)
        except CallboardError as error:
            is_refusal = isinstance(error, HandlerFailed) or not isinstance(error, AskError)
            outgoing.fail(send, self._loop.time(), is_refusal=is_refusal)
            self._note_failure(send.shard, error)
            self._pressure.set()  # The loop sets its timer again.
            return
        self._failing_since_s = math.inf
        outgoing.accept(send, answer, self._loop.time())
        self._pump(route)
        self._changed.set()
        self._changed.clear()
        self._meter.room_changed()

    def _note_failure(self, shard: int, error: CallboardError) -> None:
        """Warn once of failures that last; aggregators that start, move or stop need no warning."""
        now_s = self._loop.time()
        self._failing_since_s = min(self._failing_since_s, now_s)
        if now_s - self._failing_since_s < WARN_S or self._has_warned:
            return
        self._has_warned = True
        LOGGER.warning(
            "shard %d of metrics has taken no points of %s for %d s; they are kept, and sent "
            "again: %s",
            shard, self._name, int(now_s - self._failing_since_s), error,
        )  # fmt: skip

    # --- user sources -------------------------------------------------------------------------

    def add_source(self, source: PointSource) -> Callable[[], None]:
        """Pull from a source from now on; returns a function that ends this.

        Raises `UsageError` for a name that is in use, and for too many sources.
        """
        if self._sender is None or source.name in self._routes or len(self._routes) >= SOURCES_MAX:
            raise UsageError(
                f"source {source.name!r} cannot be added to {self._instance}: the name is in use, "
                f"or there are {SOURCES_MAX} sources, or metrics are off.",
                advice="Turn metrics on, and give each source a name of its own.",
            )
        self._added += 1  # Its numbers begin at 0: no earlier source may have had its name.
        name = f"{self._name}/{source.name}/{self._added}"
        route = Route(source.kind, name, self._instance, self._options)
        self._routes[source.name] = route
        task = self._start(self._pull(source, route), self._running)

        def end() -> None:
            if self._routes.get(source.name) is route:
                task.cancel()
                self._let_end(source.name)

        return end

    def _let_end(self, name: str) -> None:
        """A source gives no more: forget it once all its points are accepted or dropped."""
        self._ending.add(name)
        self._forget_ended()

    def _forget_ended(self) -> None:
        for name in tuple(self._ending):
            route = self._routes[name]
            if not route.outgoing.kept:
                self._ending.discard(name)
                self._past.update(_counts_of(self._routes.pop(name)))

    async def _pull(self, source: PointSource, route: Route) -> None:
        newest_ns = 0
        while True:
            try:
                async for columns in source.columns():
                    newest_ns = self._take(route, columns, newest_ns)
                    await asyncio.sleep(0)  # A source may never wait.
                    while not route.outgoing.has_room:
                        self._changed.clear()
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(ROOM_WAIT_S):
                                await self._changed.wait()
            except Exception as error:  # noqa: BLE001 - a source is a user's
                self.source_failures += 1
                LOGGER.warning("source %s of metrics begins again: %r", source.name, error)
                await asyncio.sleep(SOURCE_PAUSE_S)
            else:
                self._let_end(source.name)
                return

    def _take(self, route: Route, columns: PointColumns, newest_ns: int) -> int:
        now_ns, columns = int(self._wall_time() * 1e9), checked_columns(columns)
        for begin in range(0, columns.points, PART_POINTS):
            route.give(columns.part(begin, begin + PART_POINTS), now_ns)
        if columns.points:
            newest_ns = max(newest_ns, min(now_ns, int(columns.times_ns.max())))
            route.outgoing.advance(newest_ns)
        self._pump(route)
        return newest_ns

    # --- the end ------------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> int:
        """Flush, and wait until all is accepted or the time is over; gives what is left."""
        until_s = self._loop.time() + timeout_s
        await self.flush()
        while (left := sum(route.outgoing.kept for route in self._all_routes())) and (
            wait_s := until_s - self._loop.time()
        ) > 0.0:
            if self._asks:
                await asyncio.wait(self._asks, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            else:
                again_s = min(
                    route.outgoing.next_s(self._loop.time()) for route in self._all_routes()
                )
                await asyncio.sleep(max(0.0, min(wait_s, again_s - self._loop.time())))
            for route in self._all_routes():
                self._pump(route)
        return left

    def stop(self) -> None:
        """Record nothing from now on."""
        self._meter.stop()
        for task in (*self._running, *self._asks):
            task.cancel()

    # --- figures ------------------------------------------------------------------------------

    def statistics(self) -> Mapping[str, float]:
        """The figures of this host's recording, by name."""
        routes, counts = self._all_routes(), Counter(self._past)
        for route in routes:
            counts.update(_counts_of(route))
        return {
            **self._meter.statistics(),
            "accepted": 0.0,
            "retries": 0.0,
            **counts,
            "kept": float(sum(route.outgoing.kept for route in routes)),
            "unsent_bytes": float(sum(route.outgoing.unsent_bytes for route in routes)),
            "source_failures": float(self.source_failures),
            "flush_failures": float(self.flush_failures),
        }


def _counts_of(route: Route) -> dict[str, float]:
    """What a route has counted, by the names of `Collector.statistics`."""
    outgoing = route.outgoing
    return {
        "accepted": float(outgoing.accepted),
        "retries": float(outgoing.retries),
        **{f"dropped_{reason}": float(count) for reason, count in outgoing.dropped.items()},
        **{
            f"dropped_{stage}_{reason}": float(count)
            for stage, account in route.stages.accounts.items()
            for reason, count in account.dropped.items()
        },
    }
