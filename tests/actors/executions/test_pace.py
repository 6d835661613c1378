"""How much is under way at an executor, in a made-up time."""

from callboard.actors.executions.concurrency import CREDIT_MAX, ConcurrencyControl


def run_executor(
    concurrency: ConcurrencyControl,
    *,
    service_s: float,
    trip_s: float,
    rounds: int,
    start_s: float = 0.0,
) -> float:
    """An executor whose agents take `service_s` each, `trip_s` away; gives the time at the end."""
    now, delivered = start_s, 0
    for _ in range(rounds):
        credit, sent_s = concurrency.credit, now
        concurrency.sent(now, delivered)
        now += trip_s + service_s * -(-credit // concurrency.agents)
        delivered += credit
        concurrency.came_back(now, sent_s=sent_s, delivered=delivered, was_busy=True)
    return now


def test_tiny_work_fills_the_pipe_within_a_few_rounds() -> None:
    concurrency = ConcurrencyControl(4)
    run_executor(concurrency, service_s=0.00002, trip_s=0.002, rounds=8)
    assert concurrency.credit > 500


def test_work_of_a_second_is_never_queued() -> None:
    concurrency = ConcurrencyControl(4)
    run_executor(concurrency, service_s=1.0, trip_s=0.002, rounds=10)
    assert concurrency.credit == 4


def test_work_of_ten_milliseconds_has_about_twenty_waiting_milliseconds() -> None:
    concurrency = ConcurrencyControl(4)
    run_executor(concurrency, service_s=0.01, trip_s=0.002, rounds=30)
    assert 8 <= concurrency.credit <= 60


def test_the_credit_grows_at_most_fourfold_in_a_round() -> None:
    concurrency = ConcurrencyControl(2)
    run_executor(concurrency, service_s=0.000001, trip_s=0.0001, rounds=1)
    assert concurrency.credit <= 8


def test_the_credit_has_a_limit() -> None:
    concurrency = ConcurrencyControl(3)
    run_executor(concurrency, service_s=0.0000001, trip_s=0.0001, rounds=30)
    assert concurrency.credit == CREDIT_MAX + 3


def test_work_that_becomes_slow_is_queued_less_and_less() -> None:
    concurrency = ConcurrencyControl(4)
    now = run_executor(concurrency, service_s=0.00002, trip_s=0.002, rounds=10)
    run_executor(concurrency, service_s=0.5, trip_s=0.002, rounds=40, start_s=now)
    assert concurrency.credit <= 6


def test_an_executor_that_had_too_little_work_is_not_thought_slow() -> None:
    concurrency = ConcurrencyControl(8)
    now = run_executor(concurrency, service_s=0.001, trip_s=0.001, rounds=10)
    before = concurrency.rate_per_s
    concurrency.sent(now, 0)
    concurrency.came_back(now + 1.0, sent_s=now, delivered=1, was_busy=False)
    assert concurrency.rate_per_s == before


def test_a_long_queue_of_our_own_is_no_reason_for_a_longer_one() -> None:
    """Queueing makes trips longer; trips must not make queues longer without end."""
    concurrency = ConcurrencyControl(1)
    run_executor(concurrency, service_s=0.001, trip_s=0.001, rounds=200)
    assert concurrency.credit <= 150
