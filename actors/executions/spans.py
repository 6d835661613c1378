"""The spans of one execution: itself, its sub-tasks, and their attempts.

    execution squares                 from the submission to the end
      subtask square_number           from the first attempt to the end
        attempt square_number         from the sending to the outcome; its handler is below it
        attempt square_number         a repetition; it has a link to the one before

Execution and sub-tasks have ids that follow from their names. So the attempts of a process that was
killed belong to the same sub-tasks as those of the process that resumed the execution, although
only the latter lives to see the ends.
"""

from typing import Final

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, Cancelled, HostLost
from callboard.messages.core.trace_context import (
    TraceContext,
    context_of_execution,
    derived_span_id,
    parse_traceparent,
)
from callboard.messages.jobs.plan import SubTask

from ..kernel.tracing import Span, SpanKind, Tracing
from ..scheduler.effects import Effect, TaskDone, TaskFailed, TasksCancelled
from .call import CallOwner, TaskCall
from .executors import Executor

__all__ = ["TRACEPARENT", "ExecutionSpans", "TracedCall", "spans_of"]

TRACEPARENT: Final = "traceparent"
"""Among what the journal has about a submission: the span that it came from."""


class TracedCall(TaskCall):
    """An attempt with a span."""

    __slots__ = ("span", "trace")  # `trace` takes the place of the empty one of the class.

    span: Span

    def reply(self, correlation: int, message: Contract | None) -> None:
        """See `TaskCall`."""
        super().reply(correlation, message)
        self.span.end()  # A wrong reply has ended it as failed.

    def fail(self, correlation: int, error: CallboardError) -> None:
        """See `TaskCall`."""
        self.span.end(error)
        super().fail(correlation, error)

    def drop(self) -> None:
        """See `TaskCall`."""
        self.span.end(HostLost("the executor of an attempt is lost.", may_have_run=self.sent))
        super().drop()


class _SubTaskSpan:
    __slots__ = ("last", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.last: Span | None = None
        """Its newest attempt."""


class ExecutionSpans:
    """Records the spans of one execution, in the process that runs it."""

    def __init__(
        self,
        tracing: Tracing,
        execution_id: str,
        job: str,
        parent: TraceContext,
        started_at: float,
    ) -> None:
        self._tracing: Final = tracing
        self._execution_id: Final = execution_id
        self._attributes: Final = {"callboard.execution.id": execution_id, "callboard.job": job}
        self._span: Final = tracing.begin(
            f"execution {job}",
            SpanKind.INTERNAL,
            parent,
            self._attributes,
            span_id=derived_span_id(tracing.system, execution_id),
            began_at=started_at,
        )
        self._open: Final[dict[str, _SubTaskSpan]] = {}
        """The sub-tasks that have begun and not ended."""

    def attempt(
        self, run: CallOwner, executor: Executor, sub_task: SubTask, attempt: int, sent_s: float
    ) -> TracedCall:
        """The call of an attempt, with its span. Made like a `TaskCall`."""
        call = TracedCall(run, executor, sub_task, attempt, sent_s)
        contract = type(sub_task.request).contract_name
        named = {**self._attributes, "callboard.subtask.id": sub_task.id, "rpc.method": contract}
        found = self._open.get(sub_task.id)
        if found is None:
            span_id = derived_span_id(self._tracing.system, self._execution_id, sub_task.id)
            span = self._tracing.begin(
                f"subtask {contract}", SpanKind.INTERNAL, self._span.context, named, span_id=span_id
            )
            found = self._open[sub_task.id] = _SubTaskSpan(span)
        call.span = self._tracing.begin(
            f"attempt {contract}",
            SpanKind.CLIENT,
            found.span.context,
            {
                **named,
                "rpc.system.name": "callboard",
                "callboard.attempt": attempt,
                "callboard.slot": executor.address.slot,
            },
            link=None if found.last is None else found.last.context,
        )
        found.last = call.span
        call.trace = call.span.context.pack()
        return call

    def note(self, effect: Effect) -> None:
        """End the spans of the sub-tasks that have ended by a decision of the scheduler."""
        match effect:
            case TaskDone(task_id):
                self._end(task_id, None)
            case TaskFailed(task_id, error):
                self._end(task_id, error)
            case TasksCancelled(task_ids):
                for task_id in task_ids:
                    self._end(task_id, Cancelled(f"sub-task {task_id!r} was cancelled."))
            case _:
                pass

    def _end(self, task_id: str, error: BaseException | None) -> None:
        found = self._open.pop(task_id, None)
        if found is not None:
            found.span.end(error)

    def leave(self, error: BaseException | None) -> None:
        """End what this process has sent: who resumes the execution ends the rest."""
        for found in self._open.values():
            if found.last is not None:
                found.last.end(error)

    def end(self, error: BaseException | None) -> None:
        """End the execution, and what is still open of it."""
        for task_id in list(self._open):
            self._end(task_id, error)
        self._span.end(error)


def spans_of(
    tracing: Tracing | None, execution_id: str, job: str, traceparent: str, started_at: float
) -> ExecutionSpans | None:
    """The spans of an execution that was submitted in this context; None if it has none.

    `started_at` is in seconds since 1970.
    """
    if tracing is None:
        return None
    parent = parse_traceparent(traceparent)
    if parent is None:
        parent = context_of_execution(tracing.system, execution_id, tracing.ratio)
    if not parent.is_sampled:
        return None
    return ExecutionSpans(tracing, execution_id, job, parent, started_at)
