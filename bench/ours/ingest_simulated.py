"""The simulated part of `ingest`: many hosts and a few shards in one process, on one core.

Hosts run their stages and their cores, messages are encoded as links encode them, and shards apply
and commit each second; nothing travels, and nothing is written.
"""

import time
from dataclasses import replace
from typing import Any, Final

import numpy as np

from bench.recording import SERIES, column_of
from bench.timing import timed
from callboard.actors.metrics.points import AppendPoints, PointsAccepted, SourceKind
from callboard.actors.metrics.recording.columns import PointColumns
from callboard.actors.metrics.recording.options import RecordingOptions
from callboard.actors.metrics.recording.routes import Route
from callboard.actors.metrics.series import MetricKind, series_key
from callboard.actors.metrics.windows.core import ShardWindows
from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import ContractRegistry

__all__ = ["simulate"]

POINTS: Final = 10_000
"""Points of one host in a second: ten of each series."""
SECOND_NS: Final = 1_000_000_000
NAME: Final = "bench_seconds"


def simulate(hosts: int, shards: int, seconds: int) -> dict[str, float]:
    """The figures for so many hosts that record for so many seconds."""
    options = RecordingOptions(shards=shards)
    registry = ContractRegistry()
    codec = Codec(registry)
    registry.learn(AppendPoints)
    routes = [Route(SourceKind.SERVICE, f"{n}", f"host-{n}", options) for n in range(hosts)]
    windows = [ShardWindows() for _ in range(shards)]
    series = tuple(
        series_key(MetricKind.OBSERVATION, NAME, {"series": str(number)})
        for number in range(SERIES)
    )
    which, values = column_of(POINTS)
    columns = PointColumns(series, which.astype(np.int32), np.zeros(POINTS, np.int64), values)

    def second(now_ns: int) -> int:
        """All hosts and shards once; gives the bytes."""
        found = 0
        for route in routes:
            route.give(replace(columns, times_ns=np.full(POINTS, now_ns - 1)), now_ns)
            route.outgoing.advance(now_ns)
            found += _deliver(route, windows, codec, now_ns)
        for shard in windows:
            shard.take_commit(now_ns)
        return found

    begun_ns, sent_bytes = time.time_ns(), 0
    with timed() as defining:  # The first second has the definitions of all series.
        definition_bytes = second(begun_ns)
    with timed() as stopwatch:
        for number in range(1, seconds):
            sent_bytes += second(begun_ns + number * SECOND_NS)
    points = hosts * POINTS * seconds
    counted = sum(shard.statistics().accounts.counted for shard in windows)
    assert counted == points, (counted, points)
    later = points - hosts * POINTS
    return {
        f"simulated_{hosts}_hosts_points_per_s": stopwatch.per_s(later),
        f"count_messages_each_second_{hosts}_hosts": float(hosts * shards),
        f"bytes_per_point_{hosts}_hosts_simulated": sent_bytes / later,
        f"bytes_per_new_series_{hosts}_hosts_simulated": (
            (definition_bytes - sent_bytes / (seconds - 1)) / (hosts * SERIES)
        ),
        f"simulated_{hosts}_hosts_new_series_per_s": defining.per_s(hosts * SERIES),
    }


def _deliver(route: Route, windows: list[ShardWindows], codec: Codec, now_ns: int) -> int:
    """Bring what is due to the shards, and their answers back; gives the bytes."""
    sent_bytes = 0
    while sends := tuple(route.outgoing.due(0.0)):
        for send in sends:
            body, buffers = codec.encode(AppendPoints(shard=send.shard, batch=send.batch))
            sent_bytes += len(body) + sum(_size(buffer) for buffer in buffers)
            shard = windows[send.shard]
            applied = shard.apply(send.batch, now_ns)
            assert applied.refusal is None
            answer: PointsAccepted = shard.accepted(send.batch.source)
            route.outgoing.accept(send, answer, 0.0)
    return sent_bytes


def _size(buffer: Any) -> int:
    return memoryview(buffer).nbytes
