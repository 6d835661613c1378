"""Answers about executions and the journal, in the process that writes the journal.

Histories are folded once and then kept up to date by new events: the last few that were asked for.
Work that grows with an execution is done in a thread of the journal's reads, so that the loop of
the process goes on.
"""

import asyncio
import base64
import functools
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from callboard.actors.executions.handle import ExecutionHandle, execution_of
from callboard.actors.executions.history.changes import doubts
from callboard.actors.executions.history.events import stream_of
from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.actors.executions.history.reading import read_history
from callboard.actors.executions.history.rows import ROW_KINDS
from callboard.actors.journal.identity import identity_of
from callboard.actors.journal.journal import Journal
from callboard.messages.control.approvals import Approval
from callboard.messages.core.contract import Contract, Request
from callboard.messages.jobs.execution import Progress
from callboard.messages.storage.events import RecordedEvent

from .acts import RecordAct, TakeEvent, record, take
from .analysis import Analysis
from .approval_views import QueryDoubts, StepsInDoubt, step_approval
from .errors import NotServed, UnknownExecution
from .execution_index import ExecutionIndex
from .port import Executions
from .reports import Live, sub_tasks_of, view_of
from .timeline import running_of, timeline_of
from .views import (
    ExecutionsPage,
    ExecutionView,
    JournalEvent,
    JournalPage,
    QueryExecution,
    QueryExecutions,
    QuerySubTasks,
    QueryTimeline,
    ReadJournal,
    ReadStreams,
    StreamsPage,
    SubTasksPage,
    Timeline,
)

__all__ = ["JournalQueries", "Snapshots", "recorded"]

ReturnT = TypeVar("ReturnT")
HISTORIES_MAX: Final = 4
"""Histories that are kept; one of 100,000 sub-tasks takes some 100 MB."""
DOUBTFUL_MAX: Final = 100
"""The newest executions that are searched for steps in doubt."""
EVENTS_AT_ONCE: Final = 1_000
PAGE_BYTES_MAX: Final = 700_000
"""A page of events ends before it has more data than this, but has at least one event."""


class Snapshots(Protocol):
    """The folded histories that a journal keeps."""

    def __call__(self, execution_id: str, /) -> Awaitable[ExecutionHistory | None]:
        """An early history of an execution, to go on from; None without one."""


class _Kept:
    """One history, and what was computed of it."""

    def __init__(self) -> None:
        self.lock: Final = asyncio.Lock()
        self.history: ExecutionHistory | None = None
        self.times: Analysis | None = None


class JournalQueries:
    """Answers the requests of `views.py`. Belongs to the event loop of the journal."""

    def __init__(self, executions: Executions, snapshots: Snapshots | None = None) -> None:
        self._executions: Final = executions
        self._snapshots: Final = snapshots
        self._index: Final = ExecutionIndex()
        self._indexed = 0
        """The position up to which the index has the log."""
        self._indexing: Final = asyncio.Lock()
        self._epoch = ""
        self._kept: Final[OrderedDict[str, _Kept]] = OrderedDict()
        self._in_doubt: dict[str, tuple[tuple[int, bool], Sequence[Approval]]] = {}
        """By execution: its version, whether nobody runs it, and its steps in doubt then."""
        self._by_request: Final[Mapping[type, Callable[[Any], Awaitable[Contract]]]] = {
            QueryExecutions: self._list,
            QueryExecution: self._view,
            QueryDoubts: self._doubts,
            QuerySubTasks: self._sub_tasks,
            QueryTimeline: self._timeline,
            ReadJournal: self._read,
            ReadStreams: self._streams,
            RecordAct: lambda request: record(self._journal, request),
            TakeEvent: lambda request: take(self._journal, request),
        }

    async def answer(self, request: Request[Any]) -> Any:
        """The reply to a request. Raises `UsageError`, and what the journal raises."""
        return await self._by_request[type(request)](request)

    @property
    def _journal(self) -> Journal:
        journal = self._executions.journal
        if journal is None:
            raise NotServed(
                "this system keeps no journal.",
                advice="Start it with `journal=` a path or a URL.",
            )
        return journal

    # --- executions ---------------------------------------------------------------------------

    async def _read_index(self) -> None:
        journal = self._journal
        head = journal.head
        while found := await journal.read(self._indexed, EVENTS_AT_ONCE, kinds=ROW_KINDS):
            self._index.take(found)
            self._indexed = found[-1].position
        self._indexed = max(self._indexed, head)

    async def _list(self, request: QueryExecutions) -> ExecutionsPage:
        journal = self._journal
        async with self._indexing:
            await self._read_index()
            running = {
                execution_id: _progress_of(handle).done
                for execution_id, handle in self._executions.all_running().items()
            }
            return await journal.call(self._index.page, request, running)

    async def _view(self, request: QueryExecution) -> ExecutionView:
        handle = self._executions.running(request.execution_id)
        live = None if handle is None else _live(handle)
        return await self._with(request.execution_id, lambda kept: view_of(_folded(kept), live))

    async def _doubts(self, request: QueryDoubts) -> StepsInDoubt:
        async with self._indexing:
            await self._read_index()
            names = self._index.with_steps(DOUBTFUL_MAX)
        known, self._in_doubt = self._in_doubt, {}
        items: list[Approval] = []
        for name in names:
            handle = self._executions.running(name)
            if handle is not None and not _progress_of(handle).in_doubt:
                continue
            journal, is_gone = self._journal, handle is None
            version = await journal.call(journal.store.version_of, stream_of(name))
            entry = known.get(name)
            if entry is None or entry[0] != (version, is_gone):
                rows = await self._with(name, functools.partial(_steps, is_gone))
                entry = ((version, is_gone), rows)
            self._in_doubt[name] = entry
            items += entry[1]
        return StepsInDoubt(items=tuple(items[: request.limit]))

    async def _sub_tasks(self, request: QuerySubTasks) -> SubTasksPage:
        return await self._with(
            request.execution_id, lambda kept: sub_tasks_of(_folded(kept), _times(kept), request)
        )

    async def _timeline(self, request: QueryTimeline) -> Timeline:
        running = running_of(self._executions.running(request.execution_id))
        return await self._with(
            request.execution_id,
            lambda kept: timeline_of(_folded(kept), _times(kept), request, running),
        )

    async def _with(self, execution_id: str, call: Callable[[_Kept], ReturnT]) -> ReturnT:
        """The result of a call with the newest history, in a thread."""
        journal = self._journal
        kept = self._kept.setdefault(execution_id, _Kept())
        self._kept.move_to_end(execution_id)
        while len(self._kept) > HISTORIES_MAX:
            self._kept.popitem(last=False)
        async with kept.lock:
            base = kept.history
            if base is None and self._snapshots is not None:
                base = await self._snapshots(execution_id)
            kept.history = None  # A failure in between leaves a history that is half up to date.
            history = await read_history(journal.read_stream, execution_id, base=base)
            if history is None:
                self._kept.pop(execution_id, None)
                raise UnknownExecution(
                    f"there is no execution {execution_id!r} in this journal.",
                    advice="The list of executions has the ids.",
                )
            kept.history = history
            return await journal.call(call, kept)

    # --- the journal itself ---------------------------------------------------------------------

    async def _read(self, request: ReadJournal) -> JournalPage:
        journal = self._journal
        if request.stream:
            found = await journal.read_stream(
                request.stream,
                after=request.after,
                limit=request.limit,
                backwards=request.is_backwards,
            )
        else:
            found = await journal.read(request.after, request.limit, kinds=request.kinds)
        size, items = 0, list[JournalEvent]()
        for event in found:
            size += len(event.data) + len(event.metadata)
            if items and size > PAGE_BYTES_MAX:
                break
            items.append(_event(event))
        return JournalPage(
            items=tuple(items),
            has_more=len(items) < len(found) or len(found) == request.limit,
            epoch=await self._identity(journal),
            owner=journal.owner,
        )

    async def _identity(self, journal: Journal) -> str:
        if not self._epoch:
            self._epoch = await identity_of(journal.read)
        return self._epoch

    async def _streams(self, request: ReadStreams) -> StreamsPage:
        names = await self._journal.call(
            lambda: self._journal.store.streams(
                request.prefix, after=request.after, limit=request.limit
            )
        )
        return StreamsPage(items=tuple(names))


def _folded(kept: _Kept) -> ExecutionHistory:
    assert kept.history is not None, "it is read under the same lock"
    return kept.history


def _steps(is_gone: bool, kept: _Kept) -> Sequence[Approval]:  # noqa: FBT001 - a partial call
    history = _folded(kept)
    at = history.submitted.at
    return [
        step_approval(history.id, history.job, at, doubt)
        for doubt in doubts(history, is_gone=is_gone)
    ]


def _times(kept: _Kept) -> Analysis:
    history = _folded(kept)
    if kept.times is None or kept.times.version != history.version:
        kept.times = Analysis(history)
    return kept.times


def _progress_of(handle: ExecutionHandle[Any]) -> Progress:
    scheduler = handle.statistics().scheduler
    return Progress() if scheduler is None else scheduler.progress


def _live(handle: ExecutionHandle[Any]) -> Live:
    progress = _progress_of(handle)
    problem = execution_of(handle).problem
    return Live(problem, progress.running, progress.ready, progress.backing_off)


def _event(event: RecordedEvent) -> JournalEvent:
    return JournalEvent(
        position=event.position,
        stream=event.stream,
        version=event.version,
        id=event.id.hex(),
        kind=event.kind,
        schema_version=event.schema,
        data=base64.b64encode(event.data).decode(),
        metadata=base64.b64encode(event.metadata).decode(),
        recorded_at=event.recorded_at,
    )


def recorded(event: JournalEvent) -> RecordedEvent:
    """The event as the journal has it. Raises `ValueError` for invalid fields."""
    return RecordedEvent(
        event.position,
        event.stream,
        event.version,
        bytes.fromhex(event.id),
        event.kind,
        event.schema_version,
        base64.b64decode(event.data, validate=True),
        base64.b64decode(event.metadata, validate=True),
        event.recorded_at,
    )
