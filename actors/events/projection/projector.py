"""A projector: keeps one read model up with a log, each event in it exactly once.

It reads a page of the log, folds it in memory, and gives the store all changes together with
the new position, in one transaction. What interrupts it (a kill, a lost connection, another
projector of the same model) leaves the model at some position, and it goes on from there. While
a page is being written the next one is being read.

A model can be built anew beside the live one, under a name of its own (`name@2`, `name@3`, ...),
and `promote` lets the name mean it once it has caught up. Readers never see it before.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, Self

from callboard.messages.core.errors import CallboardError, InternalError, UsageError
from callboard.messages.storage.errors import (
    CommitUnknown,
    StoreFull,
    StoreUnavailable,
    UnknownEvent,
)
from callboard.messages.storage.stores import ReadModelStore

from ...journal.position import Position
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
PASSING: Final = (StoreUnavailable, StoreFull, CommitUnknown)
"""Failures of a store that are waited out."""


class Follows(Protocol):
    """Who is told of what happens to a read model: `Queries`."""

    async def applied(self, model: str, position: int, keys: Sequence[str] | None) -> None:
        """The model has come to a position; None when it is not known which rows changed."""

    async def promoted(self, model: str, position: int) -> None:
        """The name means this model from now on."""


class Projector:
    """See the module. Belongs to one event loop; `start` begins, `close` ends it.

    Without `codec`, the events of the projection's own methods are known, and any other one
    stops it (or is not even read, where the projection says `reads_all = False`).

    An event that cannot be folded stops the projector right before it; an exception of the
    projection's own method is tried again `retries` times before (None: without end), after
    0.1 s at first and up to 5 s later. A store that is unavailable or full is waited for.
    `on_stopped` is called once with what has ended it. The stores are their owner's to close.

    `source` is the log, or a `Follower` of it: then projectors that share it, and are up to
    date, read each commit once.
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
        """What has ended it."""
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
        """The position of the last event that is in the model, as far as is known here."""
        return self._position.value

    @property
    def model(self) -> str:
        """The name of the model that it writes."""
        return self._fold.model

    async def start(self) -> None:
        """Find the model and begin. Raises `ProjectionChanged`, and what the store raises."""
        if self._task is not None:
            raise UsageError("the projector was started already.", advice="Make another one.")
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
        """Look at what the store holds; gives the position to begin from."""
        self._ahead = None
        if self._is_shadow:
            position = await self._threads.call(self._fold.open_shadow)
            self._is_shadow = self._fold.is_shadow
        else:
            model = await self._threads.call(self.store.meaning, self.projection.name)
            position = await self._threads.call(self._fold.open, model)
        self._model_checked_s = asyncio.get_running_loop().time()
        self._is_fresh = True
        await self._moved(position, None)
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
                except PASSING as error:
                    if not self._closing:
                        await self._wait_for_store(error)
        except CallboardError as error:
            self._stop(error)
        except Exception as error:
            LOGGER.exception("The projector of %s ends.", self.model)
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
        """Write it, and read the next page meanwhile; False when somebody else was first."""
        self._is_fresh = False
        applying = asyncio.ensure_future(self._threads.call(self._fold.apply, folded))
        try:
            if folded.failed is None and self.log.head > page.seen:
                # A read that fails here is done again, and fails, where it counts.
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
        await self._moved(last, [key for key in folded.changes if key])
        return True

    async def _moved(self, position: int, keys: Sequence[str] | None) -> None:
        """The model stands at a position: tell everybody, those who cache first."""
        if not self._is_shadow:
            for queries in self._queries:
                await queries.applied(self.model, position, keys)
        self._position.move(position)

    async def _check_model(self) -> None:
        """Once in a while: whether the name means another model meanwhile."""
        now_s = asyncio.get_running_loop().time()
        if self._is_shadow or now_s - self._model_checked_s < self.limits.model_check_s:
            return
        self._model_checked_s = now_s
        if await self._threads.call(self.store.meaning, self.projection.name) != self.model:
            LOGGER.info(
                "The name %s means another model than %s.", self.projection.name, self.model
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
        # What an event is does not change by waiting; what a method meets may.
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
        """Wait until an event is in the model, and no cache of its queries holds older rows.

        Raises `DeadlineExceeded`, and what has ended the projector.
        """
        await self._position.wait_for(position, timeout_s, f"the read model {self.model!r}")

    async def promote(self, timeout_s: float, *, instead_of: "Projector | None" = None) -> str:
        """Let the name mean the model that was built beside; gives the model it meant before.

        Waits until it has every event that was in the log when this was called, and every one
        that is in the live model. With `instead_of` the live model's projector is closed first,
        so that no reader goes back by a single event; without it, events that the live
        projector applies in the last moment may be missing for that moment.
        Raises `DeadlineExceeded` (nothing is promoted then), and what `wait_for` raises.
        """
        if not self._is_shadow:
            raise UsageError(
                f"{self.model!r} is the live model.", advice="Build one with shadow=True."
            )
        until_s = asyncio.get_running_loop().time() + timeout_s
        await self.wait_for(self.log.head, timeout_s)
        if instead_of is not None:
            await instead_of.close()
        name = self.projection.name
        before = await self._threads.call(self.store.meaning, name)
        live = await self._threads.call(self.store.position, before)
        await self.wait_for(live, max(0.0, until_s - asyncio.get_running_loop().time()))
        await self._threads.call(self.store.promote, name, self.model)
        self._is_shadow = False
        for queries in self._queries:
            await queries.promoted(self.model, self.position)
        return before

    async def drop(self, model: str) -> None:
        """Forget a model that the name does not mean any more. Raises `UsageError` if it does."""
        if model == await self._threads.call(self.store.meaning, self.projection.name):
            raise UsageError(
                f"{model!r} is what readers of {self.projection.name!r} see.",
                advice="Switch to another model first.",
            )
        if model == self.model:
            raise UsageError(f"{model!r} is being built here.", advice="Close its projector.")
        await self._threads.call(self.store.drop, model)

    def statistics(self) -> ProjectorStatistics:
        """How it stands now."""
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

    async def close(self) -> None:
        """End after the page that is under way; may be called twice."""
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
