"""A group of executors: the least loaded one is chosen, in turn, and its heap stays short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.scheduler.executor_pool import ExecutorPool
from callboard.actors.scheduler.executors import STALE_SHARE, Executor, ExecutorGroup

OFFER = frozenset({"k"})


def group_of(*each: int) -> tuple[ExecutorGroup, list[Executor]]:
    group = ExecutorGroup(OFFER)
    made = [Executor(f"e{number}", credit, group) for number, credit in enumerate(each)]
    for executor in made:
        group.add(executor)
    return group, made


def chosen(group: ExecutorGroup, count: int) -> list[str]:
    names: list[str] = []
    for _ in range(count):
        if group.best() is None:
            break
        names.append(group.occupy_best().executor_id)
    return names


def test_the_least_loaded_has_the_next_attempt_and_equal_ones_take_turns() -> None:
    group, _ = group_of(4, 2, 1)
    assert chosen(group, 9) == ["e0", "e1", "e2", "e0", "e1", "e0", "e0"]
    assert group.best() is None


@given(st.lists(st.tuples(st.sampled_from("orcl"), st.integers(0, 3)), max_size=60))
def test_the_choice_is_the_smallest_load_of_those_with_credit(steps: list[tuple[str, int]]) -> None:
    group, executors = group_of(1, 2, 3, 3)
    for what, number in steps:
        executor = executors[number]
        match what:
            case "o" if group.best() is not None:
                group.occupy_best()
            case "r" if executor.occupied:
                executor.release()
            case "c":
                executor.credit = 1 + (executor.credit + 1) % 4
                group.mark(executor)
            case "l" if executor.has_credit:
                executor.occupy()
            case _:
                pass
        best = group.best()
        loads = [e.occupied / e.credit for e in executors if e.has_credit]
        assert (best and best[0]) == min(loads, default=None)
        assert best is None or best[2].has_credit


def test_the_heap_of_executors_that_come_and_go_stays_short() -> None:
    group, executors = group_of(9, 9)
    lengths: list[int] = []
    for _ in range(200):
        for executor in executors:
            executor.occupy()
            group.best()
            executor.release()
            group.best()
            lengths.append(len(group._heap))
    # Stale entries are kept up to this bound, and not one more; then only valid ones are left.
    assert max(lengths) == STALE_SHARE * (len(executors) + STALE_SHARE)
    assert lengths[lengths.index(max(lengths)) + 1] <= len(executors) + 1


def test_a_removed_executor_is_chosen_no_more() -> None:
    group, (first, second) = group_of(2, 2)
    assert chosen(group, 1) == ["e0"]
    second.occupy()
    group.remove(first)
    group.remove(second)
    assert group.best() is None
    assert (first.stamp, first.is_marked, second.is_marked) == (0, False, False)
    group.add(second)
    assert chosen(group, 9) == ["e1"]


def test_more_slots_are_never_released_than_were_taken() -> None:
    _, (executor,) = group_of(1)
    with pytest.raises(AssertionError):
        executor.release()


def test_a_lost_executor_has_no_credit() -> None:
    _, (executor,) = group_of(2)
    assert executor.has_credit
    executor.is_lost = True
    assert not executor.has_credit


# --- the pool of all ----------------------------------------------------------------------------


def test_of_several_groups_the_least_loaded_best_is_chosen() -> None:
    pool = ExecutorPool({})
    pool.set_executor("a", 2, frozenset({"k"}))
    pool.set_executor("b", 4, frozenset({"k", "l"}))
    kind = pool.kind("k")
    assert [sorted(group.offers) for group in kind.groups] == [["k"], ["k", "l"]]
    names: list[str] = []
    while (group := kind.best_group()) is not None:
        names.append(group.occupy_best().executor_id)
    assert names == ["a", "b", "b", "a", "b", "b"]
    assert pool.kind("l").best_group() is None
    assert pool.kind("l").is_served
    assert not pool.kind("m").is_served


def test_a_budget_of_a_kind_has_room_below_its_limit() -> None:
    kind, room = ExecutorPool({"k": 2}).kind("k"), list[bool]()
    for kind.running in range(4):
        room.append(kind.has_room)
    assert room == [True, True, False, False]
    assert ExecutorPool({}).kind("k").has_room


def test_parked_entries_come_back_as_their_executor_has_room_the_most_urgent_first() -> None:
    pool = ExecutorPool({})
    pool.set_executor("a", 2, OFFER)
    executor = pool.executors["a"]
    executor.occupy()
    executor.occupy()
    entries = [(0, 0.0, 3), (0, 0.0, 1), (0, 0.0, 2)]
    executor.parked = sorted(entries)
    pool.note_parked(executor)
    assert list(pool.unpark()) == []
    executor.release()
    assert list(pool.unpark()) == [(0, 0.0, 1)]
    executor.release()
    assert list(pool.unpark()) == [(0, 0.0, 2), (0, 0.0, 3)]
    assert not pool._parked
    assert list(pool.unpark()) == []


@pytest.mark.parametrize("change", ["drained", "other offer", "removed"])
def test_what_is_parked_on_an_executor_that_takes_no_more_goes_elsewhere(change: str) -> None:
    pool = ExecutorPool({})
    pool.kind("k")
    pool.set_executor("a", 1, OFFER)
    executor = pool.executors["a"]
    executor.parked = [(0, 0.0, 1)]
    pool.note_parked(executor)
    assert pool.set_executor("a", 2, None) == []
    match change:
        case "drained":
            assert pool.set_executor("a", 0, None) == [(0, 0.0, 1)]
        case "other offer":
            assert pool.set_executor("a", 2, frozenset({"l"})) == [(0, 0.0, 1)]
            assert pool.kind("k").best_group() is None
            assert pool.kind("l").best_group() is executor.group
        case _:
            assert pool.remove_executor("a") == (executor, [(0, 0.0, 1)])
            assert executor.is_lost
            assert pool.remove_executor("a") is None
    assert (executor.parked, pool._parked) == ([], {})


def test_forgotten_work_is_nowhere() -> None:
    pool = ExecutorPool({})
    pool.set_executor("a", 1, OFFER)
    pool.kind("k").queue.push((0, 0.0, 1))
    executor = pool.executors["a"]
    executor.parked = [(0, 0.0, 2)]
    pool.note_parked(executor)
    pool.forget_work()
    assert (len(pool.kind("k").queue), executor.parked, pool._parked) == (0, [], {})
