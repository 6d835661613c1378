"""A slow and obvious model of the scheduler's core, to check the fast core.

It has no heaps, counters or ranks: only a dictionary of states, and rules over all of them. It does
not choose the next dispatch. It checks that a choice is allowed, and that no runnable sub-task
waits.
"""

from collections import Counter

from callboard.actors.scheduler.effects import Dispatch
from callboard.messages.jobs.execution import ExecutionStatus, OnFailure
from callboard.messages.jobs.execution import TaskStatus as S
from callboard.messages.jobs.plan import SubTask

ENDED = (S.DONE, S.FAILED, S.CANCELLED, S.SKIPPED)
ABSENT = (S.FAILED, S.CANCELLED, S.SKIPPED)

Attempt = tuple[str, int]


class Model:
    """The same events as the core, with the simplest possible records."""

    def __init__(
        self,
        tasks: list[SubTask],
        on_failure: OnFailure,
        concurrency_max: int | None,
        limits: dict[str, int],
    ) -> None:
        self.tasks: dict[str, SubTask] = {}
        self.state: dict[str, S] = {}
        self.on_failure = on_failure
        self.concurrency_max = concurrency_max
        self.limits = limits
        self.executors: dict[str, int] = {}
        self.offers: dict[str, frozenset[str]] = {}
        self.running: dict[Attempt, str] = {}
        self.cancelling: dict[Attempt, str] = {}
        self.due: dict[str, float] = {}
        self.failures: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.status = ExecutionStatus.RUNNING
        self.has_failed = False
        self.add(tasks)

    # --- events ------------------------------------------------------------------------

    def add(self, tasks: list[SubTask]) -> None:
        for task in tasks:
            self.tasks[task.id] = task
            self.state[task.id] = S.WAITING
        self.settle()

    def dispatched(self, dispatches: list[Dispatch]) -> None:
        for task_id, attempt, executor in dispatches:
            assert self.state[task_id] is S.READY, f"{task_id} was not ready"
            assert self.kind(task_id) in self.offers[executor], f"{executor} does not offer it"
            self.attempts[task_id] += 1
            assert attempt == self.attempts[task_id]
            self.state[task_id] = S.RUNNING
            self.running[task_id, attempt] = executor
        self.assert_budgets()
        self.assert_no_runnable_task_waits()

    def done(self, attempt: Attempt) -> None:
        self.cancelling.pop(attempt, None)
        if self.running.pop(attempt, None) is not None:
            self.state[attempt[0]] = S.DONE
            self.settle()

    def failed(self, attempt: Attempt, *, retryable: bool, now: float) -> None:
        self.cancelling.pop(attempt, None)
        if self.running.pop(attempt, None) is not None:
            self.attempt_failed(attempt[0], retryable=retryable, now=now)

    def attempt_failed(self, task_id: str, *, retryable: bool, now: float) -> None:
        policy = self.tasks[task_id].retry
        self.failures[task_id] += 1
        if retryable and self.failures[task_id] < policy.attempts_max:
            wait_s = policy.backoff_s(self.failures[task_id], 0.5)
            self.state[task_id] = S.BACKING_OFF if wait_s else S.READY
            if wait_s:
                self.due[task_id] = now + wait_s
        else:
            self.fail(task_id)

    def fail(self, task_id: str) -> None:
        self.state[task_id] = S.FAILED
        if not self.tasks[task_id].optional:
            self.has_failed = True
            if self.on_failure is OnFailure.FAIL_FAST:
                self.end_all(ExecutionStatus.FAILED)
                return
        self.settle()

    def lost(self, executor: str) -> None:
        del self.executors[executor]
        victims = [attempt for attempt, at in self.running.items() if at == executor]
        self.running = {a: at for a, at in self.running.items() if at != executor}
        self.cancelling = {a: at for a, at in self.cancelling.items() if at != executor}
        for task_id, _ in victims:
            if self.state[task_id] is not S.RUNNING:
                continue
            self.losses[task_id] += 1
            if self.losses[task_id] <= self.tasks[task_id].retry.host_losses_max:
                self.state[task_id] = S.READY
            else:
                self.fail(task_id)

    def cancel(self, task_id: str) -> None:
        if self.state[task_id] in ENDED:
            return
        self.stop_attempts(task_id)
        self.due.pop(task_id, None)
        self.state[task_id] = S.CANCELLED
        self.settle()

    def advance(self, now: float) -> None:
        for task_id, at in list(self.due.items()):
            if at <= now:
                del self.due[task_id]
                self.state[task_id] = S.READY

    def end_all(self, status: ExecutionStatus) -> None:
        for task_id, state in self.state.items():
            if state not in ENDED:
                self.stop_attempts(task_id)
                self.state[task_id] = S.CANCELLED
        self.due.clear()
        self.status = status

    # --- rules -------------------------------------------------------------------------

    def kind(self, task_id: str) -> str:
        return str(self.tasks[task_id].agent)

    def stop_attempts(self, task_id: str) -> None:
        for attempt in [a for a in self.running if a[0] == task_id]:
            self.cancelling[attempt] = self.running.pop(attempt)

    def settle(self) -> None:
        """Apply the rules for waiting tasks until nothing changes, then check for the end."""
        changed = True
        while changed:
            changed = False
            for task_id, task in self.tasks.items():
                if self.state[task_id] is not S.WAITING:
                    continue
                needs = [(self.state[need], self.tasks[need].optional) for need in task.needs]
                if any(state in ABSENT and not optional for state, optional in needs):
                    self.state[task_id] = S.SKIPPED
                    changed = True
                elif all(state in ENDED for state, _ in needs):
                    self.state[task_id] = S.READY
                    changed = True
        if self.status is ExecutionStatus.RUNNING and all(s in ENDED for s in self.state.values()):
            failed = ExecutionStatus.FAILED if self.has_failed else ExecutionStatus.COMPLETED
            self.status = failed

    def slots(self) -> list[tuple[Attempt, str]]:
        return [*self.running.items(), *self.cancelling.items()]

    def assert_budgets(self) -> None:
        by_executor = Counter(executor for _, executor in self.slots())
        by_kind = Counter(self.kind(attempt[0]) for attempt, _ in self.slots())
        started_on = {executor for _, executor in self.running.items()}
        assert all(by_executor[executor] <= self.executors[executor] for executor in started_on)
        assert all(by_kind[kind] <= limit for kind, limit in self.limits.items())
        assert self.concurrency_max is None or len(self.slots()) <= self.concurrency_max

    def assert_no_runnable_task_waits(self) -> None:
        if self.concurrency_max is not None and len(self.slots()) >= self.concurrency_max:
            return
        by_executor = Counter(executor for _, executor in self.slots())
        by_kind = Counter(self.kind(attempt[0]) for attempt, _ in self.slots())
        for task_id, state in self.state.items():
            kind = self.kind(task_id)
            if state is not S.READY or by_kind[kind] >= self.limits.get(kind, 10**9):
                continue
            if self.tasks[task_id].key is not None:
                continue  # it may wait for the executor of its key
            for executor, credit in self.executors.items():
                assert kind not in self.offers[executor] or by_executor[executor] >= credit, (
                    f"{task_id} could run on {executor}"
                )
