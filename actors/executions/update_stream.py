"""The updates of one execution, for any number of readers, however slow.

Nothing is pushed: a reader takes the next update when it is ready, and the update is made then.
So a slow reader costs no memory, and sees the newest progress instead of a queue of old updates.
The updates that no reader may miss are a short log, which every reader reads from its beginning.
`Finished` is always the last update.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from time import perf_counter
from typing import Any, Final, NamedTuple

from callboard.messages.jobs.updates import (
    PARTIALS_KEPT,
    TROUBLES_MAX,
    ExecutionUpdate,
    Finished,
    PartialResult,
    PhaseChanged,
    Progressed,
    StateChanged,
    SubTaskPartial,
    TaskTroubled,
)

__all__ = ["INTERVAL_S", "Mark", "UpdateStream", "newest_since"]

INTERVAL_S: Final = 0.05
"""The time between two updates of progress, or two partial results, of one reader, in seconds."""

PARTIAL_PAUSE: Final = 20
"""The pause after a partial result, as a multiple of the time that it took to make."""


class Mark(NamedTuple):
    """The place of a reader in a stream."""

    position: int = 0
    moved: int = 0
    partials: int = 0
    streamed: int = 0


class UpdateStream:
    """The updates of one execution, and the readers that wait for more."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], float],
        progress: Callable[[], Progressed],
        partial: Callable[[], PartialResult | None],
    ) -> None:
        self._loop = loop
        self._now = now
        self._progress = progress
        self._partial = partial
        self._log: list[StateChanged | PhaseChanged | TaskTroubled] = []
        self._troubles = 0
        self._finished: Finished | None = None
        self._moved = 0
        """Grows with every change of progress."""
        self._results = 0
        self._partials_seen = 0
        """The number of results in the newest partial result that is due."""
        self._newest: deque[SubTaskPartial] = deque(maxlen=PARTIALS_KEPT)
        self._streamed = 0
        """The partial results of sub-tasks so far."""
        self._waiting: list[asyncio.Future[None]] = []

    def streamed(self, update: SubTaskPartial) -> None:
        """Add a partial result of a sub-task; a reader that is far behind misses it."""
        self._newest.append(update)
        self._streamed += 1
        if self._waiting:
            self._wake()

    def partials_since(self, streamed: int) -> tuple[list[SubTaskPartial], int]:
        """The partial results of sub-tasks after so many, and how many there are with them.

        The first one says how many are missing before it.
        """
        return newest_since(self._newest, self._streamed, streamed), self._streamed

    def note(self, update: StateChanged | PhaseChanged | TaskTroubled) -> None:
        """Add an update that every reader gets."""
        if type(update) is TaskTroubled:
            self._troubles += 1
            if self._troubles > TROUBLES_MAX:
                return
        self._log.append(update)
        self._wake()

    def moved(self, results: int, partial_every: int) -> None:
        """Note a change of progress, and the number of results now."""
        self._moved += 1
        self._results = results
        if partial_every and results - self._partials_seen >= partial_every:
            self._partials_seen = results
        if self._waiting:
            self._wake()

    def finish(self, update: Finished) -> None:
        """Add the last update."""
        self._finished = update
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def read(self) -> AsyncIterator[ExecutionUpdate]:
        """All updates from the beginning on, until the end."""
        position = moved = partials = streamed = 0
        progress_at_s = partial_at_s = self._now() - INTERVAL_S
        while True:
            while position < len(self._log):
                position += 1
                yield self._log[position - 1]
            if streamed < self._streamed:
                new, streamed = self.partials_since(streamed)
                for update_of_task in new:
                    yield update_of_task
                continue
            now = self._now()
            finished = self._finished
            if moved < self._moved and (now >= progress_at_s or finished is not None):
                moved = self._moved
                progress_at_s = now + INTERVAL_S
                yield self._progress()
                continue
            if finished is not None:
                yield finished
                return
            if partials < self._partials_seen and now >= partial_at_s:
                partials = self._partials_seen
                # Measured by another clock: a loop's clock may stand still within a turn.
                began_s = perf_counter()
                update = self._partial()
                took_s = perf_counter() - began_s
                partial_at_s = now + max(INTERVAL_S, took_s * PARTIAL_PAUSE)
                if update is not None:
                    yield update
                continue
            due_s = [
                at_s
                for at_s, is_due in (
                    (progress_at_s, moved < self._moved),
                    (partial_at_s, partials < self._partials_seen),
                )
                if is_due
            ]
            await self._wait(min(due_s, default=None))

    async def since(
        self, mark: Mark, wait_s: float, *, partials: bool, streamed: bool = False
    ) -> tuple[list[ExecutionUpdate], Mark]:
        """The updates since `mark`, and the next mark; no updates after `wait_s` seconds.

        For a process that passes updates on. If it calls again at once, it gets progress every
        `INTERVAL_S`, and all other updates immediately. `partials` asks for partial results, and
        `streamed` for those of sub-tasks.
        """
        began_s = self._now()
        ends_s = began_s + wait_s
        quiet_s = began_s + (INTERVAL_S if mark.moved else 0.0)
        while True:
            now = self._now()
            if self._finished is not None or mark.position < len(self._log) or now >= ends_s:
                break
            is_moved = self._moved > mark.moved or (
                (partials and self._partials_seen > mark.partials)
                or (streamed and self._streamed > mark.streamed)
            )
            if is_moved and now >= quiet_s:
                break
            await self._wait(min(quiet_s, ends_s) if is_moved else ends_s)
        updates: list[ExecutionUpdate] = list(self._log[mark.position :])
        passed = mark.streamed
        if streamed:
            new, passed = self.partials_since(passed)
            updates += new
        if self._moved > mark.moved:
            updates.append(self._progress())
        seen = mark.partials
        if self._finished is not None:
            updates.append(self._finished)
        elif partials and self._partials_seen > seen:
            seen = self._partials_seen
            partial = self._partial()
            if partial is not None:
                updates.append(partial)
        return updates, Mark(len(self._log), self._moved, seen, passed)

    async def _wait(self, until_s: float | None) -> None:
        """Wait for a change, or until the time at which a known change may be reported."""
        future: asyncio.Future[Any] = self._loop.create_future()
        timer = None
        if until_s is not None:
            timer = self._loop.call_at(until_s, _set_result, future)
        self._waiting.append(future)
        try:
            await future
        finally:
            if timer is not None:
                timer.cancel()
            if future in self._waiting:
                self._waiting.remove(future)


def newest_since(newest: Sequence[SubTaskPartial], total: int, after: int) -> list[SubTaskPartial]:
    """Those of the newest partial results, of `total`, that come after the first `after`.

    The first one says how many are missing before it.
    """
    count = total - after
    if count <= 0:
        return []
    found = list(newest)[-count:]
    if count > len(found):
        skipped = found[0].skipped + count - len(found)
        found[0] = found[0].model_copy(update={"skipped": skipped})
    return found


def _set_result(future: "asyncio.Future[Any]") -> None:
    if not future.done():
        future.set_result(None)
