"""The feed of states: persists the states of executions from the events in their journal.

A round reads the events since the last round, updates the state of each execution in them, and
persists these states together: primary store, cache, event. Rounds are `every_s` apart, so a
busy execution is stored a few times a second, however many results it has.

The feed stores its position after each round. It repeats a round that was interrupted. Each state
has the version of its journal that it shows, so no event counts twice.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from callboard.messages.core.errors import CallboardError, StateConflict
from callboard.messages.core.timeouts import checked_timeout
from callboard.messages.jobs.execution import EXECUTION_TRANSITIONS
from callboard.messages.storage.events import RecordedEvent
from callboard.messages.storage.states import AgentExecutionState
from callboard.messages.storage.stores import ReadModelStore

from ..events.log import EventLog
from ..events.subscription.core import RETRY, Filter, Page
from ..events.subscription.reader import LogReader, SubscriptionLimits
from ..executions.history.events import PREFIX, Kind
from ..executions.history.reading import read_history
from ..executions.history.states import KINDS, advanced, is_of_history, of_history
from ..journal.position import Position
from ..kernel.failures import ends_task
from ..kernel.inspection.metric_sources import Name, Reading
from ..kernel.threads import ThreadRunner
from .states import AgentStateManager

__all__ = ["FeedStatistics", "StateFeed"]

LOGGER: Final = logging.getLogger("callboard.journal")
EVERY_S: Final = 0.25
LIMITS: Final = SubscriptionLimits(page_events=128, tail_events=0, idle_s=None)
LIVE_MAX: Final = 10_000
"""States of running executions that stay in memory; other states are read again."""
CLOSE_S: Final = 5.0
CLOSING_S: Final = 0.05
NEED_HISTORY: Final = (Kind.FORKED, Kind.RESUMED)
TRIES_MAX: Final = 5
LABEL: Final = "callboard.states"
"""Its name among the projections: in metrics, and of the model that has its position."""


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """The figures of the feed; counts are since it was made."""

    position: int
    head: int
    lag_positions: int
    events: int
    states: int
    """States that were persisted."""
    failures: int
    """Rounds that failed and were repeated."""
    unreadable: int
    """Executions with unreadable events: their states stay as they were."""


class StateFeed:
    """Persists the states of executions from their journal. Belongs to one event loop.

    `start` begins; `close` catches up and ends.
    """

    def __init__(
        self,
        log: EventLog,
        states: AgentStateManager,
        models: ReadModelStore,
        *,
        source: str,
        every_s: float = EVERY_S,
    ) -> None:
        """Make a feed; `source` names the journal, so that each journal has its own position.

        `states` and `models` must be open; their owner closes them.
        """
        self._log = log
        self._states = states
        self._models = models
        self._model = f"{LABEL}/{source}"
        self._every_s = every_s
        self._threads = ThreadRunner("states")
        self._reader: LogReader
        self._position = Position()
        self._noted = 0
        """The stored position."""
        self._live: dict[str, AgentExecutionState] = {}
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._events = self._stored = self._failures = self._unreadable = 0

    async def start(self) -> None:
        """Read the stored position, and begin. Raises what the store raises."""
        self._noted = await self._threads.call(self._models.position, self._model)
        self._reader = LogReader(self._log, Filter(kinds=KINDS), self._noted, LIMITS)
        self._position.move(self._noted)
        self._task = asyncio.create_task(self._run(), name="feeds states")
        self._task.add_done_callback(lambda _task: self._reader.close())

    async def _run(self) -> None:
        reader, failures = self._reader, 0
        while True:
            wait_s = self._every_s
            try:
                await self._round(await reader.next_page())
                failures = 0
                if reader.is_behind:
                    continue
                if self._closing:
                    return
            except BaseException as error:
                # Executions continue after any error, also of a user's publisher.
                if ends_task(error):
                    raise
                self._failures += 1
                failures += 1
                self._live.clear()
                reader.restart(self._position.value)
                wait_s = max(wait_s, RETRY.delay_s(failures))
                LOGGER.warning("The feed of states failed, retrying in %.1f s: %r", wait_s, error)
            await asyncio.sleep(min(wait_s, CLOSING_S) if self._closing else wait_s)
            if not self._closing:
                await reader.wait()

    async def _round(self, page: Page) -> None:
        """Update and persist the states of the executions in a page."""
        by_execution: dict[str, list[RecordedEvent]] = {}
        for event in page.events:
            by_execution.setdefault(event.stream.removeprefix(PREFIX), []).append(event)
        missing = [name for name in by_execution if name not in self._live]
        if missing:
            found = zip(missing, await self._states.newest(missing), strict=True)
            self._live.update((name, state) for name, state in found if state is not None)
        outcomes = await asyncio.gather(
            *(self._feed(name, some) for name, some in by_execution.items())
        )
        self._stored += sum(outcomes)
        after = page.seen
        if page.events:
            applied = await self._threads.call(
                self._models.apply, self._model, self._noted, after, {}
            )
            if not applied:  # Another feed is active too; no event counts twice in a state.
                after = await self._threads.call(self._models.position, self._model)
                self._reader.restart(after)
            self._noted = after
        self._position.move(after)
        self._events += len(page.events)

    async def _feed(self, execution_id: str, events: Sequence[RecordedEvent]) -> bool:
        """Persist the state of one execution after these events; gives whether it has changed."""
        before = self._live.get(execution_id)
        try:
            state = await self._after(execution_id, before, events)
        except (KeyError, IndexError, TypeError, ValueError, CallboardError) as error:
            self._unreadable += 1
            LOGGER.warning("The state of execution %s stays as it was: %r", execution_id, error)
            return False
        for _ in range(TRIES_MAX):
            if state is None or state is before:
                return False
            try:
                kept = await self._states.persist(state)
                break
            except StateConflict:
                # Another process has changed it: take the journal's state, on that version.
                before = (await self._states.newest((execution_id,)))[0]
                whole = await read_history(self._log.read_stream, execution_id)
                if whole is None or before is None:
                    return False
                state = of_history(whole).model_copy(update={"version": before.version})
        else:
            return False
        self._live.pop(execution_id, None)
        if EXECUTION_TRANSITIONS[kept.status] and len(self._live) < LIVE_MAX:
            self._live[execution_id] = kept
        return True

    async def _after(
        self,
        execution_id: str,
        state: AgentExecutionState | None,
        events: Sequence[RecordedEvent],
    ) -> AgentExecutionState | None:
        # In a thread: the events of a busy turn take a while to decode.
        for at in range(len(events) - 1, -1, -1):
            if events[at].kind not in NEED_HISTORY:
                continue
            known = await self._threads.call(advanced, state, events[:at])
            if not is_of_history(known, events[at]):
                continue
            up_to = events[at].version
            history = await read_history(self._log.read_stream, execution_id, up_to=up_to)
            if history is not None:
                version = 0 if state is None else state.version
                whole = of_history(history).model_copy(update={"version": version})
                return await self._threads.call(advanced, whole, events[at + 1 :])
        return await self._threads.call(advanced, state, events)

    async def wait_for(self, position: int, timeout_s: float) -> None:
        """Wait until the states show the event at a position. Raises `DeadlineExceeded`."""
        checked_timeout(timeout_s)
        await self._position.wait_for(position, timeout_s, "the feed of states")

    def statistics(self) -> FeedStatistics:
        """The feed's figures now."""
        head = self._log.head
        return FeedStatistics(
            position=self._position.value,
            head=head,
            lag_positions=max(0, head - self._position.value),
            events=self._events,
            states=self._stored,
            failures=self._failures,
            unreadable=self._unreadable,
        )

    def reading(self) -> Reading:
        """The same figures as metrics of the host: the feed counts as a projection."""
        now = self.statistics()
        counts: dict[Name, float] = {
            Name("callboard_projection_events", LABEL): now.events,
            Name("callboard_projection_failures", LABEL): now.unreadable,
            Name("callboard_projection_store_failures", LABEL): now.failures,
        }
        return Reading(
            counts, {Name("callboard_projection_lag_positions", LABEL): now.lag_positions}
        )

    async def close(self) -> None:
        """Process the events in the journal, for at most 5 s, and end."""
        self._closing = True
        if self._task is not None:
            self._reader.wake()
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._task, CLOSE_S)
        self._threads.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()
