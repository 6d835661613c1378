"""The core and a model: random graphs, random events, the same states after each event.

Graham's bound at the end shows that the schedule is also good: no list
schedule on m identical executors may take longer than W/m + (1 - 1/m) * CP.
"""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from callboard.actors.scheduler.core import SchedulerCore
from callboard.actors.scheduler.effects import (
    CancelAttempt,
    Dispatch,
    ExecutionDone,
    TaskDone,
    TaskDoubtful,
    TaskFailed,
    TaskRetried,
    TasksCancelled,
    TasksSkipped,
)
from callboard.messages.core.errors import Cancelled
from callboard.messages.jobs.execution import (
    TASK_TRANSITIONS,
    ExecutionStatus,
    OnFailure,
    TaskStatus,
)
from callboard.messages.jobs.plan import Plan, SubTask
from callboard.messages.jobs.retry import RetryPolicy
from tests.actors.scheduler.drive import broken, flaky, run_to_end, task
from tests.actors.scheduler.model import ENDED, Attempt, Model
from tests.thoroughness import examples

KINDS = ("review", "merge")
GRACE_S = 1e9  # longer than any run here: only an answer frees a cancelled slot


@st.composite
def added_tasks(draw: st.DrawFn, known: tuple[str, ...] = (), least: int = 0) -> list[SubTask]:
    """New sub-tasks that need each other, or `known` ones, without a cycle."""
    tasks: list[SubTask] = []
    for n in range(draw(st.integers(least, 6))):
        before = [*known, *(task.id for task in tasks)]
        needs = draw(st.lists(st.sampled_from(before), max_size=3)) if before else []
        policy = RetryPolicy(
            attempts_max=draw(st.integers(1, 3)),
            backoff_min_s=draw(st.sampled_from([0.0, 1.0])),
            jitter=0,
            host_losses_max=draw(st.integers(0, 2)),
        )
        tasks.append(
            SubTask(
                f"t{len(known) + n}",
                request=None,
                needs=tuple(needs),
                agent=draw(st.sampled_from(KINDS)),
                priority=draw(st.integers(0, 1)),
                weight=draw(st.integers(1, 3)),
                optional=draw(st.booleans()),
                key=draw(st.sampled_from([None, None, None, "k"])),
                retry=policy,
            )
        )
    order = draw(st.permutations(range(len(tasks))))
    return [tasks[n] for n in order]


class CoreMachine(RuleBasedStateMachine):
    """Every event of the core, in any order, compared with the model."""

    @initialize(
        tasks=added_tasks(least=1),
        on_failure=st.sampled_from(OnFailure),
        concurrency_max=st.sampled_from([None, None, 1, 2]),
        review_max=st.sampled_from([None, 1, 2]),
    )
    def start(
        self,
        tasks: list[SubTask],
        on_failure: OnFailure,
        concurrency_max: int | None,
        review_max: int | None,
    ) -> None:
        limits = {} if review_max is None else {"review": review_max}
        self.now = 0.0
        self.executors_seen = 0
        self.dispatched: list[Attempt] = []
        self.ended: Counter[str] = Counter()
        self.executions_done: list[ExecutionDone] = []
        self.model = Model(tasks, on_failure, concurrency_max, limits)
        self.core = SchedulerCore(
            Plan(tasks),
            on_failure=on_failure,
            concurrency_max=concurrency_max,
            concurrency_max_by_kind=limits,
            cancel_grace_s=GRACE_S,
        )
        self.before = {task.id: TaskStatus.WAITING for task in tasks}

    @rule(credit=st.integers(0, 3), offers=st.sampled_from([KINDS, KINDS[:1], KINDS[1:]]))
    def executor_appears(self, credit: int, offers: tuple[str, ...]) -> None:
        name = f"h{self.executors_seen}"
        self.executors_seen += 1
        self.core.executor_available(name, credit, frozenset(offers))
        self.model.executors[name] = credit
        self.model.offers[name] = frozenset(offers)

    @precondition(lambda self: self.model.executors)
    @rule(data=st.data(), credit=st.integers(0, 3), offers=st.sampled_from([None, KINDS]))
    def executor_changes(
        self, data: st.DataObject, credit: int, offers: tuple[str, ...] | None
    ) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.executors)))
        new_offer = None if offers is None else frozenset(offers)
        self.core.executor_available(name, credit, new_offer)
        self.model.executors[name] = credit
        self.model.offers[name] = new_offer or self.model.offers[name]

    @precondition(lambda self: self.model.executors)
    @rule(data=st.data())
    def executor_dies(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.executors)))
        self.core.executor_lost(name, self.now)
        self.model.lost(name)

    @rule()
    def dispatch(self) -> None:
        dispatches = self.core.dispatch(self.now)
        self.dispatched += [(d.task_id, d.attempt) for d in dispatches]
        self.assert_states(partial=True)
        self.model_dispatched(dispatches)

    def model_dispatched(self, dispatches: list[Dispatch]) -> None:
        # A credit may shrink below the number of running attempts.
        slots = Counter(executor for _, executor in self.model.slots())
        actual = dict(self.model.executors)
        self.model.executors = {executor: max(n, slots[executor]) for executor, n in actual.items()}
        self.model.dispatched(dispatches)
        self.model.executors = actual

    @precondition(lambda self: self.dispatched)
    @rule(data=st.data())
    def attempts_succeed(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.dispatched), min_size=1, max_size=3))
        self.core.tasks_done([(*attempt, attempt) for attempt in chosen], self.now)
        for attempt in chosen:
            self.model.done(attempt)

    @precondition(lambda self: self.dispatched)
    @rule(data=st.data(), retryable=st.booleans())
    def attempt_fails(self, data: st.DataObject, retryable: bool) -> None:
        task_id, number = data.draw(st.sampled_from(self.dispatched))
        error = flaky() if retryable else broken()
        self.core.task_failed(task_id, number, error, self.now, random=0.5)
        self.model.failed((task_id, number), retryable=retryable, now=self.now)

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        due = self.core.next_deadline()
        expected = min(self.model.due.values(), default=None)
        assert due == expected or (expected is None and due is not None and due >= GRACE_S)
        self.core.advance(self.now, random=0.5)
        self.model.advance(self.now)

    @rule(data=st.data())
    def cancel_one(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.model.tasks)))
        self.core.cancel(task_id, self.now)
        self.model.cancel(task_id)

    @precondition(lambda self: self.model.status is ExecutionStatus.RUNNING)
    @rule(data=st.data())
    def plan_grows(self, data: st.DataObject) -> None:
        tasks = data.draw(added_tasks(known=tuple(self.model.tasks)))
        self.core.extend(tasks)
        self.before |= {task.id: TaskStatus.WAITING for task in tasks}
        self.model.add(tasks)

    @precondition(lambda self: self.model.status is ExecutionStatus.RUNNING and self.now > 5)
    @rule()
    def cancel_all(self) -> None:
        self.core.cancel_all(self.now)
        self.model.end_all(ExecutionStatus.CANCELLED)

    @invariant()
    def agree(self) -> None:
        self.assert_states(partial=False)
        for effect in self.core.take_effects():
            assert not self.executions_done, "an effect after the end"
            match effect:
                case TaskDone(task_id) | TaskFailed(task_id):
                    self.ended[task_id] += 1
                case TasksSkipped(task_ids) | TasksCancelled(task_ids):
                    self.ended.update(task_ids)
                case ExecutionDone():
                    self.executions_done.append(effect)
                case CancelAttempt() | TaskRetried():
                    pass
                case TaskDoubtful():
                    raise AssertionError("nothing here is non-idempotent")
        final = {id_ for id_, state in self.model.state.items() if state in ENDED}
        assert self.ended == dict.fromkeys(final, 1), "each sub-task ends once, with an effect"
        assert len(self.executions_done) == (self.model.status is not ExecutionStatus.RUNNING)

    def assert_states(self, *, partial: bool) -> None:
        self.core.validate_state()
        if partial:
            return
        states = {task_id: self.core.status_of(task_id) for task_id in self.model.tasks}
        assert states == self.model.state
        assert self.core.status is self.model.status
        progress = self.core.progress()
        counted = Counter(states.values())
        assert all(getattr(progress, str(status)) == counted[status] for status in TaskStatus)
        for task_id, status in states.items():
            assert reachable(self.before[task_id], status), f"{self.before[task_id]} -> {status}"
        self.before = states
        statistics = self.core.statistics()
        assert statistics.attempts_running == len(self.model.running)
        assert statistics.attempts_cancelling == len(self.model.cancelling)

    def teardown(self) -> None:
        """With executors and successful attempts, the execution ends from any state."""
        if not hasattr(self, "core"):
            return
        self.core.close()
        for _ in range(1_000):
            if self.model.status is not ExecutionStatus.RUNNING:
                return
            self.executor_appears(3, KINDS)
            self.time_passes(60.0)
            for task_id, number in list(self.model.cancelling):
                self.core.task_failed(task_id, number, Cancelled("as asked"), self.now, 0.5)
                self.model.failed((task_id, number), retryable=False, now=self.now)
            self.dispatch()
            for attempt in list(self.model.running):
                self.core.tasks_done([(*attempt, attempt)], self.now)
                self.model.done(attempt)
            self.agree()
        raise AssertionError("the execution does not end")


def reachable(start: TaskStatus, end: TaskStatus) -> bool:
    """Whether a path of allowed steps leads from `start` to `end`."""
    seen = {start}
    pending = [start]
    while pending:
        new = TASK_TRANSITIONS[pending.pop()] - seen
        seen |= new
        pending += new
    return end in seen


TestCoreAgainstModel = CoreMachine.TestCase
TestCoreAgainstModel.settings = settings(max_examples=examples(150), stateful_step_count=40)


# --- the quality of the schedule --------------------------------------------------------------


def critical_path(tasks: list[SubTask]) -> float:
    by_id = {task.id: task for task in tasks}
    lengths: dict[str, float] = {}

    def length(id_: str) -> float:
        if id_ not in lengths:
            behind = max((length(need) for need in by_id[id_].needs), default=0.0)
            lengths[id_] = by_id[id_].weight + behind
        return lengths[id_]

    return max((length(task.id) for task in tasks), default=0.0)


@given(added_tasks(least=2), st.integers(1, 5), st.booleans())
def test_schedule_keeps_grahams_bound(
    tasks: list[SubTask], executors: int, one_executor: bool
) -> None:
    tasks = [task._replace(key=None, priority=0) for task in tasks]
    core = SchedulerCore(Plan(tasks))
    for n in range(1 if one_executor else executors):
        core.executor_available(f"h{n}", executors if one_executor else 1, frozenset(KINDS))
    makespan, order = run_to_end(core)
    assert sorted(order) == sorted(task.id for task in tasks)
    work, path = sum(task.weight for task in tasks), critical_path(tasks)
    assert makespan <= work / executors + (1 - 1 / executors) * path + 1e-9
    assert makespan >= max(path, work / executors) - 1e-9


def test_schedule_starts_the_critical_path_first() -> None:
    """Without ranks the ten short tasks would run first, and the makespan would be 15."""
    short = [task(f"s{n}") for n in range(10)]
    path = [task("p0"), *(task(f"p{n}", f"p{n - 1}") for n in range(1, 10))]
    core = SchedulerCore(Plan([*short, *path]))
    core.executor_available("h0", 2, frozenset(KINDS))
    assert run_to_end(core)[0] == 10
