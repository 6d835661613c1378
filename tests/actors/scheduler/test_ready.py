"""The ready set: always the most urgent entry first, and each batch put in the cheaper way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.scheduler.ready import MERGE_SHARE, ReadyEntry, ReadyQueue

ENTRIES = st.tuples(st.integers(-3, 0), st.sampled_from([-2.0, -1.0, 0.0]), st.integers(0, 30))


@given(
    steps=st.lists(
        st.one_of(ENTRIES, st.lists(ENTRIES, max_size=6), st.just("pop")),
        max_size=40,
    )
)
def test_entries_leave_in_their_order(steps: list[ReadyEntry | list[ReadyEntry] | str]) -> None:
    queue, model = ReadyQueue(), list[ReadyEntry]()
    for step in steps:
        if isinstance(step, list):
            queue.push_many(step)
            model += step
        elif isinstance(step, tuple):
            queue.push(step)
            model.append(step)
        elif model:
            assert queue.pop() == min(model)
            model.remove(min(model))
        assert queue.peek() == min(model, default=None)
        assert sorted(queue.entries()) == sorted(model)
        assert len(queue) == len(model)
    queue.clear()
    assert (len(queue), queue.peek(), queue.entries()) == (0, None, [])
    with pytest.raises(IndexError):
        queue.pop()


def numbered(*numbers: int) -> list[ReadyEntry]:
    return [(0, 0.0, number) for number in numbers]


def test_a_small_batch_leaves_the_run_as_it_is_and_a_large_one_is_merged() -> None:
    queue = ReadyQueue()
    queue.push_many(numbered(*range(2 * MERGE_SHARE)))
    queue.push_many(numbered(100))
    assert [len(queue._run), len(queue._heap)] == [2 * MERGE_SHARE, 1]
    queue.push_many(numbered(101, 102))
    assert [len(queue._run), len(queue._heap)] == [2 * MERGE_SHARE + 2, 1]
    assert queue._run == sorted(queue._run, reverse=True)


def test_of_equal_entries_the_one_of_the_run_leaves_first() -> None:
    queue = ReadyQueue()
    queue.push_many(numbered(1))
    queue.push(numbered(1)[0])
    queue.pop()
    assert [len(queue._run), len(queue._heap)] == [0, 1]
