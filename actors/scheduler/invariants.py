"""The scheduler's invariants as checks, each over the whole state.

They are kept apart from the code that maintains them and count everything anew, so that
one misunderstanding does not hide in both. Tests call them after every event.
"""

from collections import Counter

from .attempts import ATTEMPT_BITS, ATTEMPT_MASK, Attempts
from .executor_pool import ExecutorPool
from .graph import DONE, READY, RUNNING, STATUSES, WAITING, TaskGraph

__all__ = ["check_attempts", "check_graph", "check_ready"]


def check_graph(graph: TaskGraph) -> None:
    """States are counted right, and a sub-task waits exactly while needs of it are open.

    Raises:
        AssertionError: something does not hold.
    """
    counted = Counter(graph.status)
    assert [counted[n] for n in range(len(STATUSES))] == graph.count_by_status, "counts drifted"
    for index, sub_task in enumerate(graph.sub_tasks):
        state = graph.status[index]
        needs = [graph.index[need] for need in sub_task.needs]
        open_needs = sum(graph.status[need] < DONE for need in needs)
        if state == WAITING:
            assert graph.unmet[index] == open_needs > 0, f"{sub_task.id} waits for nothing"
        elif state in (READY, RUNNING, DONE):
            assert not open_needs, f"{sub_task.id} did not wait for its needs"
            for need in needs:
                assert graph.status[need] == DONE or graph.sub_tasks[need].optional, (
                    f"{sub_task.id} went on without {graph.ids[need]}"
                )
        if state < DONE:
            for need in needs:
                if graph.status[need] < DONE:
                    assert index in graph.dependants[need], f"{sub_task.id} will never be told"


def check_attempts(graph: TaskGraph, attempts: Attempts, pool: ExecutorPool) -> None:
    """Slots, executors and kinds agree on what runs where.

    Raises:
        AssertionError: something does not hold.
    """
    assert not attempts.running.keys() & attempts.cancelling.keys(), "a ticket in both books"
    by_executor: Counter[str] = Counter()
    by_kind: Counter[str] = Counter()
    alive: set[int] = set()
    for book in (attempts.running, attempts.cancelling):
        for ticket, executor in book.items():
            index, attempt = ticket >> ATTEMPT_BITS, ticket & ATTEMPT_MASK
            assert 1 <= attempt <= attempts.started[index], "a ticket that was never given out"
            assert pool.executors.get(executor.executor_id) is executor, (
                "an attempt on an executor that is gone"
            )
            by_executor[executor.executor_id] += 1
            by_kind[attempts.kinds[index].name] += 1
            if book is attempts.running:
                assert attempt == attempts.started[index], "an attempt runs that is not the last"
                alive.add(index)
    for executor in pool.executors.values():
        assert executor.occupied == by_executor[executor.executor_id], (
            f"{executor.executor_id} miscounts its slots"
        )
    for kind in pool.kinds.values():
        assert kind.running == by_kind[kind.name], f"{kind.name} miscounts its slots"
        assert kind.limit is None or kind.running <= kind.limit, f"{kind.name} is over budget"
    for index, state in enumerate(graph.status):
        assert (index in alive) == (state == RUNNING), f"{graph.ids[index]} runs, or not?"


def check_ready(graph: TaskGraph, attempts: Attempts, pool: ExecutorPool) -> None:
    """Every ready sub-task can be found by the next dispatch.

    Raises:
        AssertionError: something does not hold.
    """
    ready: Counter[str] = Counter()
    found = {entry[2] for kind in pool.kinds.values() for entry in kind.queue.entries()}
    for executor in pool.executors.values():
        found |= {entry[2] for entry in executor.parked}
    for index, state in enumerate(graph.status):
        if state == READY:
            ready[attempts.kinds[index].name] += 1
            assert index in found, f"{graph.ids[index]} is ready, and nobody will find it"
    for kind in pool.kinds.values():
        assert kind.ready == ready[kind.name], f"{kind.name} miscounts its ready sub-tasks"
        assert kind.groups == [group for group in kind.groups if kind.name in group.offers], (
            f"{kind.name} would go to executors that do not offer it"
        )
