"""A projector: keeps one read model up to date with a log, with each event in it exactly once.

It reads a page of the log, folds it in memory, and stores all changes together with the new
position, in one transaction. After any interruption (a kill, a lost connection, another projector
of the same model) it goes on at the stored position. It reads the next page while it writes one.

A shadow build makes a new model under a name of its own (`name@2`, `name@3`, ...) while the live
model serves readers. When it has caught up, `promote` makes the name refer to it. Readers never
see it before.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, Self

from callboard.messages.core.errors import CallboardError, InternalError, UsageError
from callboard.messages.core.timeouts import checked_timeout
from callboard.messages.storage.errors import (
    CommitUnknown,
    StoreFull,
    StoreUnavailable,
    UnknownEvent,
)
from callboard.messages.storage.stores import ReadModelStore

from ...journal.position import Position
from ...kernel.failures import ends_task
from ...kernel.inspection.metric_sources import Name, Reading
from ...kernel.threads import ThreadRunner
from ..codec import EventCodec
from ..errors import EventUnreadable, ProjectionFailed
from ..log import EventLog
from ..subscription.core import RETRY, Filter, Page
from ..subscription.reader import Follower, LogReader, SubscriptionLimits
from .figures import ProjectorLimits, ProjectorState, ProjectorStatistics
from .folding import Folded, ModelFold
from .projection import Projection

__all__ = ["Follows", "Projector"]

LOGGER: Final = logging.getLogger("callboard.events")
TRANSIENT: Final = (StoreUnavailable, StoreFull, CommitUnknown)
"""Failures of a store that are waited out."""


class Follows(Protocol):
    """A listener to the changes of a read model: `Queries`."""

    async def applied(self, model: str, position: int, keys: Sequence[str] | None) -> None:
        """The model has reached a position; `keys` are the changed rows, None if unknown."""

    async def promoted(self, model: str, position: int) -> None:
        """The projection's name refers to this model from now on."""

    def stopped(self, error: CallboardError) -> None:
        """The projector has stopped with this error: the model will not grow any more."""


class Projector:
    """Keeps one read model up to date. Belongs to one event loop; `start` begins, `close` ends it.

    Without `codec`, only the events of the projection's methods are known, and any other event
    stops the projector (with `reads_all = False`, it does not read other events at all).

    An event that cannot be folded stops the projector right before this event. If a method of
    the projection raises, it is retried `retries` times first (None: without end), after 0.1 s
    at first and up to 5 s later. The projector waits for a store that is unavailable or full.
    `on_stopped` is called once with the error that stopped it. The owner of the stores closes
    them.

    `source` is the log, or a `Follower` of it: projectors that share a follower, and are up to
    date, read each commit once. `queries` are notified of changes. `shadow` makes a shadow build.
    """

    def __init__(
        self,
        projection: Projection[Any],
        source: EventLog | Follower,
        store: ReadModelStore,
        codec: EventCodec | None = None,
        *,
        shadow: bool = False,
        retries: int | None = 0,
        limits: ProjectorLimits | None = None,
        queries: Sequence[Follows] = (),
        on_stopped: Callable[[CallboardError], None] | None = None,
        wall_time: Callable[[], float] = time.time,
    ) -> None:
        self.projection: Final = projection
        self.log: Final = source.log if isinstance(source, Follower) else source
        self.store: Final = store
        self.limits: Final = limits or ProjectorLimits()
        self.failed: CallboardError | None = None
        """The error that stopped it; None while it works."""
        self._codec = codec or EventCodec(projection.contracts)
        self._fold = ModelFold(projection, store, self._codec, self.limits.rows_cached)
        self._threads = ThreadRunner(f"project-{projection.name}")
        self._source = source
        self._reader: LogReader
        self._position = Position()
        self._ahead: Page | None = None
        self._is_shadow = shadow
        self._retries = retries
        self._queries = tuple(queries)
        self._on_stopped = on_stopped
        self._wall_time = wall_time
        self._state = ProjectorState.CATCHING_UP
        self._waiting_since: float | None = None
        self._model_checked_s = 0.0
        self._is_fresh = False
        self._attempts = self._store_failures_in_a_row = 0
        self._events = self._pages = self._overtaken = self._failures = self._store_failures = 0
        self._closing = False
        self._end_listening: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def position(self) -> int:
        """The last known position of the model: that of the last event in it."""
        return self._position.value

    @property
    def model(self) -> str:
        """The name of the model that this projector writes."""
        return self._fold.model

    async def start(self) -> None:
        """Open the store and begin. Raises `ProjectionChanged`, and what the store raises."""
        if self._task is not None:
            raise UsageError("the projector was started already.", advice="Make a new one.")
        await self._threads.call(self.store.open)
        position = await self._find()
        limits = self.limits
        self._reader = LogReader(
            self._source,
            Filter(kinds=None if self.projection.reads_all else self.projection.kinds),
            position,
            SubscriptionLimits(limits.page_events, 0, limits.read_timeout_s, limits.idle_s),
        )
        self._end_listening = self._reader.follower.news.on_move(self._on_commit)
        self._task = asyncio.create_task(self._run(), name=f"projector {self.model}")

    async def _find(self) -> int:
        """Find the model in the store; gives its position."""
        self._ahead = None
        if self._is_shadow:
            position = await self._threads.call(self._fold.open_shadow)
            self._is_shadow = self._fold.is_shadow
        else:
            model = await self._threads.call(self.store.meaning, self.projection.name)
            position = await self._threads.call(self._fold.open, model)
        self._model_checked_s = asyncio.get_running_loop().time()
        self._is_fresh = True
        await self._set_position(position, None)
        return position

    async def _reopen(self) -> None:
        self._reader.restart(await self._find())

    def _on_commit(self, head: int) -> None:
        if self._waiting_since is None and head > self.position:
            self._waiting_since = self._wall_time()

    # --- the loop --------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while not self._closing:
                try:
                    await self._step()
                    self._store_failures_in_a_row = 0
                except TRANSIENT as error:
                    if not self._closing:
                        await self._wait_for_store(error)
        except CallboardError as error:
            self._stop(error)
        except BaseException as error:
            if ends_task(error):
                raise
            LOGGER.exception("The projector of %s has failed.", self.model)
            unforeseen = InternalError(f"the projector of {self.model!r} failed: {error!r}.")
            unforeseen.__cause__ = error
            self._stop(unforeseen)

    async def _step(self) -> None:
        if not self._is_fresh:
            await self._reopen()
        await self._check_model()
        if not self._reader.is_behind and self._ahead is None:
            self._waiting_since = None
            self._state = ProjectorState.LIVE
            await self._reader.wait()
            return
        page = self._ahead or await self._reader.next_page()
        self._ahead = None
        if page.events:
            self._waiting_since = page.events[0].recorded_at
        if self._state is not ProjectorState.LIVE or len(page.events) >= self.limits.page_events:
            self._state = ProjectorState.CATCHING_UP
        folded = await self._threads.call(self._fold.fold, self.position, page.events, page.seen)
        if folded.after > folded.before and not await self._apply(folded, page):
            return
        if folded.failed is not None:
            await self._wait_to_retry(folded.failed)
        else:
            self._attempts = 0

    async def _apply(self, folded: Folded, page: Page) -> bool:
        """Store the changes, and read the next page meanwhile; False if another was faster."""
        self._is_fresh = False
        applying = asyncio.ensure_future(self._threads.call(self._fold.apply, folded))
        try:
            if folded.failed is None and self.log.head > page.seen:
                # A read that fails here is repeated later, where its error counts.
                with contextlib.suppress(CallboardError):
                    self._ahead = await self._reader.next_page()
        finally:
            applied = await applying
        if not applied:
            self._overtaken += 1
            return False
        self._is_fresh = True
        self._pages += 1
        last = folded.after
        if folded.failed is None:
            self._events += len(page.events)
        else:
            self._events += sum(event.position <= last for event in page.events)
        if self._ahead is None and folded.failed is None and page.events:
            self._waiting_since = page.events[-1].recorded_at
        await self._set_position(last, [key for key in folded.changes if key])
        return True

    async def _set_position(self, position: int, keys: Sequence[str] | None) -> None:
        """Notify the caches, then those that wait, of the model's position."""
        if not self._is_shadow:
            for queries in self._queries:
                await queries.applied(self.model, position, keys)
        self._position.move(position)

    async def _check_model(self) -> None:
        """Reopen the model when the name refers to another one; checks once in a while."""
        now_s = asyncio.get_running_loop().time()
        if self._is_shadow or now_s - self._model_checked_s < self.limits.model_check_s:
            return
        self._model_checked_s = now_s
        if await self._threads.call(self.store.meaning, self.projection.name) != self.model:
            LOGGER.info(
                "The name %s refers to another model than %s.", self.projection.name, self.model
            )
            await self._reopen()

    # --- failures --------------------------------------------------------------------------

    async def _wait_for_store(self, error: CallboardError) -> None:
        self._store_failures += 1
        self._state = ProjectorState.WAITING_FOR_STORE
        self._ahead, self._is_fresh = None, False
        self._store_failures_in_a_row += 1
        await self._wait(RETRY.delay_s(self._store_failures_in_a_row), error)

    async def _wait(self, wait_s: float, error: CallboardError) -> None:
        LOGGER.warning("The projector of %s waits %.1f s: %s", self.model, wait_s, error)
        await self._reader.pause(wait_s)

    async def _wait_to_retry(self, failed: ProjectionFailed) -> None:
        self._failures += 1
        # Waiting does not repair an event; it may help a method that raises.
        is_hopeless = isinstance(failed.__cause__, UnknownEvent | EventUnreadable)
        if is_hopeless or (self._retries is not None and self._attempts >= self._retries):
            raise failed
        self._ahead = None
        self._reader.restart(self.position)
        self._state = ProjectorState.RETRYING
        self._attempts += 1
        await self._wait(RETRY.delay_s(self._attempts), failed)

    def _stop(self, error: CallboardError) -> None:
        self.failed = error
        self._state = ProjectorState.FAILED
        LOGGER.error("The projector of %s has stopped: %s", self.model, error)
        self._end()
        if not self._is_shadow:
            for queries in self._queries:
                queries.stopped(error)
        if self._on_stopped is not None:
            self._on_stopped(error)

    def _end(self) -> None:
        if self._end_listening is not None:
            self._end_listening()
            self._reader.close()
        self._position.end(self._why_ended())
        self._threads.close()

    def _why_ended(self) -> CallboardError:
        if self.failed is not None:
            return self.failed
        return UsageError(
            f"the projector of {self.model!r} is closed.", advice="Start another one."
        )

    # --- for its owner ---------------------------------------------------------------------

    async def wait_for(self, position: int, timeout_s: float) -> None:
        """Wait until the event at a position is in the model, and its queries serve no older rows.

        Raises `DeadlineExceeded` after `timeout_s` seconds, and the error that stopped the
        projector.
        """
        checked_timeout(timeout_s)
        await self._wait_until(position, asyncio.get_running_loop().time() + timeout_s)

    async def _wait_until(self, position: int, until_s: float) -> None:
        left_s = until_s - asyncio.get_running_loop().time()
        await self._position.wait_for(position, left_s, f"the read model {self.model!r}")

    async def promote(self, timeout_s: float, *, instead_of: "Projector | None" = None) -> str:
        """Make the name refer to the shadow build; gives the model that it referred to before.

        Waits until the shadow build has every event that is in the log now, and every event
        that is in the live model. With `instead_of`, closes the projector of the live model
        first, so that readers never see an older state. Without it, the last events of the live
        projector may be missing for a moment. Raises `DeadlineExceeded` after `timeout_s`
        seconds (nothing is promoted then), `UsageError` when this is no shadow build, and what
        `wait_for` raises.
        """
        until_s = asyncio.get_running_loop().time() + checked_timeout(timeout_s)
        if not self._is_shadow:
            raise UsageError(
                f"{self.model!r} is the live model.",
                advice="Make the projector with shadow=True for a model to promote.",
            )
        await self._wait_until(self.log.head, until_s)
        if instead_of is not None:
            await instead_of.close()
        name = self.projection.name
        before = await self._threads.call(self.store.meaning, name)
        live = await self._threads.call(self.store.position, before)
        await self._wait_until(live, until_s)
        await self._threads.call(self.store.promote, name, self.model)
        self._is_shadow = False
        for queries in self._queries:
            await queries.promoted(self.model, self.position)
        return before

    async def drop(self, model: str) -> None:
        """Delete a model. Raises `UsageError` for the live model, and for this projector's own."""
        if model == await self._threads.call(self.store.meaning, self.projection.name):
            raise UsageError(
                f"{model!r} is the live model of {self.projection.name!r}.",
                advice="Promote another model first.",
            )
        if model == self.model:
            raise UsageError(
                f"{model!r} is the model of this projector.",
                advice="Close this projector, and drop the model with another one.",
            )
        await self._threads.call(self.store.drop, model)

    def statistics(self) -> ProjectorStatistics:
        """The projector's figures now."""
        lag = max(0, self.log.head - self.position)
        since = self._waiting_since
        return ProjectorStatistics(
            name=self.projection.name,
            model=self.model,
            state=self._state,
            position=self.position,
            head=self.log.head,
            lag_positions=lag,
            lag_s=0.0 if not lag or since is None else max(0.0, self._wall_time() - since),
            events=self._events,
            pages=self._pages,
            overtaken=self._overtaken,
            failures=self._failures,
            store_failures=self._store_failures,
            skipped=sum(self._codec.skipped.values()),
        )

    def reading(self) -> Reading:
        """The same figures as metrics, labelled by the projection; `names.py` describes each."""
        now = self.statistics()
        counts = {
            "events": now.events,
            "pages": now.pages,
            "failures": now.failures,
            "store_failures": now.store_failures,
            "skipped": now.skipped,
        }
        gauges = {
            "lag_positions": now.lag_positions,
            "lag_seconds": now.lag_s,
            "stopped": float(now.state is ProjectorState.FAILED),
        }
        return Reading(
            {Name(f"callboard_projection_{what}", now.name): n for what, n in counts.items()},
            {Name(f"callboard_projection_{what}", now.name): n for what, n in gauges.items()},
        )

    async def close(self) -> None:
        """Finish the page that is under way, and end; may be called twice."""
        self._closing = True
        if self._task is not None:
            self._reader.close()
            await asyncio.wait((self._task,))
        if self.failed is None:
            self._state = ProjectorState.CLOSED
        self._end()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()
