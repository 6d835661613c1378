"""Aggregators whose hosts are killed with -9 at full load: each point counts exactly once."""

import asyncio
import logging
import os
import random
import signal
import time
from pathlib import Path
from typing import Any, Final

import cloudpickle
import pytest

from callboard import System, start
from callboard.actors.metrics.rows import WINDOWS_NS
from callboard.runtime.api.inside import root_of

from . import point_load
from .point_load import PointLoad, points_in

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]

LOGGER: Final = logging.getLogger(__name__)
SHARDS: Final = 4
BATCH_POINTS: Final = 5_000
DEADLINE_S: Final = 60.0


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
    """The seconds until every shard has acknowledged something new."""
    before, began_s = [load.acknowledged for load in loads], time.monotonic()
    async with asyncio.timeout(DEADLINE_S):
        while any(load.acknowledged <= had for load, had in zip(loads, before, strict=True)):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return time.monotonic() - began_s


async def under_kills(path: Path, kills: int) -> list[float]:
    """Kill hosts while points come, and check that each counts once; gives the gaps."""
    cloudpickle.register_pickle_by_value(point_load)
    draw = random.Random(1)
    async with start(
        engine="ray", name="aggregates", hosts=2, journal="off", metrics=str(path)
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
    LOGGER.info("kills: %s s, points: %s", gaps, [load.acknowledged for load in loads])
    return gaps


async def test_killed_aggregators_lose_no_acknowledged_point_and_count_none_twice(
    tmp_path: Path,
) -> None:
    await under_kills(tmp_path / "windows.db", 3)


@pytest.mark.soak
async def test_fifty_killed_aggregators(tmp_path: Path) -> None:
    await under_kills(tmp_path / "windows.db", 50)
