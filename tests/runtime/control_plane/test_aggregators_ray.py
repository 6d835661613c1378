"""Aggregators whose hosts are killed with -9 at full load: each point counts exactly once."""

import asyncio
import os
import random
import signal
import statistics
import time
from pathlib import Path
from typing import Any, Final

import cloudpickle
import pytest

from callboard import System, start
from callboard.actors.metrics.rows import WINDOWS_NS
from callboard.messages.control.spec import Backoff, Intensity, SupervisorSpec
from callboard.runtime.api.inside import root_of

from . import point_load
from .point_load import PointLoad, points_in

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]

SHARDS: Final = 4
BATCH_POINTS: Final = 5_000
DEADLINE_S: Final = 60.0
BACK_S: Final = 1.0
"""The time from kill -9 until all shards acknowledge again, on a machine that does nothing else."""

KILLED_OFTEN: Final = SupervisorSpec(
    intensity=Intensity(restarts=1_000, period_s=30.0), backoff=Backoff(max_s=0.0)
)
"""A host that is killed every second else waits longer each time before it comes back."""


async def killed(system: System, slot: int) -> None:
    process: Any = root_of(system).table.slots[slot].process
    await process.ping()
    os.kill(int(process.pid), signal.SIGKILL)


async def until_a_standby_is_ready(system: System) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = (await system.view(actors_max=0)).standby_processes
            if any(standby.is_ready for standby in found):
                return
            await asyncio.sleep(0.02)


async def until_all_go_on(loads: list[PointLoad]) -> float:
    """The seconds until every shard has acknowledged a batch that was sent from now on.

    A load has one batch under way: the second answer from now on is for a batch of now.
    """
    before, began_s = [load.answers for load in loads], time.monotonic()
    async with asyncio.timeout(DEADLINE_S):
        while any(load.answers < had + 2 for load, had in zip(loads, before, strict=True)):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return time.monotonic() - began_s


async def under_kills(path: Path, kills: int) -> list[float]:
    """Kill hosts while points come, and check that each counts once; gives the gaps."""
    cloudpickle.register_pickle_by_value(point_load)
    draw = random.Random(1)
    async with start(
        engine="ray",
        name="aggregates",
        hosts=2,
        journal="off",
        metrics=str(path),
        host_supervision=KILLED_OFTEN,
    ) as system:
        loads = [PointLoad(system, shard, BATCH_POINTS) for shard in range(SHARDS)]
        running = [asyncio.create_task(load.run()) for load in loads]
        await until_all_go_on(loads)
        gaps = []
        for number in range(kills):
            await until_a_standby_is_ready(system)
            await killed(system, 1 + number % 2)
            gaps.append(await until_all_go_on(loads))
            await asyncio.sleep(0.5 * draw.random())
            await until_all_go_on(loads)
        for load in loads:
            load.stop()
        await asyncio.gather(*running)
        for load in loads:
            assert await points_in(system, load.shard) == dict.fromkeys(
                WINDOWS_NS, load.acknowledged
            )
    print(  # noqa: T201 - the times are what the soak is read for
        f"{kills} kills: back within {max(gaps):.3f} s, median {statistics.median(gaps):.3f} s; "
        f"{sum(load.acknowledged for load in loads):,} points\n{[round(gap, 3) for gap in gaps]}"
    )
    return gaps


async def test_killed_aggregators_lose_no_acknowledged_point_and_count_none_twice(
    tmp_path: Path,
) -> None:
    await under_kills(tmp_path / "windows.db", 3)


@pytest.mark.soak
@pytest.mark.parametrize("kills", [10, 50])
async def test_killed_aggregators_are_back_within_a_second(tmp_path: Path, kills: int) -> None:
    assert max(await under_kills(tmp_path / "windows.db", kills)) < BACK_S
