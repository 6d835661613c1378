"""The world alone: its clock, its random draws, its processes and their faults."""

import asyncio
from collections.abc import Iterator

import pytest

from callboard.messages.core.errors import HostLost, UsageError
from callboard.runtime.testing.loop import SimulatedLoop
from callboard.runtime.testing.world import World, WorldStuck


@pytest.fixture
def world() -> Iterator[World]:
    made = World(seed=1)
    yield made
    made.close()


def test_an_event_that_never_comes_is_an_error_and_no_hang(world: World) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(WorldStuck, match="no event is left"):
        world.run(main())


def test_an_endless_loop_is_an_error(world: World) -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110 - the endless loop under test
            await asyncio.sleep(0)

    with pytest.raises(WorldStuck, match="steps"):
        world.run(main())


def test_a_loop_does_not_run_by_itself(world: World) -> None:
    with pytest.raises(UsageError):
        world.driver.run_forever()


def test_an_error_of_main_is_raised(world: World) -> None:
    async def main() -> None:
        raise HostLost("gone")

    with pytest.raises(HostLost):
        world.run(main())


def test_ten_minutes_pass_at_once(world: World) -> None:
    async def main() -> float:
        await asyncio.sleep(600.0)
        return asyncio.get_running_loop().time()

    assert world.run(main()) == 600.0
    assert world.steps < 10


def test_a_timer_sees_its_own_time_on_every_clock(world: World) -> None:
    seen: list[tuple[float, float]] = []

    def record(due_s: float, loop: SimulatedLoop) -> None:
        seen.append((due_s, loop.time()))

    for number in range(200):
        loop = SimulatedLoop(
            world, f"p{number}", rate=0.9 + world.random.random() / 5, offset_s=number * 3.7
        )
        due_s = loop.time() + world.random.random()
        loop.call_at(due_s, record, due_s, loop)
    world.advance(2.0)
    assert len(seen) == 200
    assert all(due_s <= now_s <= due_s + 1e-6 for due_s, now_s in seen)


def test_callbacks_of_one_loop_keep_their_order_and_those_of_two_do_not() -> None:
    orders = set()
    for seed in range(20):
        world = World(seed=seed)
        loops = [SimulatedLoop(world, name) for name in "ab"]
        seen: list[str] = []
        for number in range(4):
            for loop in loops:
                loop.call_soon(seen.append, f"{loop.name}{number}")
        world.advance(0.0)
        for name in "ab":
            assert [text for text in seen if text[0] == name] == [f"{name}{n}" for n in range(4)]
        orders.add("".join(text[0] for text in seen))
        world.close()
    assert len(orders) > 5


def test_a_dead_process_takes_no_step_and_leaves_no_warning(world: World) -> None:
    seen: list[str] = []
    loop = SimulatedLoop(world, "p")

    async def sleep_and_note() -> None:
        try:
            await asyncio.sleep(1.0)
            seen.append("woken")
        finally:
            seen.append("closed")

    async def never_begun() -> None:
        seen.append("begun")

    _ = loop.create_task(sleep_and_note())
    world.advance(0.5)
    _ = loop.create_task(never_begun())
    loop.die()
    world.advance(5.0)
    assert seen == []
    world.close()
    assert seen == ["closed"]


def test_a_hanging_process_does_everything_later(world: World) -> None:
    loop = SimulatedLoop(world, "p")
    seen: list[float] = []
    loop.call_later(1.0, lambda: seen.append(world.now_s))
    world.pause(loop, 3.0)
    world.advance(5.0)
    assert seen == [3.0]


def test_each_step_of_a_slow_process_takes_its_time(world: World) -> None:
    loop = SimulatedLoop(world, "p")
    loop.step_cost_s = 0.25
    seen: list[float] = []
    for _ in range(4):
        loop.call_soon(lambda: seen.append(world.now_s))
    world.advance(5.0)
    assert seen == [0.0, 0.25, 0.5, 0.75]


def test_a_cancelled_timer_does_not_fire(world: World) -> None:
    seen: list[int] = []
    world.driver.call_later(1.0, seen.append, 1).cancel()
    world.advance(2.0)
    assert seen == []


def test_a_function_for_a_thread_runs_in_a_step(world: World) -> None:
    def compute(number: int) -> int:
        if number < 0:
            raise ValueError(number)
        return number * 2

    async def main() -> int:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="-1"):
            await loop.run_in_executor(None, compute, -1)
        return await loop.run_in_executor(None, compute, 21)

    assert world.run(main()) == 42


def test_an_error_of_a_callback_is_recorded(world: World) -> None:
    world.driver.call_soon(lambda: 1 / 0)
    world.advance(0.0)
    assert "ZeroDivisionError" in world.driver.errors[0]
