"""A store of metrics that was written with another number of shards."""

from pathlib import Path
from typing import Any

import pytest

import callboard
from callboard.actors.metrics.recording.options import RecordingOptions
from callboard.actors.metrics.series import Matcher, MatcherKind

ALWAYS = (-(2**62), 2**62)
WORK = [Matcher("__name__", MatcherKind.IS, "work_total")]


async def counted(system: Any) -> dict[str, float]:
    rows = await system.metrics.reader.windows(WORK, 60 * 10**9, *ALWAYS, 10_000)
    found: dict[str, float] = {}
    for row in range(len(rows)):
        n = rows.series[rows.series_index[row]].tag("n")
        found[n] = found.get(n, 0.0) + float(rows.sums[row])
    return found


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 2)])
async def test_what_another_number_of_shards_has_written_stays(
    tmp_path: Path, before: int, after: int
) -> None:
    path = str(tmp_path / "windows.db")
    found: dict[str, float] = {}
    for round_number, shards in enumerate((before, after)):
        async with callboard.start(
            engine="inline", hosts=2, metrics=path, recording=RecordingOptions(shards=shards)
        ) as system:
            for n in range(20):
                system.meter.count("work_total", n=f"{round_number}.{n}")
            assert await system.metrics.flush() == 0
            # All shards of the store run: those without new points close what is open.
            figures = await system.metrics.figures()
            assert [each.shard for each in figures] == [*range(max(shards, before))]
            found = await counted(system)
    assert found == {f"{number}.{n}": 1.0 for number in range(2) for n in range(20)}
