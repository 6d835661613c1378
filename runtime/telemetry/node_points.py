"""The metrics of a node as points: a source that the host feeds which serves the node's endpoint.

So each node is measured once, though it has several hosts.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from callboard.actors.kernel.inspection.metric_sources import Name, Reading
from callboard.actors.metrics.points import SourceKind
from callboard.actors.metrics.recording.columns import PointColumns
from callboard.actors.metrics.recording.resets import CounterResets
from callboard.actors.metrics.series import MetricKind
from callboard.messages.core.errors import UsageError

from .intake.received import IntakeLimits, Received
from .names import METRICS, Kind, exposed_name
from .node import read_node

__all__ = ["NodeSource"]

EVERY_S: Final = 15.0
IDLE_S: Final = 1.0
"""How soon a host measures its node after it has begun to serve."""


class NodeSource:
    """A `PointSource` of the metrics of this node, while `is_serving` says so."""

    kind: Final = SourceKind.SYSTEM

    def __init__(
        self,
        node: str,
        is_serving: Callable[[], bool],
        *,
        every_s: float = EVERY_S,
        read: Callable[[], Reading] = read_node,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if not every_s > 0.0:
            raise UsageError(f"node {node!r}: every_s is {every_s!r}.", advice="Use over 0.")
        self.name: Final = f"node-{node}"
        self._tags: Final = {"instance": node}  # Of the node, whichever of its hosts serves.
        self._is_serving = is_serving
        self._every_s: Final = every_s
        self._read = read
        self._now_ns = now_ns
        self._resets: Final = CounterResets()

    async def columns(self) -> AsyncIterator[PointColumns]:
        """The points of each reading."""
        while True:
            is_serving = self._is_serving()
            if is_serving:
                yield self._points_of(await asyncio.to_thread(self._read))
            await asyncio.sleep(self._every_s if is_serving else min(self._every_s, IDLE_S))

    def _points_of(self, reading: Reading) -> PointColumns:
        received, now_ns = Received(IntakeLimits()), self._now_ns()
        for name, value in (*reading.counts.items(), *reading.gauges.items()):
            is_counter = METRICS[name.metric].kind is Kind.COUNTER
            received.add(
                MetricKind.COUNTER if is_counter else MetricKind.GAUGE,
                exposed_name(name.metric),
                {**self._tags, **_label(name)},
                now_ns,
                value,
                is_cumulative=is_counter,
            )
        return received.columns(self.name, self._resets)


def _label(name: Name) -> dict[str, str]:
    return {METRICS[name.metric].label: name.label} if name.label else {}
