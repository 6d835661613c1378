"""The arithmetic of `kills`: when a rate is back, and how a second or a missing outcome shows."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bench.kills.load import Asked, Load
from bench.kills.recovery import BUCKET_S, Bucket, recoveries_s, steady_rate
from callboard import Contract
from callboard.messages.core.errors import DeadlineExceeded, HostLost

FAULTLESS = {
    "without_outcome": 0,
    "with_more_outcomes": 0,
    "other_outcomes": 0,
    "wrong_answers": 0,
    "repeated": 0,
}


def buckets(*rates: float) -> list[Bucket]:
    return [Bucket(place * BUCKET_S, rate) for place, rate in enumerate(rates)]


STEADY = (100.0,) * 20


def test_a_rate_that_never_fell_was_never_away() -> None:
    assert recoveries_s(buckets(*STEADY), [0.55]) == [0.0]


def test_a_rate_is_back_at_the_end_of_the_first_of_three_good_tenths() -> None:
    rates = buckets(*STEADY[:5], 100.0, 10.0, 20.0, 95.0, 100.0, 100.0, *STEADY)
    assert recoveries_s(rates, [0.55]) == [pytest.approx(0.9 - 0.55)]


def test_a_burst_between_two_gaps_is_not_back() -> None:
    rates = buckets(*STEADY[:5], 0.0, 300.0, 0.0, 100.0, 100.0, 100.0, *STEADY)
    assert recoveries_s(rates, [0.5]) == [pytest.approx(0.4)]


def test_a_rate_that_is_never_back_counts_to_the_end() -> None:
    rates = buckets(*STEADY, 0.0, 0.0, 0.0, 0.0)
    assert recoveries_s(rates, [2.0]) == [pytest.approx(0.4)]


def test_each_kill_has_a_recovery_of_its_own() -> None:
    rates = buckets(*STEADY[:5], 0.0, *STEADY, 0.0, 0.0, *STEADY)
    assert recoveries_s(rates, [0.5, 2.6]) == [pytest.approx(0.2), pytest.approx(0.3)]


def test_no_time_has_no_rate() -> None:
    with pytest.raises(ValueError):
        steady_rate([])


class Echo(Contract):
    number: int
    process_id: int = 7
    is_repeated: bool = False


class Worker:
    """What it answers is up to the test."""

    def __init__(self, answer: Callable[[int, "asyncio.Future[Any]"], None]) -> None:
        self._answer = answer
        self.asked_often = asyncio.Event()

    def ask(self, number: int) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answer(number, future)
        if number == 3:
            self.asked_often.set()
        return future


async def load_of(answer: Callable[[int, "asyncio.Future[Any]"], None]) -> Load:
    worker = Worker(answer)
    load = Load([Asked(3, worker.ask)], 100, HostLost, expected=2)
    running = asyncio.create_task(load.run())
    await worker.asked_often.wait()
    await load.stop(running)
    return load


async def test_answers_are_outcomes() -> None:
    load = await load_of(lambda number, future: future.set_result(Echo(number=number)))
    assert load.faults() == FAULTLESS
    assert load.kinds == {"answered": load.asked}
    assert load.processes == {3: 7}


async def test_a_lost_host_is_an_outcome_and_no_fault() -> None:
    load = await load_of(lambda _, future: future.set_exception(HostLost("it is lost.")))
    assert load.faults() == FAULTLESS
    assert load.kinds == {"host_lost": load.asked}


async def test_a_deadline_is_a_fault() -> None:
    load = await load_of(lambda _, future: future.set_exception(DeadlineExceeded("too late.")))
    assert load.faults() == {**FAULTLESS, "other_outcomes": load.asked}


async def test_an_ask_without_an_outcome_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.kills.load.LAST_OUTCOMES_S", 0.01)
    load = await load_of(lambda _, future: None)
    assert load.faults() == {**FAULTLESS, "without_outcome": load.asked}


async def test_a_second_outcome_is_a_fault() -> None:
    def answer_twice(number: int, future: "asyncio.Future[Any]") -> None:
        future.set_result(Echo(number=number))
        if number == 0:
            asyncio.get_running_loop().call_soon(future.set_result, None)

    load = await load_of(answer_twice)
    assert load.faults() == {**FAULTLESS, "with_more_outcomes": 1}


async def test_the_answer_to_another_ask_is_a_fault() -> None:
    load = await load_of(lambda number, future: future.set_result(Echo(number=number + 1)))
    assert load.faults() == {**FAULTLESS, "wrong_answers": load.asked}


async def test_a_request_that_an_actor_had_seen_is_a_fault() -> None:
    load = await load_of(
        lambda number, future: future.set_result(Echo(number=number, is_repeated=number == 0))
    )
    assert load.faults() == {**FAULTLESS, "repeated": 1}
