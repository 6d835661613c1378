"""Feeds the states of executions from their journal, beside it: nobody calls `persist` for them.

A round reads what has been committed since the last one, brings the state of each execution in it
forward, and persists them together: primary store, cache, event. Rounds are `every_s` apart, so a
busy execution is stored a few times a second, however many results it brings.

How far it has come is noted after each round. A round that was cut off in between is done again;
each state names the version of its journal that it shows, so nothing counts twice.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from callboard.messages.errors import CallboardError, DeadlineExceeded, StateConflict
from callboard.messages.events import RecordedEvent
from callboard.messages.execution import EXECUTION_TRANSITIONS
from callboard.messages.state import AgentExecutionState
from callboard.messages.storage import ReadModelStore

from ..events.log import Blocking, EventLog
from ..events.subscription.core import back_off_s
from ..execution.history.events import PREFIX, Kind
from ..execution.history.reading import read_history
from ..execution.history.states import KINDS, advanced, is_of_history, of_history
from ..host.instruments import Name, Reading
from .states import AgentStateManager

__all__ = ["FeedStatistics", "StateFeed"]

LOGGER: Final = logging.getLogger("callboard.journal")
EVERY_S: Final = 0.25
PAGE_EVENTS: Final = 128
LIVE_MAX: Final = 10_000
"""States of running executions that are kept here; those of others are read again."""
CLOSE_S: Final = 5.0
CLOSING_S: Final = 0.05
NEED_HISTORY: Final = (Kind.FORKED, Kind.RESUMED)
TRIES_MAX: Final = 5
LABEL: Final = "callboard.states"
"""Its name among the projections, in metrics and as the model that has its position."""


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """The feed now; counts are since it was made."""

    position: int
    head: int
    lag_positions: int
    events: int
    states: int
    """States that were persisted."""
    failures: int
    """Rounds that failed and were done again."""
    unreadable: int
    """Executions whose events cannot be read: their states stay as they were."""


class StateFeed:
    """See the module. Belongs to one event loop; `start` begins, `close` catches up and ends."""

    def __init__(
        self,
        log: EventLog,
        states: AgentStateManager,
        models: ReadModelStore,
        *,
        source: str,
        every_s: float = EVERY_S,
    ) -> None:
        """`source` names the journal: each one that feeds these states has a position of its own.

        `states` and `models` are open, and their owner's to close.
        """
        self._log = log
        self._states = states
        self._models = models
        self._model = f"{LABEL}/{source}"
        self._every_s = every_s
        self._blocking = Blocking("states")
        self._position = 0
        self._live: dict[str, AgentExecutionState] = {}
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._events = self._stored = self._failures = self._unreadable = 0

    async def start(self) -> None:
        """Find where it stands, and begin. Raises what the store raises."""
        self._position = await self._blocking.call(self._models.position, self._model)
        end_listening = self._log.on_commit(lambda _head: self._wake.set())
        self._task = asyncio.create_task(self._run(), name="feeds states")
        self._task.add_done_callback(lambda _task: end_listening())

    async def _run(self) -> None:
        failures = 0
        while True:
            wait_s = self._every_s
            try:
                if await self._round():
                    failures = 0
                    continue  # There is more.
                failures = 0
                if self._closing:
                    return
            except Exception as error:  # noqa: BLE001 - executions go on, whatever it is
                self._failures += 1
                self._live.clear()
                wait_s = max(wait_s, back_off_s(failures))
                failures += 1
                LOGGER.warning("States are not fed, tried again in %.1f s: %r", wait_s, error)
            await asyncio.sleep(min(wait_s, CLOSING_S) if self._closing else wait_s)
            if not self._closing and self._log.head <= self._position:
                await self._wake.wait()
            self._wake.clear()

    async def _round(self) -> bool:
        """Bring the states forward by a page; whether there may be more."""
        head = self._log.head
        if head <= self._position:
            return False
        events = await self._log.read(self._position, PAGE_EVENTS, kinds=KINDS)
        is_last = len(events) < PAGE_EVENTS
        after = max(head, self._position) if is_last else events[-1].position
        if events:
            after = max(after, events[-1].position)
        by_execution: dict[str, list[RecordedEvent]] = {}
        for event in events:
            by_execution.setdefault(event.stream.removeprefix(PREFIX), []).append(event)
        missing = [name for name in by_execution if name not in self._live]
        if missing:
            found = zip(missing, await self._states.newest(missing), strict=True)
            self._live.update((name, state) for name, state in found if state is not None)
        outcomes = await asyncio.gather(
            *(self._feed(name, some) for name, some in by_execution.items())
        )
        self._stored += sum(outcomes)
        applied = await self._blocking.call(
            self._models.apply, self._model, self._position, after, {}
        )
        if not applied:  # Another one feeds them too; what a state shows already does nothing.
            after = await self._blocking.call(self._models.position, self._model)
        self._position = after
        waiting, self._waiters = self._waiters, []
        for wanted, waiter in waiting:
            if wanted > after:
                self._waiters.append((wanted, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self._events += len(events)
        return not is_last or self._log.head > after

    async def _feed(self, execution_id: str, events: Sequence[RecordedEvent]) -> bool:
        """Persist the state of one execution after these events; False when it has not changed."""
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
                # Somebody else has changed it: what counts is the journal, on their version.
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
        # In a thread: what a busy turn brought takes a while to decode.
        for at in range(len(events) - 1, -1, -1):
            if events[at].kind not in NEED_HISTORY:
                continue
            known = await self._blocking.call(advanced, state, events[:at])
            if not is_of_history(known, events[at]):
                continue
            up_to = events[at].version
            history = await read_history(self._log.read_stream, execution_id, up_to=up_to)
            if history is not None:
                version = 0 if state is None else state.version
                whole = of_history(history).model_copy(update={"version": version})
                return await self._blocking.call(advanced, whole, events[at + 1 :])
        return await self._blocking.call(advanced, state, events)

    async def wait_for(self, position: int, timeout_s: float) -> None:
        """Wait until the states show what stands at a position. Raises `DeadlineExceeded`."""
        if self._position >= position:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((position, waiter))
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            raise DeadlineExceeded(
                f"states are fed up to {self._position} of {position} after {timeout_s} s."
            ) from None

    def statistics(self) -> FeedStatistics:
        """As of now."""
        head = self._log.head
        return FeedStatistics(
            position=self._position,
            head=head,
            lag_positions=max(0, head - self._position),
            events=self._events,
            states=self._stored,
            failures=self._failures,
            unreadable=self._unreadable,
        )

    def reading(self) -> Reading:
        """The same as metrics of the host: a projection of the journal, as others are."""
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
        """Feed what is in the journal, for at most some seconds, and end."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._task, CLOSE_S)
        self._blocking.close()
