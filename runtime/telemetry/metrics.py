"""The metrics of a host, and their publisher.

Metrics are for graphs and alarms over days, so their number must not grow with the age of the
system. A host's label is its name, which its next incarnation has too. Some metrics have one more
label with a closed set of values. No label names an actor or an execution.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.inspection.metric_sources import Name
from callboard.actors.kernel.inspection.views import measure_mailboxes
from callboard.messages.ports import MetricSink

from .names import METRICS, Kind

__all__ = ["Publisher", "Sinks", "figures_of"]

LOGGER: Final = logging.getLogger("callboard.metrics")


async def figures_of(host: Host) -> dict[str, float]:
    """The present metrics of a host that are measured, without those of its sources."""
    depths = await measure_mailboxes(host)
    meters, links = host.meters, list(host.links.values())
    figures: dict[str, float | None] = {
        "callboard_actors": len(host.cells) - 1,
        "callboard_mailbox_messages": depths.total,
        "callboard_mailbox_messages_max": depths.deepest,
        "callboard_pending_asks": len(host.pending),
        "callboard_loop_lag_seconds": meters.lag.mean_s(),
        "callboard_loop_lag_seconds_max": meters.lag.max_s(),
        "callboard_threads_hung": len(host.dispatcher.threads.hung),
        "callboard_threads_refused": host.dispatcher.threads.refused,
        "callboard_messages_handled": host.dispatcher.handled,
        "callboard_restarts": meters.restarts,
        "callboard_deaths": meters.ended_actors.deaths,
        "callboard_dead_letters": sum(host.dead_letters.counts.values()),
        "callboard_frames_sent": sum(link.frames_out for link in links),
        "callboard_frames_received": sum(link.frames_in for link in links),
        "callboard_frames_resent": sum(link.frames_resent for link in links),
        "callboard_bytes_sent": sum(link.bytes_out for link in links),
        "callboard_bytes_received": sum(link.bytes_in for link in links),
    }
    return {name: value for name, value in figures.items() if value is not None}


class Sinks:
    """Several sinks as one: each gets every figure. One that raises keeps none from the others."""

    def __init__(self, sinks: Sequence[MetricSink]) -> None:
        self._sinks: Final = tuple(sinks)

    def gauge(self, name: str, value: float, label: str = "") -> None:
        """See `MetricSink`."""
        self._give(lambda sink: sink.gauge(name, value, label))

    def count(self, name: str, increase: float, label: str = "") -> None:
        """See `MetricSink`."""
        self._give(lambda sink: sink.count(name, increase, label))

    def _give(self, give: Callable[[MetricSink], None]) -> None:
        failure: Exception | None = None
        for sink in self._sinks:
            try:
                give(sink)
            except Exception as error:  # noqa: BLE001 - raised below
                failure = error
        if failure is not None:
            raise failure


class Publisher:
    """Publishes the metrics of one host, until the host ends."""

    def __init__(self, host: Host, sink: MetricSink, every_s: float) -> None:
        self._host = host
        self._sink = sink
        self._every_s = every_s
        self._before: dict[Name, float] = {}
        self._gauges: set[Name] = set()
        """The gauges of the last reading."""
        self._is_broken = False

    def start(self) -> None:
        """Start publishing; it ends with the host."""
        self._host.run_task(self._run())

    async def _run(self) -> None:
        while True:
            await self.publish()
            await asyncio.sleep(self._every_s)

    async def publish(self) -> None:
        """Give the present figures to the sink; log the first of several failures in a row."""
        figures = await figures_of(self._host)
        try:
            for metric, value in figures.items():
                self._publish_one(Name(metric), value)
            counts, gauges = self._host.meters.instruments.read()
            for name in self._gauges - gauges.keys():
                self._sink.gauge(name.metric, 0.0, name.label)  # Or its last value would stay.
            self._gauges = set(gauges)
            for name, value in (*counts.items(), *gauges.items()):
                self._publish_one(name, value)
        except Exception as error:  # noqa: BLE001 - a failing sink must not hurt the host
            if not self._is_broken:
                LOGGER.warning("metrics of %s cannot be published: %r", self._host.name, error)
            self._is_broken = True
        else:
            self._is_broken = False

    def _publish_one(self, name: Name, value: float) -> None:
        if METRICS[name.metric].kind is Kind.GAUGE:
            self._sink.gauge(name.metric, value, name.label)
            return
        increase = value - self._before.get(name, 0.0)
        # A counter without an increase exists with the value 0.
        if increase > 0.0 or name not in self._before:
            self._sink.count(name.metric, increase, name.label)
        self._before[name] = value
