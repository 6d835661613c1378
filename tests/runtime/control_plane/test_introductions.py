"""Introductions: one call at a time to each host, and what waits travels together."""

import asyncio
import itertools
from collections.abc import Coroutine, Mapping
from typing import Any, cast

from callboard.messages.core.errors import HostLost
from callboard.messages.ports import HostProcess
from callboard.runtime.control_plane.introductions import Introductions
from callboard.runtime.testing.world import World

CALL_S = 0.01


class Process:
    """Takes introductions, each in some time."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.calls: list[tuple[float, list[int], bool]] = []
        self.fails = False

    async def connect(
        self, peers: Mapping[int, tuple[int, HostProcess]], *, is_open: bool = True
    ) -> None:
        self.calls.append((asyncio.get_running_loop().time(), sorted(peers), is_open))
        await asyncio.sleep(CALL_S)
        if self.fails:
            raise HostLost("it is gone")


def introducing(*processes: Process, until_s: float = 1.0) -> list[Process]:
    """Introduce the slots 2 to 9 to these processes, one after another."""
    world = World(1)
    tasks: list[asyncio.Task[None]] = []

    def run_task(coroutine: Coroutine[Any, Any, None]) -> None:
        tasks.append(world.driver.create_task(coroutine))

    async def main() -> None:
        made = Introductions(run_task, world.driver.time)
        to = cast("list[HostProcess]", processes)
        for slot in range(2, 10):
            peer = cast("HostProcess", Process())
            made.introduce(slot, 1, peer, to, is_open=False)
            made.introduce(slot, 1, peer, to, is_open=True)
            await asyncio.sleep(CALL_S / 4)
        await asyncio.sleep(until_s)
        assert not made._waiting, "nothing is kept of what is done"

    world.run(main())
    world.close()
    return list(processes)


def test_each_process_learns_of_every_slot_in_few_calls() -> None:
    for process in introducing(Process(), Process()):
        learned = [slot for _, slots, _ in process.calls for slot in slots]
        assert sorted(learned) == list(range(2, 10))
        assert all(is_open for _, _, is_open in process.calls), "the newest state is what counts"
        assert len(process.calls) == 2


def test_the_first_call_leaves_at_once_and_each_is_followed_by_a_pause() -> None:
    [process] = introducing(Process())
    times = [at_s for at_s, _, _ in process.calls]
    assert times[0] == 0.0
    assert all(b - a >= 2 * CALL_S for a, b in itertools.pairwise(times))


def test_a_host_that_is_gone_keeps_none_of_the_others_waiting() -> None:
    gone, other = Process(), Process()
    gone.fails = True
    introducing(gone, other)
    assert sorted(slot for _, slots, _ in other.calls for slot in slots) == list(range(2, 10))
