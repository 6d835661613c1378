"""Deadlines of attempts: the earliest live one first, and stale ones do not pile up."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.scheduler.attempt_deadlines import SWEEP_MIN, AttemptDeadlines, Deadline, Due


def everything(_deadline: Deadline) -> bool:
    return True


@given(st.lists(st.tuples(st.sampled_from([1.0, 2.0, 3.0]), st.integers(0, 5), st.booleans())))
def test_what_is_due_comes_once_in_order(entries: list[tuple[float, int, bool]]) -> None:
    living = {of for _, of, is_alive in entries if is_alive}
    deadlines = AttemptDeadlines(lambda deadline: deadline[2] in living)
    for at, of, _ in entries:
        deadlines.push(at, Due.RETRY, of)
    expected = sorted((at, Due.RETRY, of) for at, of, _ in entries if of in living)
    assert deadlines.next_at() == (expected[0][0] if expected else None)
    assert deadlines.pop_due(0.9) is None
    for now in (1.0, 2.5, 3.0):
        while (deadline := deadlines.pop_due(now)) is not None:
            assert deadline == expected.pop(0)
            assert deadline[0] <= now
        assert not expected or expected[0][0] > now
    assert len(deadlines) == len(expected) == 0
    assert deadlines.next_at() is None


def test_stale_deadlines_are_swept_when_there_are_too_many() -> None:
    deadlines = AttemptDeadlines(lambda deadline: deadline[2] == 0)
    deadlines.push(1.0, Due.ATTEMPT_TIMEOUT, 0)
    for _ in range(SWEEP_MIN - 1):
        deadlines.push(2.0, Due.ATTEMPT_TIMEOUT, 1)
    assert len(deadlines) == SWEEP_MIN
    deadlines.push(2.0, Due.ATTEMPT_TIMEOUT, 1)
    assert len(deadlines) == 1
    assert deadlines.pop_due(1.0) == (1.0, Due.ATTEMPT_TIMEOUT, 0)


def test_live_deadlines_are_swept_again_at_double_their_number() -> None:
    living = set(range(SWEEP_MIN + 1))
    deadlines = AttemptDeadlines(lambda deadline: deadline[2] in living)
    for number in living:
        deadlines.push(float(number), Due.CANCEL_GRACE, number)
    living.clear()
    for _ in range(SWEEP_MIN + 1):
        deadlines.push(0.0, Due.RETRY, -1)
    assert len(deadlines) == 2 * (SWEEP_MIN + 1)
    deadlines.push(0.0, Due.RETRY, -1)
    assert len(deadlines) == 0
    # And from then on at the usual number again.
    for _ in range(SWEEP_MIN):
        deadlines.push(0.0, Due.RETRY, -1)
    assert len(deadlines) == SWEEP_MIN
    deadlines.push(0.0, Due.RETRY, -1)
    assert len(deadlines) == 0


def test_a_swept_heap_is_still_in_order() -> None:
    deadlines = AttemptDeadlines(everything)
    for number in range(SWEEP_MIN + 1, 0, -1):
        deadlines.push(float(number), Due.RETRY, number)
    assert [deadlines.pop_due(9e9) for _ in range(3)] == [
        (1.0, Due.RETRY, 1),
        (2.0, Due.RETRY, 2),
        (3.0, Due.RETRY, 3),
    ]
