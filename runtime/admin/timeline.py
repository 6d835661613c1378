"""The timeline of an execution, aggregated so that a page can draw it however long it is."""

import heapq
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, Final, NamedTuple

from callboard.actors.executions.execution import Execution
from callboard.actors.executions.handle import ExecutionHandle, execution_of
from callboard.actors.executions.history.fold import ExecutionHistory

from .analysis import Analysis, TimedAttempt
from .views import CriticalStep, QueryTimeline, Timeline, TimelineBar, TimelineGroup

__all__ = ["Running", "running_of", "timeline_of"]

GROUPS_MAX: Final = 100
"""The most groups of one timeline."""
CRITICAL_MAX: Final = 500
"""The most steps of the critical path that are listed."""
ERROR_CHARS_MAX: Final = 200
RUNNING: Final = "running"
"""Stands for the code of an attempt that has none yet; codes of errors are other words."""
OUTCOMES: Final = {"": "done", RUNNING: "running"}


class Running(NamedTuple):
    """The attempts under way at a moment; the journal learns of them when they have ended."""

    at: float = 0.0
    """The moment, in seconds since 1970."""
    attempts: Sequence[tuple[str, int, str, float]] = ()
    """Of each: the sub-task, the number, the executor, and when it began."""


NOTHING: Final = Running()


def running_of(handle: ExecutionHandle[Any] | None) -> Running:
    """What runs now of an execution that this process runs."""
    execution = None if handle is None else execution_of(handle)
    if not isinstance(execution, Execution):
        return Running()
    return Running(execution.record.wall_time(), execution.record.under_way())


def timeline_of(
    history: ExecutionHistory, times: Analysis, request: QueryTimeline, running: Running = NOTHING
) -> Timeline:
    """The timeline that is asked for; pure, O(attempts)."""
    under_way = _timed(history, times, running)
    ended_at = max((attempt.ended_at for attempt in times.attempts), default=history.at)
    ended_at = max([ended_at, *(attempt.ended_at for attempt in under_way)])
    if not history.is_over:
        ended_at = max(ended_at, history.at)
    first_run_at = min(
        [attempt.began_at for attempt in under_way] + [times.first_run_at] * bool(times.attempts),
        default=times.first_run_at,
    )
    from_at = request.from_at or first_run_at
    to_at = max(request.to_at or ended_at, from_at)
    groups: dict[str, list[TimedAttempt]] = {}
    count = 0
    for attempt in chain(times.attempts, under_way):
        if attempt.began_at <= to_at and attempt.ended_at >= from_at:
            key = times.kinds[attempt.number] if request.by == "kind" else attempt.executor
            groups.setdefault(key, []).append(attempt)
            count += 1
    shown = sorted(groups.items(), key=lambda item: min(one.began_at for one in item[1]))
    left_off = max(0, len(shown) - GROUPS_MAX)
    shown = shown[:GROUPS_MAX]
    drawing = _Drawing(history, times, request, from_at, to_at)
    fits = count <= request.bars_max
    opened = len([key for key, _ in shown if key in request.open]) or 1
    room = request.bars_max if fits else request.bars_max // opened
    steps = times.critical[-CRITICAL_MAX:]
    return Timeline(
        execution_id=history.id,
        version=history.version,
        is_over=history.is_over,
        began_at=history.submitted.at or first_run_at,
        first_run_at=first_run_at,
        ended_at=ended_at,
        from_at=from_at,
        to_at=to_at,
        attempts=len(times.attempts),
        running=len(under_way),
        groups=tuple(
            drawing.group(key, attempts, room if fits or key in request.open else 0)
            for key, attempts in shown
        ),
        groups_left_off=left_off,
        critical_path=tuple(_step(history, times, number) for number in steps),
        critical_left_off=len(times.critical) - len(steps),
    )


def _timed(history: ExecutionHistory, times: Analysis, running: Running) -> Sequence[TimedAttempt]:
    """The attempts under way whose ends the history does not have, each until now."""
    if not running.attempts or history.is_over:
        return ()
    numbers = {name: number for number, name in enumerate(history.ids)}
    timed = []
    for name, attempt, executor, began_at in running.attempts:
        number = numbers.get(name)
        if number is None or number >= len(times.kinds):
            continue
        before = [times.attempts[place] for place in times.by_task.get(number, ())]
        if before and before[-1].attempt >= attempt:
            continue
        ready_at = min(began_at, before[-1].ended_at if before else times.ready_at(number))
        at = max(began_at, running.at)
        timed.append(TimedAttempt(number, attempt, executor, ready_at, began_at, at, RUNNING, ""))
    return timed


def _step(history: ExecutionHistory, times: Analysis, number: int) -> CriticalStep:
    places = times.by_task[number]
    first, last = times.attempts[places[0]], times.attempts[places[-1]]
    return CriticalStep(
        number=number,
        id=history.ids[number],
        ready_at=first.ready_at,
        began_at=first.began_at,
        ended_at=last.ended_at,
    )


class _Drawing:
    """Draws the groups of one timeline."""

    def __init__(
        self,
        history: ExecutionHistory,
        times: Analysis,
        request: QueryTimeline,
        from_at: float,
        to_at: float,
    ) -> None:
        self._history = history
        self._times = times
        self._request = request
        self._from_at = from_at
        self._to_at = to_at
        self._critical = frozenset(times.critical)

    def group(self, key: str, attempts: Sequence[TimedAttempt], room: int) -> TimelineGroup:
        """One group, with at most `room` bars; folded without room."""
        failed = [attempt for attempt in attempts if attempt.code not in OUTCOMES]
        bars: tuple[TimelineBar, ...] = ()
        rows = 0
        if room:
            kept = sorted(
                heapq.nlargest(room, attempts, key=self._weight), key=lambda one: one.began_at
            )
            numbers, rows = _rows_of(kept)
            bars = tuple(self._bar(one, row) for one, row in zip(kept, numbers, strict=True))
        return TimelineGroup(
            key=key,
            label=key,
            attempts=len(attempts),
            failures=len(failed),
            first_at=min(attempt.began_at for attempt in attempts),
            last_at=max(attempt.ended_at for attempt in attempts),
            queue_s=sum(attempt.began_at - attempt.ready_at for attempt in attempts),
            run_s=sum(attempt.ended_at - attempt.began_at for attempt in attempts),
            rows=rows,
            bars=bars,
            bars_left_off=len(attempts) - len(bars) if room else 0,
            cells=() if room else self._cells(attempts),
            failed_cells=() if room or not failed else self._cells(failed),
        )

    def _weight(self, attempt: TimedAttempt) -> tuple[bool, bool, float]:
        """What is kept first where not all bars have room."""
        is_critical = attempt.number in self._critical
        return is_critical, bool(attempt.code), attempt.ended_at - attempt.ready_at

    def _bar(self, attempt: TimedAttempt, row: int) -> TimelineBar:
        number = attempt.number
        outcome = OUTCOMES.get(attempt.code)
        if outcome is None:
            is_last = self._times.attempts[self._times.by_task[number][-1]] is attempt
            outcome = "failed" if number in self._history.errors and is_last else "retried"
        return TimelineBar(
            number=number,
            id=self._history.ids[number],
            attempt=attempt.attempt,
            executor=attempt.executor,
            ready_at=attempt.ready_at,
            began_at=attempt.began_at,
            ended_at=attempt.ended_at,
            outcome=outcome,
            error=attempt.message[:ERROR_CHARS_MAX],
            row=row,
            is_critical=number in self._critical,
        )

    def _cells(self, attempts: Sequence[TimedAttempt]) -> tuple[int, ...]:
        """How many attempts touch each span of time."""
        cells = self._request.cells
        cell_s = (self._to_at - self._from_at) / cells or 1.0
        changes = [0] * (cells + 1)
        for attempt in attempts:
            first = max(0, min(cells - 1, int((attempt.began_at - self._from_at) / cell_s)))
            last = max(first, min(cells - 1, int((attempt.ended_at - self._from_at) / cell_s)))
            changes[first] += 1
            changes[last + 1] -= 1
        return tuple(accumulate(changes[:cells]))


def _rows_of(attempts: Sequence[TimedAttempt]) -> tuple[list[int], int]:
    """The first free row of each attempt, and the number of rows; they are sorted by begin."""
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    numbers, rows = [], 0
    for attempt in attempts:
        while busy and busy[0][0] <= attempt.began_at:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            row = heapq.heappop(free)
        else:
            row = rows
            rows += 1
        numbers.append(row)
        heapq.heappush(busy, (attempt.ended_at, row))
    return numbers, rows
