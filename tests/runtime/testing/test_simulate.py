"""Simulated scenarios: virtual time, seeds that replay, faults as data."""

import inspect
from random import Random

import pytest

from callboard.messages.core.errors import SpecError, UsageError
from callboard.testing import (
    Crash,
    Cut,
    FailStarts,
    FaultPlan,
    Hang,
    Simulation,
    Slow,
    Storm,
    simulate,
    simulated,
)

from .fixture_actors import Counter, Next

HOUR_S = 3_600.0


async def _count(sim: Simulation) -> list[int]:
    counter = await sim.system.spawn(Counter, host=1)
    return [(await counter.ask(Next())).number for _ in range(5)]


def test_a_scenario_gives_its_result() -> None:
    assert simulate(_count, seed=3) == [1, 2, 3, 4, 5]


async def _fails(sim: Simulation) -> None:
    await _count(sim)
    sim.crash(1)
    raise ValueError("as planned")


def _note(seed: int) -> str:
    with pytest.raises(ValueError, match="as planned") as caught:
        simulate(_fails, seed=seed)
    return str(caught.value.__notes__[-1])


def test_a_failure_carries_its_trace_and_replays() -> None:
    first = _note(5)
    assert "seed=5" in first
    assert "crashes" in first
    assert first == _note(5), "the same seed is the same run, to the last step"
    assert first != _note(6)


def test_a_scenario_has_a_limit_in_virtual_time() -> None:
    async def sleeps(sim: Simulation) -> None:
        await sim.advance(2 * HOUR_S)

    simulate(sleeps)
    with pytest.raises(TimeoutError):
        simulate(sleeps, limit_s=HOUR_S)


async def test_no_simulation_inside_a_running_loop() -> None:
    with pytest.raises(UsageError, match="cannot run inside another one"):
        simulate(_count)


def test_a_decorated_test_runs_every_seed_and_keeps_its_fixtures() -> None:
    seen: list[tuple[str, float]] = []

    @simulated(seeds=[4, 9])
    async def scenario(sim: Simulation, name: str) -> None:
        seen.append((name, sim.random.random()))

    assert list(inspect.signature(scenario).parameters) == ["name"]
    assert not inspect.iscoroutinefunction(scenario)
    scenario("first")
    assert len({number for _, number in seen}) == 2
    before = list(seen)
    scenario("first")
    assert seen == before * 2, "a seed draws the same"


@simulated(standbys=1, seeds=3, faults=FaultPlan((Crash(at_s=1.0, host=1),)))
async def test_a_crashed_host_comes_back_without_its_state(sim: Simulation) -> None:
    counter = await sim.system.spawn(Counter, host=1)
    assert (await counter.ask(Next())).number == 1
    await sim.advance(1.5)
    await sim.all_up()
    assert (await counter.ask(Next())).number == 1


ROUGH = FaultPlan(
    (
        Storm(at_s=0.0, for_s=20.0, loss=0.2, double=0.2, reorder=0.2),
        Cut(at_s=2.0, host=1, other=0, for_s=1.0),
        Cut(at_s=4.0, host=0, other=1, for_s=1.0, both=False),
        Hang(at_s=6.0, host=1, for_s=1.0),
        Slow(at_s=8.0, host=1, for_s=1.0, step_s=0.001),
        FailStarts(at_s=9.0),
    )
)


@simulated(seeds=5, faults=ROUGH)
async def test_faults_that_kill_no_process_change_no_answer(sim: Simulation) -> None:
    counter = await sim.system.spawn(Counter, host=1)
    for expected in range(1, 30):
        assert (await counter.ask(Next())).number == expected
        await sim.advance(0.5)


def test_a_fault_on_a_host_that_is_down_is_only_in_the_trace() -> None:
    async def scenario(sim: Simulation) -> None:
        sim.apply(FaultPlan((Crash(at_s=1.0, host=1), Hang(at_s=1.001, host=1, for_s=1.0))))
        await sim.advance(1.01)
        raise ValueError("done")

    with pytest.raises(ValueError, match="done") as caught:
        simulate(scenario, standbys=0)
    assert "does nothing" in caught.value.__notes__[-1]


def test_a_seed_determines_a_drawn_plan() -> None:
    def plan(seed: int) -> FaultPlan:
        return FaultPlan.drawn(Random(seed), count=50, within_s=10.0, hosts=[1, 2])

    assert plan(1) == plan(1)
    assert plan(1) != plan(2)
    assert {type(fault) for fault in plan(1).faults} == {Crash, Cut, FailStarts, Hang, Slow, Storm}


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Crash(at_s=-1.0, host=1), "Crash.at_s"),
        (lambda: Hang(at_s=1.0, host=1, for_s=float("inf")), "Hang.for_s"),
        (lambda: Storm(at_s=0.0, for_s=1.0, loss=1.5), "Storm.loss"),
    ],
)
def test_a_wrong_fault_is_refused_by_name(make: object, field: str) -> None:
    assert callable(make)
    with pytest.raises(SpecError) as caught:
        make()
    assert caught.value.details["field"] == field
