"""A fork: a new execution that begins with the results of another one, up to a step.

A fork keeps the results of all sub-tasks of its origin that are done, except those of the step
that it begins from, of sub-tasks that depend on this step, and of sub-tasks that grew out of any
of these. A sub-task that failed, was cancelled or was skipped runs again in the fork, unless it
is optional and a kept result was made without it.

Sub-tasks that grew out of one that runs again leave the plan, and may grow again. So the
sub-tasks of a fork get new numbers.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final

from callboard.messages.core.errors import UsageError
from callboard.messages.jobs.execution import EXECUTION_TRANSITIONS, TASK_TRANSITIONS, TaskStatus
from callboard.messages.jobs.updates import ExecutionPhase

from .events import Forked
from .fold import Added, ExecutionHistory

__all__ = ["forked"]

NEAR_AMONG: Final = 10_000
"""The most names among which similar ones are searched."""
PHASES: Final = list(ExecutionPhase)
LATER_PHASES: Final = frozenset(PHASES[PHASES.index(ExecutionPhase.RUNNING) + 1 :])
ENDED: Final = frozenset(status for status, steps in TASK_TRANSITIONS.items() if not steps)


def forked(origin: ExecutionHistory, execution_id: str, fork: Forked) -> ExecutionHistory:
    """The history of a fork after its `forked` event.

    Raises `UsageError` when the origin has no plan, or no such step.
    """
    if not origin.has_plan:
        raise UsageError(
            f"execution {origin.id} cannot be forked: it has no plan yet.",
            advice="Resume it, or submit its request again.",
        )
    step = fork.step
    if step not in origin.ids:
        near = get_close_matches(step, origin.ids[:NEAR_AMONG])
        raise UsageError(
            f"execution {origin.id} has no sub-task {step!r}.",
            advice=f"Did you mean {' or '.join(near)}?" if near else "See `callboard show --all`.",
        )
    return _Fork(origin, origin.ids.index(step)).history(execution_id, fork)


class _Fork:
    """One origin, and those of its sub-tasks that run again."""

    def __init__(self, origin: ExecutionHistory, step: int) -> None:
        self._origin = origin
        self._needs = [needs for added in origin.added for needs in added.event.needs()]
        self._parents = [
            added.event.parent for added in origin.added for _ in range(len(added.event))
        ]
        again = self._again(step)
        self._kept = self._kept_without(again)
        self._numbers: dict[int, int] = {}
        self._added: dict[int, Added] = {}
        """The additions that stay, by the old number of their first sub-task."""
        for added in origin.added:
            if added.event.parent not in again:
                self._renumber(added)

    def _again(self, step: int) -> set[int]:
        """The sub-tasks that run again, or grow again, because of `step`."""
        needed_by: dict[int, list[int]] = {}
        grown_from: dict[int, list[int]] = {}
        for index, needs in enumerate(self._needs):
            for need in needs:
                needed_by.setdefault(need, []).append(index)
        for index, parent in enumerate(self._parents):
            if parent is not None:
                grown_from.setdefault(parent, []).append(index)
        again, todo = {step}, [step]
        while todo:
            while todo:
                index = todo.pop()
                follows = (*needed_by.get(index, ()), *grown_from.get(index, ()))
                new = [other for other in follows if other not in again]
                again.update(new)
                todo += new
            # A sub-task that needs one that must grow again cannot stay in the plan.
            for index in tuple(again):
                parent = self._parents[index]
                if parent is None or parent in again:
                    continue
                if any(self._parents[need] in again for need in self._needs[index]):
                    again.add(parent)
                    todo.append(parent)
        return again

    def _kept_without(self, again: set[int]) -> set[int]:
        statuses = self._origin.statuses
        kept = {
            index
            for index, status in enumerate(statuses)
            if status is TaskStatus.DONE and index not in again
        }
        todo = list(kept)
        while todo:
            for need in self._needs[todo.pop()]:
                if need not in kept and need not in again and statuses[need] in ENDED:
                    kept.add(need)
                    todo.append(need)
        return kept

    def _renumber(self, added: Added) -> None:
        event, first = added.event, len(self._numbers)
        for offset in range(len(event)):
            self._numbers[added.first + offset] = first + offset
        self._added[added.first] = Added(first, event)

    def history(self, execution_id: str, fork: Forked) -> ExecutionHistory:
        origin, made = self._origin, ExecutionHistory(execution_id)
        made.begin_fork(origin, fork)
        made.steps.extend(step for step in origin.steps if EXECUTION_TRANSITIONS[step.to])
        if made.steps:
            made.status = made.steps[-1].to
        made.phases.extend(phase for phase in origin.phases if phase.name not in LATER_PHASES)
        for was, added in self._added.items():
            changed = Added(added.first, added.event.renumbered(self._numbers))
            self._added[was] = changed
            made.added.append(changed)
            made.ids.extend(changed.event.ids())
        made.statuses.extend([TaskStatus.WAITING] * len(made.ids))
        for index in self._kept:
            number = self._numbers[index]
            made.statuses[number] = origin.statuses[index]
            if index in origin.results:
                made.results[number] = origin.results[index]
            if index in origin.errors:
                made.errors[number] = origin.errors[index]
        made.ended.extend(
            (self._numbers[task], attempt, executor, began_at, took_s, code, message)
            for task, attempt, executor, began_at, took_s, code, message in origin.ended
            if task in self._kept
        )
        made.order.extend(self._order())
        return made

    def _order(self) -> Iterable[tuple[str, Any]]:
        numbers, kept = self._numbers, self._kept
        for what, how in self._origin.order:
            if what == "grown":
                if how.first in self._added:
                    yield what, self._added[how.first]
            elif what == "done":
                done = [numbers[index] for index in how if index in kept]
                if done:
                    yield what, done
            elif isinstance(how, tuple):
                index, *rest = how
                if index in kept:
                    yield what, (numbers[index], *rest)
            elif how in kept:
                yield what, numbers[how]
