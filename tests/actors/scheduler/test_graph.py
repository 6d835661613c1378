"""The graph of an execution: edges, counts and ranks, also when it grows."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.scheduler.graph import (
    CANCELLED,
    DONE,
    RANK_VISITS_PER_NEW,
    SKIPPED,
    WAITING,
    TaskGraph,
)

from .drive import task


def chain(length: int) -> TaskGraph:
    """t0, and each next one needs the one before it."""
    graph = TaskGraph()
    graph.add(tuple(task(f"t{n}", *([f"t{n - 1}"] if n else [])) for n in range(length)))
    return graph


def test_ranks_are_the_heaviest_paths_to_an_end() -> None:
    graph = TaskGraph()
    base, doomed, raised = graph.add(
        (
            task("a", weight=1.0),
            task("b", "a", weight=5.0),
            task("c", "a", weight=2.0),
            task("d", "b", "c", weight=3.0),
        )
    )
    assert (base, doomed, raised) == (0, [], [])
    assert graph.rank == [9.0, 8.0, 5.0, 3.0]
    assert graph.unmet == [0, 1, 1, 2]
    assert graph.dependants == {0: [1, 2], 1: [3], 2: [3]}
    assert len(graph) == graph.count_by_status[WAITING] == 4


def test_growth_raises_the_ranks_above_it() -> None:
    graph = chain(3)
    base, _, raised = graph.add((task("new", "t2", weight=10.0),))
    assert base == 3
    assert graph.rank == [13.0, 12.0, 11.0, 10.0]
    assert sorted(raised) == [0, 1, 2]


def test_one_new_sub_task_raises_a_bounded_number_of_old_ranks() -> None:
    graph = chain(100)
    _, _, raised = graph.add((task("new", "t99", weight=1_000.0),))
    assert sorted(raised) == list(range(100 - RANK_VISITS_PER_NEW, 100))
    _, _, raised = graph.add((task("x", "t99", weight=2_000.0), task("y", "x", weight=1.0)))
    assert len(raised) == 2 * RANK_VISITS_PER_NEW


def test_ranks_of_what_has_ended_stay() -> None:
    graph = chain(3)
    graph.move(1, DONE)
    _, _, raised = graph.add((task("new", "t2", weight=10.0),))
    assert raised == [2]
    assert graph.rank[:2] == [3.0, 2.0]


def test_a_rank_that_is_high_enough_is_not_raised() -> None:
    graph = chain(2)
    _, _, raised = graph.add((task("new", "t0", weight=1.0),))
    assert (raised, graph.rank) == ([], [2.0, 1.0, 1.0])


def test_what_needs_an_absent_one_can_never_run_unless_that_was_optional() -> None:
    graph = TaskGraph()
    graph.add((task("a"), task("b", optional=True), task("c")))
    graph.move(0, CANCELLED)
    graph.move(1, SKIPPED)
    graph.move(2, DONE)
    base, doomed, _ = graph.add(
        (task("d", "a"), task("e", "b"), task("f", "c"), task("g", "a", "b"), task("h", "b", "a"))
    )
    assert doomed == [base, base + 3, base + 4]
    assert graph.unmet[base:] == [0] * 5
    assert graph.is_absent(0)
    assert graph.is_absent(1)
    assert not graph.is_absent(2)


@given(st.data())
def test_grown_at_once_or_in_parts_the_edges_are_the_same(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    tasks = [
        task(f"t{n}", *(f"t{m}" for m in range(n) if data.draw(st.booleans())))
        for n in range(count)
    ]
    whole, parts = TaskGraph(), TaskGraph()
    whole.add(tuple(tasks))
    for each in tasks:
        parts.add((each,))
    assert parts.unmet == whole.unmet == [len(each.needs) for each in tasks]
    assert {n: sorted(found) for n, found in parts.dependants.items()} == whole.dependants
    assert parts.count_by_status == whole.count_by_status
    assert all(mine <= full for mine, full in zip(parts.rank, whole.rank, strict=True))
