"""Runs a pipeline from its source to its sink, so that a kill neither loses nor repeats a row.

A batch is read at the stored position, runs through the stages, and is stored with one
transaction: the rows for the sink, dead letters, the states of stages, the accounts, and the next
position. After any interruption the pipeline goes on at the stored position. Rows for a sink
outside the store are part of the transaction too, and are delivered until the sink has them.

Of two runners of one pipeline only one goes on: a commit names the one before it.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple, Self

from callboard.messages.control.spec import Backoff
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, InternalError, StoreFailed, UsageError
from callboard.messages.storage.errors import (
    CommitUnknown,
    StoreDamaged,
    StoreFull,
    StoreUnavailable,
)
from callboard.messages.storage.stores import ReadModelStore

from ...kernel.failures import ends_task
from ...kernel.inspection.metric_sources import Reading
from ...kernel.threads import ThreadRunner
from ..batch import DataBatch
from ..core import BatchRun, Outcome, Pipeline, PipelineExecutionResult, Retry
from ..errors import LetterUnreadable, PipelineStopped
from ..letters import row_of
from .commits import Commits
from .delivery import Deliverer
from .figures import PipelineLimits, PipelineStatistics, RunState, reading_of
from .output import Output
from .placing import AskPool, StageRunner
from .ports import PipelineSink, PipelineSource, SourcePage
from .stored import (
    Changes,
    PipelineState,
    PipelineStore,
    Status,
    letter_key,
    replay_key,
)

__all__ = ["PipelineRunner"]

LOGGER: Final = logging.getLogger("callboard.pipelines")
TRANSIENT: Final = (StoreUnavailable, StoreFull, CommitUnknown)
"""Failures of a store or a source that are waited out."""
RETRY: Final = Backoff(min_s=0.1, max_s=5.0)
LAG_EVERY_S: Final = 1.0
CLOSE_S_MAX: Final = 5.0


class _Ahead(NamedTuple):
    """A batch on its way to the head of the line."""

    page: SourcePage
    running: "asyncio.Future[BatchRun]"
    read_s: float


class PipelineRunner:
    """Runs one pipeline. Belongs to one event loop; `start` begins, `close` ends it.

    `fence` is the fencing token of its incarnation. `ask_pool` runs stages that are placed on a
    pool; without it they run here. `contracts` are those that its rows may be. The owner of the
    store closes it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        source: PipelineSource,
        sink: PipelineSink,
        store: ReadModelStore,
        *,
        fence: int = 0,
        ask_pool: AskPool | None = None,
        contracts: Sequence[type[Contract]] = (),
        limits: PipelineLimits | None = None,
        on_stopped: Callable[[CallboardError], None] | None = None,
        on_commit: Callable[[Any], None] | None = None,
        wall_time: Callable[[], float] = time.time,
        owner: str = "",
    ) -> None:
        self.pipeline: Final = pipeline
        self.name: Final = pipeline.spec.name
        self.limits: Final = limits or PipelineLimits()
        self.store: Final = PipelineStore(store, self.name)
        self.failed: CallboardError | None = None
        """The error that ended it; None while it works."""
        self._source = source
        self._fence = fence
        self._contracts = {contract.contract_name: contract for contract in contracts}
        self._on_stopped = on_stopped
        self._on_commit = on_commit
        """Called with each position that is stored."""
        self._wall_time = wall_time
        self._threads = ThreadRunner(f"pipeline-{self.name}")
        self._stages = StageRunner(pipeline, ask_pool, self.limits.pool_timeout_s)
        self._deliverer: Deliverer | None = None
        self._output = Output(sink)
        if self._output.outside is not None:
            self._deliverer = Deliverer(
                self._output.outside, self.name, fence, self.limits.deliver_timeout_s
            )
        self._commits = Commits(
            pipeline, self.store, self._deliverer, self._contracts, fence=fence, owner=owner,
            ends=(source.name, sink.name), wall_time=wall_time,
        )  # fmt: skip
        self._began_with = self._commits.account
        self._ahead: deque[_Ahead] = deque()
        self._read_position: Any = None
        self._source_ended = False
        self._state = RunState.STARTING
        self._retries = self._store_failures = self._failures_in_a_row = 0
        self._lag_checked_s = float("-inf")
        self._closing = asyncio.Event()
        self._moved = asyncio.Event()
        """Set after each commit."""
        self._task: asyncio.Task[None] | None = None

    # --- for its owner ---------------------------------------------------------------------

    async def start(self) -> None:
        """Open source, sink and store, and begin. Raises what they raise."""
        if self._task is not None:
            raise UsageError("the pipeline was started already.", advice="Make a new runner.")
        await self._source.open()
        if self._deliverer is not None and self._output.outside is not None:
            await self._output.outside.open()
            self._deliverer.start()
        try:
            await self._reload()
        except TRANSIENT as error:
            # A pipeline that is started before its store waits for it.
            LOGGER.warning("The pipeline %s waits for its store: %s", self.name, error)
            self._store_failures += 1
        self._task = asyncio.create_task(self._run(), name=f"pipeline {self.name}")

    async def wait(self, until: Callable[[PipelineStatistics], bool], timeout_s: float) -> None:
        """Wait until its statistics fulfil a condition. Raises `TimeoutError`, and its failure."""
        async with asyncio.timeout(timeout_s):
            while not until(self.statistics()):
                if self.failed is not None:
                    raise self.failed
                self._moved.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.limits.idle_s):
                        await self._moved.wait()

    async def resume(self) -> bool:
        """Let a stopped pipeline go on; False if it was not stopped."""
        resumed = await self._threads.call(self.store.resume)
        self._moved.set()
        return resumed

    def statistics(self) -> PipelineStatistics:
        """The figures now."""
        now_s = asyncio.get_running_loop().time()
        status = self._commits.status
        deliverer = self._deliverer
        return PipelineStatistics(
            name=self.name,
            state=self._state,
            reason=status.reason if self.failed is None else self.failed.message,
            position=status.position,
            batches=status.batches,
            behind=self._commits.behind,
            lag_s=now_s - self._ahead[0].read_s if self._ahead else 0.0,
            in_flight=len(self._ahead) + (0 if deliverer is None else len(deliverer)),
            retries=self._retries,
            hung=self._stages.hung,
            overtaken=self._commits.overtaken,
            store_failures=self._store_failures,
            deliver_failures=0 if deliverer is None else deliverer.failures,
            account=self._commits.account.to_data(),
        )

    def reading(self) -> Reading:
        """The figures as metrics."""
        return reading_of(self.statistics(), self._commits.account, self._began_with)

    async def close(self, timeout_s: float = CLOSE_S_MAX) -> None:
        """Finish the commit that is under way, and end; may be called twice.

        A stage that takes more than `timeout_s` seconds is given up: its batch comes again.
        """
        self._closing.set()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=timeout_s)
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._forget_ahead()
        if self._deliverer is not None and self._output.outside is not None:
            await self._deliverer.close()
            await self._output.outside.close()
        await self._source.close()
        self._stages.close()
        self._commits.close()
        self._threads.close()
        if self.failed is None:
            self._state = RunState.CLOSED

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()

    # --- the loop --------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while not self._closing.is_set():
                try:
                    if not self._commits.is_fresh:
                        await self._reload()
                    await self._step()
                    self._failures_in_a_row = 0
                except TRANSIENT as error:
                    await self._wait_for_store(error)
                except PipelineStopped as error:
                    await self._stop(error)
        except BaseException as error:
            if ends_task(error):
                raise
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, CallboardError):
            LOGGER.error("The pipeline %s has failed.", self.name, exc_info=error)
            unforeseen = InternalError(f"the pipeline {self.name!r} failed: {error!r}.")
            unforeseen.__cause__ = error
            error = unforeseen
        self.failed = error
        self._state = RunState.FAILED
        self._moved.set()
        if self._on_stopped is not None:
            self._on_stopped(error)

    async def _step(self) -> None:
        status = self._commits.status
        if status.state is PipelineState.STOPPED:
            self._state = RunState.STOPPED
            await self._clear_delivered()
            await self._pause(self.limits.idle_s)
            await self._commits.check_moved()
            return
        replay = self._commits.next_replay()
        if replay:
            await self._replay(replay)
            return
        await self._read_ahead()
        if self._ahead:
            self._state = RunState.RUNNING
            await self._take_head()
        else:
            await self._be_idle()

    async def _wait_for_store(self, error: CallboardError) -> None:
        self._store_failures += 1
        self._failures_in_a_row += 1
        self._commits.is_fresh = False
        self._state = RunState.WAITING_FOR_STORE
        wait_s = RETRY.delay_s(self._failures_in_a_row)
        LOGGER.warning("The pipeline %s waits %.1f s: %s", self.name, wait_s, error)
        await self._pause(wait_s)

    async def _pause(self, wait_s: float) -> None:
        """Wait, but not after `close`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._closing.wait()

    # --- what is stored --------------------------------------------------------------------

    async def _reload(self) -> None:
        await self._forget_ahead()
        is_first = not self._commits.is_claimed
        await self._commits.reload()
        if is_first:
            self._began_with = self._commits.account
        self._read_position, self._source_ended = self._commits.status.position, False
        self._stored_now()

    async def _commit(self, changes: Changes, status: Status) -> bool:
        is_stored = await self._commits.commit(changes, status)
        self._stored_now()
        return is_stored

    def _stored_now(self) -> None:
        if self._on_commit is not None:
            self._on_commit(self._commits.status.position)
        self._moved.set()

    async def _stop(self, error: CallboardError) -> None:
        """Stop with a stored reason, until someone resumes it."""
        LOGGER.error("The pipeline %s stops: %s", self.name, error)
        await self._reload()
        status = replace(self._commits.status, state=PipelineState.STOPPED, reason=str(error))
        if await self._commit({}, status):
            self._state = RunState.STOPPED

    # --- batches ---------------------------------------------------------------------------

    async def _read_ahead(self) -> None:
        """Read batches while there is credit; several only for stages on a pool."""
        waiting = 0 if self._deliverer is None else len(self._deliverer)
        room = self.limits.credit_batches - waiting
        if room <= 0:
            return
        while len(self._ahead) < (min(room, self.limits.credit_batches)
                                  if self._stages.first_local else 1):  # fmt: skip
            if self._source_ended or self._closing.is_set():
                return
            wait_s = 0.0 if self._ahead or self._has_delivered else self.limits.idle_s
            page = await self._source_page(wait_s)
            self._source_ended = page.is_end
            if not page.batch.rows:
                await self._moved_on(page)
                return
            self._read_position = page.position
            self._ahead.append(self._begun(page))

    @property
    def _has_delivered(self) -> bool:
        return self._deliverer is not None and bool(self._deliverer.delivered)

    async def _source_page(self, wait_s: float) -> SourcePage:
        reading = asyncio.ensure_future(
            self._source.read(self._read_position, self.limits.batch_rows, wait_s)
        )
        closing = asyncio.ensure_future(self._closing.wait())
        await asyncio.wait((reading, closing), return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        if not reading.done():
            reading.cancel()
            await asyncio.wait((reading,))
            return SourcePage(DataBatch((), 0), self._read_position)
        try:
            return reading.result()
        except TRANSIENT:
            raise
        except (StoreFailed, OSError) as error:
            raise StoreUnavailable(
                f"the source {self._source.name} failed: {error}.", may_have_run=False
            ) from error

    async def _moved_on(self, page: SourcePage) -> None:
        """The source skipped what is not for the pipeline: remember it with the next commit."""
        if not self._ahead:
            self._read_position = page.position
            self._commits.moved_on(page.position)

    def _begun(self, page: SourcePage) -> _Ahead:
        run = self._new_run(page)
        loop = asyncio.get_running_loop()
        running: asyncio.Future[BatchRun]
        if self._stages.first_local:
            again = lambda: self._new_run(page)  # noqa: E731 - a name for one argument
            running = asyncio.ensure_future(self._stages.run(run, again, only_remote=True))
        else:
            running = loop.create_future()
            running.set_result(run)
        return _Ahead(page, running, loop.time())

    def _new_run(self, page: SourcePage, attempt: int = 1) -> BatchRun:
        number = self._commits.status.batches + len(self._ahead) + 1
        return self.pipeline.begin(
            page.batch, attempt=attempt, now=self._wall_time(), execution=f"{self.name}/{number}"
        )

    async def _take_head(self) -> None:
        head = self._ahead[0]
        run = await head.running
        result = await self._ended(run, lambda attempt: self._new_run(head.page, attempt))
        if result is None:
            return
        if result.error is not None:
            await self._stop(result.error)
            return
        status = replace(self._commits.status, position=head.page.position)
        if await self._store(result, status, {}):
            self._ahead.popleft()
            await self._check_lag()

    async def _ended(
        self, run: BatchRun, begin: Callable[[int], BatchRun]
    ) -> PipelineExecutionResult | None:
        """Run a batch to its end, as often as the policy says; None when this is closing."""
        attempt = run.attempt
        while True:
            current = attempt
            run = await self._stages.run(run, lambda current=current: begin(current))  # type: ignore[misc]
            self._output.check(run, self._commits.status.batches + 1)
            result = run.finish()
            if result.outcome is not Outcome.RETRY:
                return result
            assert result.retry is not None, "it says so"
            await self._wait_to_retry(result.retry)
            if self._closing.is_set():
                return None
            attempt += 1
            run = begin(attempt)

    async def _wait_to_retry(self, retry: Retry) -> None:
        self._retries += 1
        self._state = RunState.RETRYING
        strategy = next(
            stage.strategy for stage in self.pipeline.stages if stage.spec.name == retry.stage
        )
        wait_s = strategy.backoff.delay_s(retry.attempt)
        LOGGER.warning(
            "The stage %s of %s failed, again in %.1f s: %s",
            retry.stage, self.name, wait_s, retry.error,
        )  # fmt: skip
        await self._pause(wait_s)

    async def _store(
        self, result: PipelineExecutionResult, status: Status, changes: Changes
    ) -> bool:
        """Store a finished batch. False when it is to run again, or the pipeline has stopped."""
        batch = result.batch
        assert batch is not None, "it is done"
        for number, letter in enumerate(result.letters, start=status.letters + 1):
            changes[letter_key(number)] = letter.encode()
        number = status.batches + 1
        status = replace(status, batches=number, letters=status.letters + len(result.letters))
        try:
            changes |= self._output.changes(batch, number)
            if self._deliverer is None:
                self.pipeline.account.deliver(batch.rows)
            if not await self._commit(changes, status):
                return False
        except TRANSIENT:
            raise
        except CallboardError as error:
            await self._stop(error)
            return False
        if batch.rows and self._deliverer is not None:
            self._deliverer.add(number, batch)
        return True

    async def _forget_ahead(self) -> None:
        for ahead in self._ahead:
            ahead.running.cancel()
        if self._ahead:
            await asyncio.wait([ahead.running for ahead in self._ahead])
        self._ahead.clear()

    # --- without rows ----------------------------------------------------------------------

    async def _be_idle(self) -> None:
        deliverer = self._deliverer
        if deliverer is not None and len(deliverer) and not deliverer.delivered:
            full = len(deliverer) >= self.limits.credit_batches
            self._state = RunState.WAITING_FOR_SINK if full else RunState.IDLE
            deliverer.moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.limits.idle_s):
                    await deliverer.moved.wait()
        await self._clear_delivered()
        if not self._commits.is_fresh or self._closing.is_set():
            return
        if self._source_ended and not (deliverer is not None and len(deliverer)):
            await self._end()
        else:
            self._state = RunState.IDLE if not self._source_ended else self._state
            await self._check_lag()
        if self._commits.is_fresh:
            await self._commits.check_moved()

    async def _clear_delivered(self) -> None:
        """Let the store know what the sink has."""
        if self._has_delivered:
            await self._commit({}, self._commits.status)

    async def _end(self) -> None:
        """The source has ended: give what stages keep, then rest."""
        if self._commits.status.state is PipelineState.ENDED:
            self._state = RunState.ENDED
            await self._pause(self.limits.idle_s)
            return
        if self.pipeline.buffered:
            page = SourcePage(DataBatch((), 0, source=self._source.name), self._read_position)

            def begin(attempt: int) -> BatchRun:
                run = self._new_run(page, attempt)
                run.is_flush = True
                return run

            result = await self._ended(begin(1), begin)
            if result is None:
                return
            if result.error is not None:
                await self._stop(result.error)
            else:
                await self._store(result, self._commits.status, {})
            return
        status = replace(self._commits.status, state=PipelineState.ENDED)
        if await self._commit({}, status):
            self._state = RunState.ENDED

    async def _check_lag(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._lag_checked_s >= LAG_EVERY_S:
            self._lag_checked_s = now_s
            with contextlib.suppress(CallboardError, OSError):
                self._commits.behind = await self._source.behind(self._commits.status.position)

    # --- dead letters that come again --------------------------------------------------------

    async def _replay(self, number: int) -> None:
        """Run a dead letter again, as a batch of its own."""
        self._state = RunState.RUNNING
        gone: Changes = {replay_key(number): None}
        try:
            ((_, letter),) = await self._threads.call(self.store.letters_of, [number])
            row = row_of(letter, self._contracts)
        except (UsageError, LetterUnreadable, StoreDamaged) as error:
            LOGGER.warning("The pipeline %s cannot replay letter %d: %s", self.name, number, error)
            await self._commit(gone, self._commits.status)
            return
        batch = DataBatch.of_rows(
            (row,),
            source=letter.source,
            position=letter.position,
            originals=(letter.original,) if letter.encoding == "bytes" else None,
        )

        def begin(attempt: int) -> BatchRun:
            return self.pipeline.begin(
                batch, attempt=attempt, now=self._wall_time(), execution=letter.execution,
                letter_attempt=letter.attempt + 1, is_replay=True,
            )  # fmt: skip

        result = await self._ended(begin(1), begin)
        if result is None:
            return
        if result.error is not None:
            await self._stop(PipelineStopped(f"the replay of letter {number}: {result.error}"))
            return
        gone[letter_key(number)] = None
        await self._store(result, self._commits.status, gone)
