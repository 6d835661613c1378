"""The scheduler's invariants as checks, each over the whole state.

They share no code with what maintains them and count everything again, so one mistake cannot
hide in both. Tests call them after every event.
"""

from collections import Counter
from collections.abc import Iterable

from .attempts import ATTEMPT_BITS, ATTEMPT_MASK, Attempts
from .executor_pool import ExecutorPool
from .graph import BACKING_OFF, DONE, IN_DOUBT, READY, RUNNING, STATUSES, WAITING, TaskGraph

__all__ = ["check_attempts", "check_graph", "check_pauses", "check_ready"]


def check_graph(graph: TaskGraph) -> None:
    """Check the counts of states, and that a sub-task waits exactly while it has open needs.

    Raises:
        AssertionError: something does not hold.
    """
    counted = Counter(graph.status)
    assert [counted[n] for n in range(len(STATUSES))] == graph.count_by_status, (
        "the counts are wrong"
    )
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
                    assert index in graph.dependants[need], f"{sub_task.id} will never become ready"


def check_attempts(graph: TaskGraph, attempts: Attempts, pool: ExecutorPool) -> None:
    """Check that slots, executors and kinds agree about all attempts.

    Raises:
        AssertionError: something does not hold.
    """
    assert not attempts.running.keys() & attempts.cancelling.keys(), (
        "a ticket is running and cancelling"
    )
    by_executor: Counter[str] = Counter()
    by_kind: Counter[str] = Counter()
    alive: set[int] = set()
    for tickets in (attempts.running, attempts.cancelling):
        for ticket, executor in tickets.items():
            index, attempt = ticket >> ATTEMPT_BITS, ticket & ATTEMPT_MASK
            assert 1 <= attempt <= attempts.started[index], "a ticket that was never started"
            assert pool.executors.get(executor.executor_id) is executor, (
                "an attempt on a lost executor"
            )
            by_executor[executor.executor_id] += 1
            by_kind[attempts.kinds[index].name] += 1
            if tickets is attempts.running:
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
        assert (index in alive) == (state == RUNNING), (
            f"{graph.ids[index]}: state and attempts disagree"
        )


def check_ready(graph: TaskGraph, attempts: Attempts, pool: ExecutorPool) -> None:
    """Check that the next dispatch finds every ready sub-task.

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
            assert index in found, f"{graph.ids[index]} is ready, but in no ready set"
    for kind in pool.kinds.values():
        assert kind.ready == ready[kind.name], f"{kind.name} miscounts its ready sub-tasks"
        assert kind.groups == [group for group in kind.groups if kind.name in group.offers], (
            f"{kind.name} has groups that do not offer it"
        )


def check_pauses(graph: TaskGraph, backing_off: Iterable[int], in_doubt: Iterable[int]) -> None:
    """Check that exactly the sub-tasks that pause have an entry from which they go on.

    An entry that is left over would let a sub-task run that has ended.

    Raises:
        AssertionError: something does not hold.
    """
    for state, entries in ((BACKING_OFF, backing_off), (IN_DOUBT, in_doubt)):
        pausing = {index for index, found in enumerate(graph.status) if found == state}
        assert set(entries) == pausing, f"states and entries disagree about {STATUSES[state]}"
