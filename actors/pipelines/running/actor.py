"""A pipeline as an actor, which a supervisor starts and restarts.

The actor makes its source, sink and store on its host, and goes on at the stored position. A
pipeline that stops itself keeps its actor: it answers `QueryPipeline`, and waits for
`ResumePipeline`. An error that is no decision of the pipeline fails the actor.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from pydantic import Field

from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import ActorStopped, CallboardError, MailboxFull, UsageError
from callboard.messages.storage.stores import ReadModelStore

from ...kernel.actor import Actor, OnError, handler
from ...kernel.context import Context
from ..batch import DataBatch
from ..build import build_pipeline
from ..core import Pipeline
from ..registry import StageRegistry
from ..spec import DataPipeline
from .figures import PipelineLimits, PipelineStatistics, RunState
from .ports import PipelineSink, PipelineSource, SourcePage
from .remote import RunStage, StageRan
from .runner import PipelineRunner

__all__ = [
    "PipelineActor",
    "PipelineResumed",
    "PipelineView",
    "QueryPipeline",
    "ReceivedSource",
    "ResumePipeline",
    "RowsAccepted",
    "SendRows",
]

AT_ONCE: Final = 64
WAITING_MAX: Final = 56
"""Fewer than `AT_ONCE`: a pipeline that has stopped still answers queries and is resumed."""
SENDERS_MAX: Final = 10_000
WAITING_ROWS_MAX: Final = 100_000


class PipelineView(Contract, name="callboard.pipelines.view"):
    """The state, the figures and the account of a pipeline; see `PipelineStatistics`."""

    name: str
    """The name of the pipeline."""
    state: RunState
    """What it does now."""
    reason: str
    """Why it has stopped."""
    batches: int
    """Batches that were ever stored."""
    behind: int | None
    """Rows that the source still has; None if it does not know."""
    lag_s: float
    """For how long the oldest row in a stage has been there, in seconds."""
    in_flight: int
    """Batches on their way."""
    retries: int
    """Batches that ran again."""
    hung: int
    """Stages that missed their deadline."""
    overtaken: int
    """Commits that were repeated after a person's decision."""
    store_failures: int
    """Failures of the store or the source that were waited out."""
    deliver_failures: int
    """Deliveries that the sink did not take."""
    account: dict[str, Any]
    """The account of the last commit, as `PipelineAccount.to_data` gives it."""

    @classmethod
    def of(cls, now: PipelineStatistics) -> "PipelineView":
        """The view of these statistics."""
        return cls(
            **{name: getattr(now, name) for name in cls.model_fields if name != "account"},
            account=dict(now.account),
        )


class QueryPipeline(Request[PipelineView], name="callboard.pipelines.query"):
    """Ask a pipeline for its state and figures."""


class PipelineResumed(Contract, name="callboard.pipelines.resumed"):
    """Whether the pipeline was stopped, and goes on now."""

    was_stopped: bool
    """Whether it was stopped."""


class ResumePipeline(Request[PipelineResumed], name="callboard.pipelines.resume"):
    """Let a stopped pipeline go on."""


class RowsAccepted(Contract, name="callboard.pipelines.rows_accepted"):
    """The rows are durable: they went through the pipeline, or have been before."""

    sequence: int
    """The last number of the sender that is durable."""


class SendRows(Request[RowsAccepted], name="callboard.pipelines.send_rows"):
    """Give rows to a pipeline with a `ReceivedSource`; the answer comes when they are durable.

    A sender numbers its requests from 1 on, without gaps, and repeats one whose answer it misses.
    """

    sender: str = Field(min_length=1, max_length=200)
    """The name of the sender, unique among all."""
    sequence: int = Field(ge=1)
    """The number of the request, from 1."""
    rows: tuple[Any, ...]
    """The rows: plain values."""


class ReceivedSource:
    """Rows that other actors send; its position is the last number of each sender.

    It keeps what is not durable yet, at most `rows_max` rows: then it accepts no more.
    """

    name = "received"

    def __init__(self, rows_max: int = WAITING_ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._waiting: deque[SendRows] = deque()
        self._rows = 0
        self._seen: dict[str, int] = {}
        """The last number of each sender that is durable or waits here."""
        self._durable: dict[str, int] = {}
        self._news = asyncio.Event()
        self._committed = asyncio.Event()

    async def open(self) -> None:
        """See `PipelineSource.open`."""

    def put(self, request: SendRows) -> None:
        """Take rows. Raises `MailboxFull` without room, and `UsageError` for a gap."""
        seen = self._seen.get(request.sender, 0)
        if request.sequence <= seen:
            return
        if request.sequence != seen + 1:
            raise UsageError(
                f"{request.sender} sends rows {request.sequence} after {seen}.",
                advice="Send all requests, in their order.",
            )
        if self._rows + len(request.rows) > self._rows_max or (
            not seen and len(self._seen) >= SENDERS_MAX
        ):
            raise MailboxFull(
                "the pipeline has too many rows or senders that wait.",
                advice="Send again later: it is behind.",
                may_have_run=False,
            )
        self._seen[request.sender] = request.sequence
        self._waiting.append(request)
        self._rows += len(request.rows)
        self._news.set()

    async def durable(self, sender: str, sequence: int) -> int:
        """Wait until the rows with this number are durable; gives the last number."""
        while self._durable.get(sender, 0) < sequence:
            self._committed.clear()
            await self._committed.wait()
        return self._durable[sender]

    def committed(self, position: Any) -> None:
        """The pipeline has stored this position."""
        self._durable = dict(position or {})
        for sender, sequence in self._durable.items():
            self._seen[sender] = max(sequence, self._seen.get(sender, 0))
        while self._waiting and self._waiting[0].sequence <= self._durable.get(
            self._waiting[0].sender, 0
        ):
            self._rows -= len(self._waiting.popleft().rows)
        self._committed.set()

    async def read(self, after: Any, rows_max: int, wait_s: float) -> SourcePage:
        """See `PipelineSource.read`."""
        position = dict(after or {})
        rows: list[Any] = []
        if not self._pending(position) and wait_s:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
        sender = ""
        for request in self._pending(position):
            # One sender for each batch: a dead letter names it.
            if (rows and len(rows) + len(request.rows) > rows_max) or sender not in (
                "",
                request.sender,
            ):
                break
            sender = request.sender
            rows += request.rows
            position[sender] = request.sequence
        place = position.get(sender, 0)
        return SourcePage(DataBatch.of_rows(rows, source=sender, position=place), position)

    def _pending(self, position: dict[str, int]) -> list[SendRows]:
        return [each for each in self._waiting if each.sequence > position.get(each.sender, 0)]

    async def behind(self, after: Any) -> int | None:
        """See `PipelineSource.behind`."""
        return self._rows

    async def close(self) -> None:
        """See `PipelineSource.close`."""


class PipelineActor(Actor):
    """Runs one pipeline; see `PipelineRunner` for its guarantees.

    The actor calls `spec`, `make_source`, `make_sink` and `make_store` on its host. With a
    `ReceivedSource` it answers `SendRows`. Stages on a pool are asked for through the directory:
    start a pool of `StageAgent`.
    """

    on_error: ClassVar[OnError] = OnError.RESUME
    concurrency: ClassVar[int] = AT_ONCE

    def __init__(
        self,
        spec: DataPipeline | Callable[[], DataPipeline],
        make_source: Callable[[], PipelineSource],
        make_sink: Callable[[], PipelineSink],
        make_store: Callable[[], ReadModelStore],
        *,
        make_types: Callable[[], StageRegistry] | None = None,
        contracts: Sequence[type[Contract]] = (),
        limits: PipelineLimits | None = None,
    ) -> None:
        self._spec = spec
        self._make_source = make_source
        self._make_sink = make_sink
        self._make_store = make_store
        self._make_types = make_types
        self._contracts = tuple(contracts)
        self._limits = limits
        self._open = contextlib.AsyncExitStack()
        self._runner: PipelineRunner | None = None
        self._source: PipelineSource | None = None
        self._waiting = 0
        """Senders that wait until their rows are durable."""

    def _built(self) -> Pipeline:
        spec = self._spec() if callable(self._spec) else self._spec
        types = None if self._make_types is None else self._make_types()
        return build_pipeline(spec, types, clock=time.perf_counter_ns)

    async def started(self, ctx: Context) -> None:
        """Build the pipeline, open its ends and begin. Raises what they raise."""

        def stopped(error: CallboardError) -> None:
            ctx.stop(Exit.of_error(ExitReason.FAILED, error))

        async def ask_pool(request: RunStage, timeout_s: float) -> StageRan:
            return await ctx.ask(request, timeout_s=timeout_s)

        async with contextlib.AsyncExitStack() as stack:
            pipeline = self._built()
            store = self._make_store()
            stack.callback(store.close)
            source = self._source = self._make_source()
            has_pool = any(not stage.runs_here for stage in pipeline.stages)
            runner = PipelineRunner(
                pipeline,
                source,
                self._make_sink(),
                store,
                fence=ctx.fence,
                ask_pool=ask_pool if has_pool else None,
                contracts=self._contracts,
                limits=self._limits,
                on_stopped=stopped,
                on_commit=source.committed if isinstance(source, ReceivedSource) else None,
            )
            stack.push_async_callback(runner.close)
            await runner.start()
            self._open, self._runner = stack.pop_all(), runner
        ctx.measure(runner.reading)

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """Finish the commit that is under way, and close the ends."""
        await self._open.aclose()

    def _running(self) -> PipelineRunner:
        if self._runner is None:
            raise ActorStopped("the pipeline has not started.", may_have_run=False)
        return self._runner

    @handler
    async def view(self, request: QueryPipeline) -> PipelineView:
        """The pipeline's state and figures now."""
        return PipelineView.of(self._running().statistics())

    @handler
    async def resume(self, request: ResumePipeline) -> PipelineResumed:
        """Let it go on."""
        return PipelineResumed(was_stopped=await self._running().resume())

    @handler
    async def take(self, request: SendRows) -> RowsAccepted:
        """Take rows; the answer comes when they are durable."""
        self._running()
        source = self._source
        if not isinstance(source, ReceivedSource):
            raise UsageError(
                "this pipeline does not receive rows.", advice="Make it with a ReceivedSource."
            )
        if self._waiting >= WAITING_MAX:
            raise MailboxFull(
                f"{self._waiting} senders wait for the pipeline.",
                advice="Send again later: it is behind, or has stopped.",
                may_have_run=False,
            )
        source.put(request)
        self._waiting += 1
        try:
            return RowsAccepted(sequence=await source.durable(request.sender, request.sequence))
        finally:
            self._waiting -= 1
