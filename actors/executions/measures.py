"""What the steps of a job take, as points of the host's meter: by job and contract, never by id."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from callboard.messages.jobs.plan import SubTask

from ..kernel.inspection.meter import Counter, Histogram, Meter

__all__ = ["StepMeasures"]


class Finished(Protocol):
    """An attempt that has succeeded."""

    @property
    def sub_task(self) -> SubTask:
        """Its sub-task."""

    @property
    def sent_s(self) -> float:
        """The time at which it was sent."""


class StepMeasures:
    """The measurements of one execution.

    `callboard_subtask_seconds` is the time from the sending of an attempt to its result, and
    `callboard_subtask_attempts_total` counts attempts by outcome: done, retried, failed, doubtful.
    """

    def __init__(self, meter: Meter, job: str, execution: str) -> None:
        self._meter: Final = meter
        self._job: Final = job
        self._execution: Final = execution
        self._slowest_s = 0.0
        """Each slower attempt is kept as an example."""
        self._took: Final[dict[type, tuple[Histogram, Counter]]] = {}

    def done(self, attempts: Sequence[Finished], now_s: float) -> None:
        """Note attempts that have succeeded."""
        if not self._meter.is_on:
            return
        for attempt in attempts:
            kind = type(attempt.sub_task.request)
            found = self._took.get(kind)
            if found is None:
                found = self._took[kind] = self._bound(kind)
            took_s = now_s - attempt.sent_s
            found[0].observe(took_s)
            found[1].add()
            if took_s > self._slowest_s:
                self._slowest_s = took_s
                self._meter.exemplify(found[0], took_s, self._execution, attempt.sub_task.id)

    def _bound(self, kind: Any) -> tuple[Histogram, Counter]:
        tags = {"job": self._job, "step": kind.contract_name}
        meter = self._meter
        return (
            meter.bind_histogram("callboard_subtask_seconds", **tags),
            meter.bind_counter("callboard_subtask_attempts_total", outcome="done", **tags),
        )

    def not_done(self, outcome: str, sub_task: SubTask) -> None:
        """Note an attempt without a result."""
        self._meter.count(
            "callboard_subtask_attempts_total",
            job=self._job,
            step=type(sub_task.request).contract_name,
            outcome=outcome,
        )
