"""The fold: the history of one execution from its events, without any of the user's code.

Messages stay packed, so that a command can show a history without importing their contracts.

Invariants, checked by `validate_state`: lists over sub-tasks have one entry for each, in the order
in which they were added; exactly the sub-tasks that are done have a result, those that failed an
error, those in doubt a doubt; a non-idempotent one runs exactly while its attempt has no known end.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final, NamedTuple

from callboard.messages.jobs.execution import (
    EXECUTION_TRANSITIONS,
    Decision,
    ExecutionStatus,
    TaskStatus,
)
from callboard.messages.storage.errors import StoreDamaged, UnknownEvent
from callboard.messages.storage.events import RecordedEvent

from .events import (
    Began,
    Decided,
    Entered,
    Forked,
    Grown,
    Kind,
    Lost,
    LostResult,
    Moved,
    Owner,
    Packed,
    Phase,
    Planned,
    Resumed,
    Stepped,
    Streamed,
    Submitted,
    read,
)

__all__ = ["Attempt", "ExecutionHistory", "HistoryStep", "fold"]


class HistoryStep(NamedTuple):
    """A transition of the execution's status."""

    from_status: ExecutionStatus
    to: ExecutionStatus
    at: float
    trigger: str
    metadata: dict[str, Any]


class Attempt(NamedTuple):
    """An attempt that has ended."""

    task: int
    attempt: int
    executor: str
    began_at: float
    took_s: float
    code: str
    """Empty when it succeeded."""
    message: str


EndedAttempt = tuple[int, int, str, float, float, str, str]
"""The fields of an `Attempt` as a plain tuple: there may be a hundred thousand of them."""


class Added(NamedTuple):
    """One `grown` event, still packed."""

    first: int
    """The number of its first sub-task."""
    event: Grown


class ExecutionHistory:
    """The state of one execution by its journal."""

    def __init__(self, execution_id: str) -> None:
        self.id: Final = execution_id
        self.version = 0
        """The version of the last event in the history."""
        self.last_id = b""
        """The id of this event."""
        self.submitted = Submitted(job="", at=0.0, by="")
        """The submission; empty until its event is read."""
        self.fork: Forked | None = None
        """The first event of a fork."""
        self.status = ExecutionStatus.PENDING
        self.steps: Final[list[HistoryStep]] = []
        self.phases: Final[list[Phase]] = []
        self.owners: Final[list[Owner]] = []
        self.agents: dict[str, str] = {}
        """The pool of each contract that the route names."""
        self.plan_maker: str | None = None
        self.planned_count: int | None = None
        """The number of sub-tasks in the plan; None before there is one."""
        self.added: Final[list[Added]] = []
        self.ids: Final[list[str]] = []
        self.statuses: Final[list[TaskStatus]] = []
        self.results: Final[dict[int, tuple[int, Packed]]] = {}
        """For each sub-task that is done: the successful attempt and its result."""
        self.order: Final[list[tuple[str, Any]]] = []
        """The changes of sub-tasks in their order, which a resume repeats."""
        self.ended: Final[list[EndedAttempt]] = []
        self.began: Final[dict[int, int]] = {}
        """Non-idempotent sub-tasks with an attempt whose end is not known."""
        self.lost: Final[dict[int, tuple[int, str]]] = {}
        """Sub-tasks whose result is lost, until they are done again: the attempt, and why."""
        self.doubtful: Final[dict[int, tuple[int, str, str]]] = {}
        self.errors: Final[dict[int, dict[str, Any]]] = {}
        self.at = 0.0
        """When the last event was written, in seconds since 1970."""

    def apply(self, event: RecordedEvent) -> None:
        """Add the next event. Raises `UnknownEvent`, `StoreDamaged`."""
        take = self._takes.get(event.kind)
        if take is None:
            raise UnknownEvent(
                f"execution {self.id} has an event {event.kind!r} (version {event.version}) "
                "that this release does not know.",
                advice="Use the later release of Callboard that wrote it.",
            )
        if event.version != self.version + 1:
            raise StoreDamaged(
                f"execution {self.id}: version {event.version} follows {self.version}.",
                advice="Check the store with `callboard store check`.",
            )
        try:
            take(self, read(event.kind, event.data))
        except StoreDamaged as error:
            raise StoreDamaged(
                f"execution {self.id}: event {event.version}: {error.message}", advice=error.advice
            ) from error
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise StoreDamaged(
                f"execution {self.id}: event {event.version} ({event.kind}) is malformed: "
                f"{error!r}."
            ) from error
        self.version, self.last_id = event.version, event.id
        self.at = event.recorded_at

    # --- one method a kind -----------------------------------------------------------------

    def _submitted(self, event: Submitted) -> None:
        self.submitted = event
        self.owners.append(Owner(event.by, event.at))

    def _resumed(self, event: Resumed) -> None:
        self.owners.append(Owner(event.by, event.at))
        if not self.has_plan:
            # The plan is incomplete: the new owner makes it again.
            self.added.clear()
            self.ids.clear()
            self.statuses.clear()
            self.order.clear()

    def _entered(self, event: Entered) -> None:
        self.phases.extend(event.phases)

    def _planned(self, event: Planned) -> None:
        self.agents = dict(event.agents)
        self.plan_maker = event.plan_maker
        self.planned_count = event.sub_tasks

    def _grown(self, event: Grown) -> None:
        added = Added(len(self.ids), event)
        self.added.append(added)
        self.ids.extend(event.ids())
        self.statuses.extend([TaskStatus.WAITING] * len(event))
        self.order.append(("grown", added))

    def _began(self, event: Began) -> None:
        for index, attempt in event.attempts:
            self.began[index] = attempt
            self.statuses[index] = TaskStatus.RUNNING

    def _moved(self, event: Moved) -> None:
        attempts, done = self.ended, []
        for index, attempt, executor, began_at, took_s, result in event.done():
            self.results[index] = (attempt, result)
            self.statuses[index] = TaskStatus.DONE
            attempts.append((index, attempt, executor, began_at, took_s, "", ""))
            done.append(index)
        if done and self.order and self.order[-1][0] == "done":
            self.order[-1][1].extend(done)
        elif done:
            self.order.append(("done", done))
        if self.began or self.lost:
            for index in done:
                self.began.pop(index, None)
                self.lost.pop(index, None)
        for index, attempt, span, code, message, is_loss in event.troubled():
            attempts.append((index, attempt, *span, code, message))
            self.statuses[index] = TaskStatus.READY
            self.began.pop(index, None)
            self.order.append(("troubled", (index, attempt, is_loss)))
        for doubt in event.doubtful():
            index, attempt, code, message, ended = doubt
            if ended is not None:
                attempts.append((index, attempt, *ended, code, message))
            self.doubtful[index] = (attempt, code, message)
            self.began.pop(index, None)
            self.statuses[index] = TaskStatus.IN_DOUBT
            self.order.append(("doubtful", (index, attempt, code, message)))
        for index, error, attempt, ended in event.failed():
            if ended is not None:
                attempts.append((index, attempt, *ended, error["code"], error["message"]))
            self.statuses[index] = TaskStatus.FAILED
            self.errors[index] = error
            self.began.pop(index, None)
            self.order.append(("failed", (index, error)))
        for index in event.cancelled:
            self.statuses[index] = TaskStatus.CANCELLED
            self.began.pop(index, None)
            self.doubtful.pop(index, None)
            self.order.append(("cancelled", index))
        for index in event.skipped:
            self.statuses[index] = TaskStatus.SKIPPED

    def _lost(self, event: Lost) -> None:
        self.lose(event.results)

    def lose(self, results: Iterable[LostResult]) -> None:
        """Remove lost results: their sub-tasks run again, non-idempotent ones after a decision."""
        lost = {index: (attempt, why) for index, attempt, why in results}
        self.lost.update(lost)
        for what, how in self.order:
            if what == "done" and not lost.keys().isdisjoint(how):
                how[:] = [index for index in how if index not in lost]
        for index, (attempt, _) in lost.items():
            del self.results[index]
            # As after the loss of an attempt's host: the next attempt has the next number.
            self.order.append(("troubled", (index, attempt, True)))
            is_non_idempotent = self._is_non_idempotent(index)
            self.statuses[index] = TaskStatus.RUNNING if is_non_idempotent else TaskStatus.READY
            if is_non_idempotent:
                self.began[index] = attempt

    def _is_non_idempotent(self, index: int) -> bool:
        for added in reversed(self.added):
            if added.first <= index:
                return added.event.is_non_idempotent(index - added.first)
        raise IndexError(f"there is no sub-task {index}")

    def _stepped(self, event: Stepped) -> None:
        to = ExecutionStatus(event.to)
        step = HistoryStep(
            ExecutionStatus(event.from_status), to, event.at, event.trigger, dict(event.metadata)
        )
        self.status = to
        self.steps.append(step)

    def _forked(self, _event: Forked) -> None:
        raise StoreDamaged(
            f"execution {self.id}: `forked` is not its first event.",
            advice="Read a fork with `read_history`, which reads its origin too.",
        )

    def begin_fork(self, origin: "ExecutionHistory", fork: Forked) -> None:
        """Take over the submission and the route from the origin of a fork."""
        self.fork = fork
        self.submitted = dataclasses.replace(
            origin.submitted, id=self.id, at=fork.at, by=fork.by, keys=fork.keys
        )
        self.owners.append(Owner(fork.by, fork.at))
        self.agents, self.plan_maker = dict(origin.agents), origin.plan_maker
        self.planned_count = origin.planned_count

    def _decided(self, event: Decided) -> None:
        index = event.index
        _, code, message = self.doubtful.pop(index, (0, "", ""))
        if event.decision == Decision.RUN_AGAIN:
            self.statuses[index] = TaskStatus.READY
        else:
            self.statuses[index] = TaskStatus.FAILED
            self.errors[index] = {"code": code, "message": message}
        self.order.append(("decided", (index, event.decision)))

    def _streamed(self, event: Streamed) -> None:
        """Partial results are no part of the state."""

    _takes: ClassVar[Mapping[str, Callable[[Any, Any], None]]] = {
        Kind.SUBMITTED: _submitted,
        Kind.RESUMED: _resumed,
        Kind.ENTERED: _entered,
        Kind.PLANNED: _planned,
        Kind.GROWN: _grown,
        Kind.BEGAN: _began,
        Kind.MOVED: _moved,
        Kind.LOST: _lost,
        Kind.STEPPED: _stepped,
        Kind.DECIDED: _decided,
        Kind.FORKED: _forked,
        Kind.STREAMED: _streamed,
    }

    # --- queries ---------------------------------------------------------------------------

    def validate_state(self) -> None:
        """Check the invariants, in O(sub-tasks); an `AssertionError` is a defect of Callboard."""
        assert len(self.ids) == len(self.statuses), "a sub-task has no status"
        for status, entries in (
            (TaskStatus.RUNNING, self.began.keys()),
            (TaskStatus.DONE, self.results.keys()),
            (TaskStatus.IN_DOUBT, self.doubtful.keys()),
            (TaskStatus.FAILED, self.errors.keys()),
        ):
            those = {index for index, found in enumerate(self.statuses) if found is status}
            assert entries == those, f"statuses and entries disagree about {status}"

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts that have ended, in the order of their ends."""
        return [Attempt(*ended) for ended in self.ended]

    @property
    def job(self) -> str:
        """The job's name."""
        return str(self.submitted.job)

    @property
    def has_plan(self) -> bool:
        """Whether the history has the whole plan."""
        return self.planned_count is not None and len(self.ids) >= self.planned_count

    @property
    def is_over(self) -> bool:
        """Whether the execution has ended."""
        return not EXECUTION_TRANSITIONS[self.status]


def fold(execution_id: str, events: Iterable[RecordedEvent]) -> ExecutionHistory:
    """The history of these events, from the first one on."""
    history = ExecutionHistory(execution_id)
    for event in events:
        history.apply(event)
    return history
