"""The recorder: recording's part of one host. It has the meter, and the collector once it begins.

    recorder = Recorder(host, meter, name=...)      # the wiring makes it with the host
    recorder.begin(options)                         # from now on points are recorded
    await host.ask(control, FlushRecording())       # before an ordered stop, from anywhere

Aggregators are asked by their contract: the directory knows where the shard of a series is.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import UsageError

from ...kernel.actor import handler
from ...kernel.cell import Cell
from ...kernel.host.extension import Extension
from ...kernel.inspection.metric_sources import Name, Reading
from ...kernel.inspection.steps import StepMeter
from ...kernel.ports import RoleHost
from ..points import AppendPoints, PointBatch, PointsAccepted
from .collector import Collector, ShardSender, Tap
from .meter import HostMeter
from .options import RecordingOptions
from .sources import PointSource

__all__ = ["FlushRecording", "Recorder", "RecordingFlushed"]

FLUSH_S: Final = 5.0
"""How long a flush waits for the aggregators unless its caller says otherwise."""
FLUSH_S_MAX: Final = 60.0
STOPPING_S: Final = 1.0
"""How long an ordered stop of the host waits for the aggregators."""


class RecordingFlushed(Contract, name="callboard.recording_flushed"):
    """The outcome of a flush."""

    left: int
    """Points that no aggregator has accepted in time; they stay, and are sent again."""


class FlushRecording(Request[RecordingFlushed], name="callboard.flush_recording"):
    """Bring all points that the host has to their aggregators."""

    timeout_s: float = FLUSH_S


class AskShards:
    """The `ShardSender` that asks the aggregators."""

    def __init__(self, host: RoleHost[Cell], timeout_s: float) -> None:
        self._host = host
        self._timeout_s = timeout_s

    async def append(self, shard: int, batch: PointBatch) -> PointsAccepted:
        """See `ShardSender`."""
        request = AppendPoints(shard=shard, batch=batch)
        return await self._host.ask(None, request, self._timeout_s)


class Recorder(Extension):
    """Records the points of one host."""

    def __init__(
        self,
        host: RoleHost[Cell],
        meter: HostMeter,
        *,
        name: str,
        instance: str,
        wall_time: Callable[[], float] = time.time,
    ) -> None:
        """`name` is unique for this incarnation of the host; `instance` is the host's name."""
        self._host: Final = host
        self._meter: Final = meter
        self._name: Final = name
        self._instance: Final = instance
        self._wall_time: Final = wall_time
        self._collector: Collector | None = None
        self._end_measuring: Callable[[], None] | None = None

    def begin(
        self,
        options: RecordingOptions | None,
        sender: ShardSender | None = None,
        *,
        taps: Sequence[Tap] = (),
    ) -> None:
        """Record from now on; without a sender, the aggregators of the directory are asked.

        Each of `taps` gets the columns of each flush. Without options, only they do.
        """
        assert self._collector is None, "a host records once"
        if options is not None and sender is None:
            sender = AskShards(self._host, options.timeout_s)
        collector = self._collector = Collector(
            self._host,
            self._meter,
            sender,
            options or RecordingOptions(),
            name=self._name,
            instance=self._instance,
            wall_time=self._wall_time,
            taps=taps,
        )
        self._host.dispatcher.steps = StepMeter(self._meter, self._host.now)
        self._end_measuring = self._host.instruments.add(self.reading)
        collector.start()

    def add_source(self, source: PointSource) -> Callable[[], None]:
        """Pull the points of a source, from now on; returns a function that ends this.

        A source with a method `reading` is a metric source as well. Raises `UsageError` on a host
        that records nothing, and for a name that is in use.
        """
        if self._collector is None:
            raise UsageError(
                f"host {self._instance} records no metrics.", advice="Turn metrics on."
            )
        end = self._collector.add_source(source)
        reading = getattr(source, "reading", None)
        if reading is None:
            return end
        end_measuring = self._host.instruments.add(reading)

        def end_both() -> None:
            end()
            end_measuring()

        return end_both

    @handler
    async def flush(self, request: FlushRecording) -> RecordingFlushed:
        """Bring all points to the aggregators, within a deadline."""
        if self._collector is None:
            return RecordingFlushed(left=0)
        timeout_s = min(max(0.0, request.timeout_s), FLUSH_S_MAX)
        return RecordingFlushed(left=await self._collector.drain(timeout_s))

    def statistics(self) -> Mapping[str, float]:
        """The figures of the host's recording; those of the meter alone while it is off."""
        if self._collector is None:
            return self._meter.statistics()
        return self._collector.statistics()

    def reading(self) -> Reading:
        """The same as metrics."""
        figures = self.statistics()
        dropped = {
            Name("callboard_points_dropped", name.removeprefix("dropped_")): count
            for name, count in figures.items()
            if name.startswith("dropped_")
        }
        return Reading(
            {
                Name("callboard_points_recorded"): figures["taken"],
                Name("callboard_points_accepted"): figures.get("accepted", 0.0),
                Name("callboard_point_batches_repeated"): figures.get("retries", 0.0),
                Name("callboard_series_idle_forgotten"): figures["series_forgotten"],
                Name("callboard_point_source_failures"): figures.get("source_failures", 0.0),
                **dropped,
            },
            {
                Name("callboard_points_waiting"): figures["waiting"] + figures.get("kept", 0.0),
                Name("callboard_series_recorded"): figures["series"],
            },
        )

    async def stopping(self) -> None:
        """Bring what is left to the aggregators, if they still run."""
        directory = self._host.directory
        if self._collector is not None and directory.offers(AppendPoints.contract_name):
            await self._collector.drain(STOPPING_S)

    def close(self) -> None:
        """See `Extension`."""
        if self._end_measuring is not None:
            self._end_measuring()
        if self._collector is not None:
            self._host.dispatcher.steps = None
            self._collector.stop()
            self._collector = None
