"""Collects results and reduces them as they arrive.

A result is reduced at once when the reducer is commutative and the plan does not grow.
Otherwise it is kept and reduced at the end, in the order of the plan, where the sub-tasks that
grew out of another one follow it. So a merged result never depends on which sub-task finished
first.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

from callboard.messages.jobs.job import LEFT_OUT, Job, Reduces, ReducesPartials
from callboard.messages.jobs.plan import SubTask

from ..aggregator.reducers import Collect
from ..scheduler.core import SchedulerCore
from ..scheduler.effects import TaskDone

__all__ = ["Collector"]

FOLDED_AT_ONCE: Final = 2_048
"""Results that are reduced at the end before the event loop gets its turn."""

Path = tuple[int, ...]
"""A place in a plan that grew: the numbers of a sub-task's ancestors, then its own number."""


class Collector:
    """The results of one execution."""

    __slots__ = (
        "_accumulator",
        "_collect",
        "_folded",
        "_folds",
        "_held",
        "_partials",
        "_paths",
        "_places",
        "_reducer",
        "results",
    )

    def __init__(self, job: Job[Any, Any]) -> None:
        self._reducer: Final[Reduces] = Collect() if job.reducer is None else job.reducer
        self._collect = job.collect
        folds_at_once = self._reducer.commutative and job.expand is None
        self._held: list[tuple[Any, Any]] | None = None if folds_at_once else []
        self._places: dict[str, int] = {}
        self._paths: dict[str, Path] | None = None if job.expand is None else {}
        self._accumulator = self._reducer.initial()
        self.results = 0
        """The number of collected results."""
        self._folded = 0
        self._folds: Final = self._reducer if isinstance(self._reducer, ReducesPartials) else None
        self._partials: dict[str, tuple[int, Any]] = {}
        """What the reducer keeps of the running sub-tasks' partial results, and the attempt."""

    def admit(self, sub_tasks: Sequence[SubTask], parent: str | None = None) -> None:
        """Give each new sub-task its place, once, before its result arrives."""
        if self._paths is None:
            ids = [sub_task.id for sub_task in sub_tasks]
            self._places.update(zip(ids, range(len(ids)), strict=True))
            return
        above: Path = () if parent is None else self._paths[parent]
        for number, sub_task in enumerate(sub_tasks):
            self._paths[sub_task.id] = (*above, number)

    def take(self, done: Sequence[TaskDone], core: SchedulerCore) -> None:
        """Collect results. Raises what the job's `collect` or reducer raises."""
        if self._partials:
            self.forget([task_id for task_id, _, _ in done])
        collect = self._collect
        if self._held is None:
            add, places, accumulator = self._reducer.add, self._places, self._accumulator
            count = len(done)
            for task_id, _, result in done:
                if collect is not None:
                    result = collect(core.sub_task(task_id), result)  # noqa: PLW2901
                    if result is LEFT_OUT:
                        count -= 1
                        continue
                accumulator = add(accumulator, result, places[task_id])
            self._accumulator = accumulator
            self.results += count
            return
        orders: Any = self._places if self._paths is None else self._paths
        for task_id, _, result in done:
            picked = result if collect is None else collect(core.sub_task(task_id), result)
            if picked is not LEFT_OUT:
                self._held.append((orders[task_id], picked))
                self.results += 1

    @property
    def seen(self) -> int:
        """The results, and the partial results that the reducer has folded."""
        return self.results + self._folded

    def take_partial(self, task_id: str, attempt: int, value: Any) -> None:
        """Fold a partial result, if the reducer does. Raises what it raises."""
        if self._folds is None:
            return
        newest, before = self._partials.get(task_id, (attempt, None))
        kept = self._folds.fold_partial(before if newest == attempt else None, value)
        self._partials[task_id] = (attempt, kept)
        self._folded += 1

    def forget(self, task_ids: Iterable[str]) -> None:
        """Forget the partial results of sub-tasks whose attempts have ended."""
        for task_id in task_ids:
            self._partials.pop(task_id, None)

    def partial(self) -> Any:
        """The results so far, reduced. Raises what the reducer raises."""
        accumulator = self._accumulator if self._held is None else self._added()
        if self._folds is None or not self._partials:
            return self._reducer.finish(accumulator)
        partials = {task_id: kept for task_id, (_, kept) in self._partials.items()}
        return self._folds.finish_partial(accumulator, partials)

    def _added(self) -> Any:
        reducer = self._reducer
        assert self._held is not None
        accumulator = reducer.initial()
        for key, (_, value) in enumerate(sorted(self._held, key=_place)):
            accumulator = reducer.add(accumulator, value, key)
        return accumulator

    async def fold(self) -> None:
        """Reduce the results that were kept for the end."""
        if self._held is None:
            return
        held, self._held = sorted(self._held, key=_place), None
        for start in range(0, len(held), FOLDED_AT_ONCE):
            for key, (_, value) in enumerate(held[start : start + FOLDED_AT_ONCE], start):
                self._accumulator = self._reducer.add(self._accumulator, value, key)
            await asyncio.sleep(0)

    def merged(self) -> Any:
        """The merged result, after `fold`. Raises what the reducer raises."""
        return self._reducer.finish(self._accumulator)


def _place(held: tuple[Any, Any]) -> Any:
    return held[0]
