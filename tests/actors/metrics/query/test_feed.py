"""The feed of a page: columns that JSON can carry, and a place to go on from."""

import json

from callboard.actors.metrics.query.feed import newest_windows
from callboard.actors.metrics.query.readers import MemoryWindows
from callboard.actors.metrics.rows import WindowFlag
from callboard.actors.metrics.series import MetricKind
from tests.actors.metrics.query.points import MINUTE_NS, START_NS, Point, key, store, window


async def test_each_series_has_columns() -> None:
    took = key("took", MetricKind.OBSERVATION, job="a")
    reader = store([Point(took, START_NS + n * MINUTE_NS, 2.0) for n in range(5)])
    found = await newest_windows(reader, (), MINUTE_NS, START_NS + MINUTE_NS)
    (series,) = found["series"]
    assert (series["name"], series["kind"], series["tags"]) == ("took", "observation", {"job": "a"})
    assert series["start_s"] == [START_NS // 10**9 + 60 * n for n in range(1, 5)]
    assert series["avg"] == [2.0] * 4
    assert series["last"] == [None] * 4
    assert series["open"] == [False] * 4
    assert found["next_from_ns"] == START_NS + MINUTE_NS
    assert found["width_s"] == 60
    json.dumps(found, allow_nan=False)


async def test_open_windows_come_again() -> None:
    heat = key("heat")
    points = [Point(heat, START_NS + 10 * MINUTE_NS, 1.0)]
    reader = MemoryWindows(
        [window(heat, START_NS + 10 * MINUTE_NS, MINUTE_NS, points, flags=WindowFlag.OPEN)]
    )
    first = await newest_windows(reader, (), MINUTE_NS, START_NS)
    assert first["series"][0]["open"] == [True]
    again = await newest_windows(reader, (), MINUTE_NS, first["next_from_ns"])
    assert again["series"] == first["series"]


async def test_nothing_is_an_answer() -> None:
    found = await newest_windows(MemoryWindows(), (), MINUTE_NS, START_NS)
    assert found == {"width_s": 60, "series": [], "next_from_ns": START_NS}
