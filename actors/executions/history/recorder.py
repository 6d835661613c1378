"""Writes the events of an execution into the journal, while the execution goes on.

The events of one turn are one append. The execution does not wait for its appends. Each append
expects the version that the one before it leads to, and follows its last event. So an owner that
was superseded (another process has resumed the execution) can write no more, and notices this at
its next append.

Invariants: events are appended in the order in which they happened; after a failure nothing is
appended; `is_settled` says that all appended events are durable.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from callboard.messages.core.codec import Codec, size_bytes
from callboard.messages.core.contract import Contract, ContractKey, describe_contract
from callboard.messages.core.errors import CallboardError, PayloadTooLarge
from callboard.messages.jobs.execution import (
    EXECUTION_TRANSITIONS,
    Decision,
    ExecutionStatus,
    StateTransitionTrigger,
)
from callboard.messages.jobs.job import Route
from callboard.messages.jobs.plan import SubTask
from callboard.messages.storage.blobs import BlobRef
from callboard.messages.storage.errors import WrongExpectedVersion
from callboard.messages.storage.event_ids import NumberedIds
from callboard.messages.storage.events import Append, Appended, NewEvent

from ...scheduler.effects import DoneReport
from ..step_keys import KEY_FORM
from .blobs import Blobs
from .events import (
    Began,
    Beginning,
    Decided,
    Entered,
    Event,
    GrownWriter,
    Lost,
    LostResult,
    MovedWriter,
    Packed,
    Phase,
    Planned,
    Resumed,
    Stepped,
    Streamed,
    StreamedPartial,
    Submitted,
    stream_of,
)

if TYPE_CHECKING:
    from ...journal.journal import Journal

__all__ = ["GROWN_BYTES_MAX", "GROWN_ROWS_MAX", "NOTHING", "GivenAttributes", "Recorder"]

GROWN_ROWS_MAX: Final = 1_024
"""Sub-tasks of one event: about 2 ms of packing."""

GROWN_BYTES_MAX: Final = 2**20
"""Bytes of requests after which another event begins."""

NOTHING: Final = ContractKey("", 0, 0)
"""Stands for the reply None."""

Then = Callable[[], None]


class Recorder:
    """Writes the history of one execution, for its owner.

    `owner` names the process that runs it; `nonce` is a text that no other recorder ever has.
    `on_failure` is called once, with the error of the first failed write. With `blobs`, a result
    over `result_bytes_max` and up to `stored_bytes_max` is stored there. `on_durable` is called
    with the execution's id and each durable version.
    """

    def __init__(
        self,
        journal: "Journal",
        codec: Codec,
        *,
        execution_id: str,
        owner: str,
        nonce: str,
        wall_time: Callable[[], float],
        result_bytes_max: int,
        version: int = 0,
        blobs: Blobs | None = None,
        stored_bytes_max: int = 0,
        on_durable: Callable[[str, int], None] | None = None,
    ) -> None:
        self.execution_id: Final = execution_id
        self.owner: Final = owner
        self.has_ended = False
        """Whether the end of the execution is recorded; `settled` waits until it is durable."""
        self.failure: CallboardError | None = None
        self.on_failure: Callable[[CallboardError], None] | None = None
        self._journal = journal
        self._codec = codec
        self._stream = stream_of(execution_id)
        self._wall_time = wall_time
        self._ids = NumberedIds(nonce, wall_time())
        self._result_bytes_max = result_bytes_max
        self._stored_bytes_max = stored_bytes_max
        self._blobs = blobs
        self._on_durable = on_durable
        self._stored: dict[tuple[str, int], Packed | CallboardError] = {}
        """Results that are stored as blobs, or failed to be, until they are reported again."""
        self._version = version
        self._last = b""
        """The id of the event that was appended last."""
        self._under_way = 0
        self._noted: list[NewEvent] = []
        self._phases: list[Phase] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._moved = MovedWriter()
        """The changes since the last append."""
        self._starting: list[Beginning] = []
        self._packed: dict[tuple[str, int], Packed] = {}
        self._began: dict[str, tuple[str, float, int]] = {}
        """For each attempt under way: the executor, the start, and the number."""

    # --- around the plan ---------------------------------------------------------------------

    def submitted(
        self,
        job: str,
        request: Contract,
        attributes: Mapping[str, Any],
        driver: Mapping[str, Any],
        *,
        waits: bool = False,
    ) -> None:
        """Record the submission. Raises a `ContractError` if it cannot be encoded.

        With `waits` it is appended with the next events, unless `continue_from` comes first.
        """
        packed = self._pack(request)
        given = self._codec.encode(GivenAttributes(values=dict(attributes)))
        self._note(
            Submitted(
                id=self.execution_id,
                job=job,
                request=packed,
                attributes=(given[0], tuple(map(bytes, given[1]))),
                at=self._wall_time(),
                by=self.owner,
                driver=dict(driver),
                keys=KEY_FORM,
            )
        )
        if not waits:
            self.flush()

    def continue_from(self, version: int) -> None:
        """Drop what was recorded: the stream has this version, and this owner continues it."""
        self._noted, self._version = [], version

    def withdraw(self, error: CallboardError) -> None:
        """Write nothing: the execution belongs to somebody else, or cannot be read."""
        self.failure, self._noted = error, []

    def resumed(self) -> None:
        """Record that this owner resumes the execution."""
        self._note(Resumed(self.owner, self._wall_time()))
        self.flush()

    def lost(self, results: Sequence[LostResult]) -> None:
        """Record the loss of results that were stored as blobs."""
        self._note(Lost(results, self.owner, self._wall_time()))
        self.flush()

    def entered(self, phase: str) -> None:
        """Record the next phase; it is written with the next append."""
        self._phases.append(Phase(phase, self._wall_time()))

    def stepped(
        self,
        from_status: ExecutionStatus,
        to: ExecutionStatus,
        at: float,
        trigger: StateTransitionTrigger,
        metadata: Mapping[str, Any],
    ) -> None:
        """Record a transition of the status."""
        self.has_ended = not EXECUTION_TRANSITIONS[to]
        self._note(Stepped(str(from_status), str(to), at, str(trigger), dict(metadata)))
        self.flush()

    async def planned(self, route: Route, sub_tasks: Sequence[SubTask]) -> None:
        """Record the plan. Waits only for room in the journal; raises a failed write's error."""
        self._note(Planned(dict(route.agents), route.plan_maker, len(sub_tasks)))
        index_of = {sub_task.id: number for number, sub_task in enumerate(sub_tasks)}
        writer = GrownWriter()
        for sub_task in sub_tasks:
            writer.add(sub_task, self._pack(sub_task.request), index_of)
            if len(writer) >= GROWN_ROWS_MAX or writer.bytes >= GROWN_BYTES_MAX:
                self._note(writer.event(None))
                self.flush()
                writer = GrownWriter()
                await asyncio.sleep(0)
                while not self._journal.has_room and self.failure is None:
                    await self.settled()
        if len(writer):
            self._note(writer.event(None))
        self.flush()

    # --- in a turn ---------------------------------------------------------------------------

    def began(self, task_id: str, attempt: int, executor: str, now: float) -> None:
        """Note that an attempt is about to be sent."""
        self._began[task_id] = (executor, now, attempt)

    def began_non_idempotent(self, index: int, attempt: int) -> None:
        """Record the start of a non-idempotent attempt, which waits until this is durable."""
        self._starting.append(Beginning(index, attempt))

    def packed_partial(self, value: Contract) -> Packed:
        """A partial result as it is journalled. Raises a `ContractError`."""
        packed = self._pack(value)
        size = size_bytes(packed.body, packed.buffers)
        if size > self._result_bytes_max:
            raise PayloadTooLarge(
                f"a partial result {value.contract_name} has {size} bytes; at most "
                f"{self._result_bytes_max} are journalled.",
                advice="Yield smaller ones, or raise Job.result_bytes_max.",
                may_have_run=True,
            )
        return packed

    def streamed(self, partials: Sequence[StreamedPartial]) -> None:
        """Record partial results."""
        rows: list[StreamedPartial] = []
        size = 0
        for partial in partials:
            rows.append(partial)
            size += size_bytes(partial.value.body, partial.value.buffers)
            if size >= GROWN_BYTES_MAX:
                self._note(Streamed(self._wall_time(), rows))
                rows, size = [], 0
        if rows:
            self._note(Streamed(self._wall_time(), rows))

    def doubtful(
        self, index: int, task_id: str, attempt: int, error: CallboardError, now: float
    ) -> None:
        """Record that a non-idempotent attempt may have run."""
        span = self._span(task_id, now)
        self._moved.doubtful(index, attempt, error.code, error.message, span)

    def decided(self, index: int, decision: Decision, by: str, reason: str) -> None:
        """Record the decision about a sub-task that was in doubt."""
        self._close_turn()
        self._note(Decided(index, str(decision), by, self._wall_time(), reason))

    def result(
        self, report: DoneReport, again: Callable[[DoneReport], None]
    ) -> CallboardError | bool:
        """Keep a result until the core accepts it.

        Gives True, or the error when it cannot be kept. Gives False while it is being stored as
        a blob; `again` is called with the report at the end of that.
        """
        task_id, attempt, message = report
        packed = self._stored.pop((task_id, attempt), None) if self._stored else None
        if packed is None:
            try:
                packed = Packed(NOTHING, b"") if message is None else self._pack(message)
            except CallboardError as error:
                return error
            size = size_bytes(packed.body, packed.buffers) if packed.buffers else len(packed.body)
            if size > self._result_bytes_max:
                return self._keep_large(report, packed, size, again)
        if isinstance(packed, CallboardError):
            return packed
        self._packed[task_id, attempt] = packed
        return True

    def _keep_large(
        self, report: DoneReport, packed: Packed, size: int, again: Callable[[DoneReport], None]
    ) -> CallboardError | bool:
        task_id, attempt, _ = report
        if self._blobs is None or size > self._stored_bytes_max:
            return self._too_large(task_id, size)

        def stored(outcome: BlobRef | CallboardError) -> None:
            self._stored[task_id, attempt] = (
                outcome
                if isinstance(outcome, CallboardError)
                else Packed(packed.contract, b"", (), outcome)
            )
            again(report)

        self._blobs.keep(packed, stored)
        return False

    def _too_large(self, task_id: str, size: int) -> CallboardError:
        limit, what = self._result_bytes_max, "journalled"
        advice = "Put it into a store and return a reference, raise Job.result_bytes_max, or "
        if self._blobs is None:
            advice += "store it as a blob: set Job.large_results and the setting `blobs`."
        else:
            limit, what = self._stored_bytes_max, "stored"
            advice = "Put it into a store and return a reference, or raise Job.stored_bytes_max."
        return PayloadTooLarge(
            f"the result of sub-task {task_id!r} has {size} bytes; at most {limit} are {what}.",
            advice=advice,
            task_id=task_id,
            may_have_run=True,
        )

    def done(self, index: int, task_id: str, attempt: int, now: float) -> None:
        """Record a result that the core has accepted."""
        packed = self._packed.pop((task_id, attempt))
        executor, took_s = self._span(task_id, now)
        self._moved.done(index, attempt, executor, took_s, packed)

    def troubled(
        self,
        index: int,
        task_id: str,
        attempt: int,
        error: CallboardError,
        now: float,
        *,
        loss: bool,
    ) -> None:
        """Record a failed attempt whose sub-task is retried."""
        executor, took_s = self._span(task_id, now)
        self._moved.troubled(
            index, attempt, executor, took_s, code=error.code, message=error.message, is_loss=loss
        )

    def failed(self, index: int, task_id: str, error: CallboardError, now: float) -> None:
        """Record that a sub-task failed for good, usually with its last attempt."""
        if task_id in self._began:
            _, _, attempt = self._began[task_id]
            self._moved.failed_in(index, error.to_data(), attempt, *self._span(task_id, now))
        else:
            self._moved.failed(index, error.to_data())

    def cancelled(self, indices: Sequence[int]) -> None:
        """Record that sub-tasks were cancelled."""
        self._moved.cancelled.extend(indices)

    def skipped(self, indices: Sequence[int]) -> None:
        """Record that sub-tasks were skipped."""
        self._moved.skipped.extend(indices)

    def grown(self, parent: int, sub_tasks: Sequence[SubTask], index_of: Mapping[str, int]) -> None:
        """Record the sub-tasks that a result has added. Raises a `ContractError`."""
        self._close_turn()
        for start in range(0, len(sub_tasks), GROWN_ROWS_MAX):
            writer = GrownWriter()
            for sub_task in sub_tasks[start : start + GROWN_ROWS_MAX]:
                writer.add(sub_task, self._pack(sub_task.request), index_of)
            self._note(writer.event(parent))

    def _span(self, task_id: str, now: float) -> tuple[str, float]:
        """The executor and the duration of an attempt that has ended now."""
        executor, began_s, _ = self._began.pop(task_id, ("", now, 0))
        return executor, now - began_s

    # --- appending ---------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether the journal has room for more."""
        return self._journal.has_room

    @property
    def is_settled(self) -> bool:
        """Whether all appended events are durable."""
        return not self._under_way

    def flush(self, then: Then | None = None) -> bool:
        """Append the recorded events; `then` is called once they are durable. False for none."""
        self._close_turn()
        if self._starting:
            self._note(Began(self._wall_time(), self._starting))
            self._starting = []
        self._packed.clear()  # Results that came too late to count.
        if self._phases:
            phases, self._phases = self._phases, []
            self._noted.insert(0, self._new(Entered(phases)))
        if not self._noted or self.failure is not None:
            self._noted = []
            return False
        events, self._noted = self._noted, []
        # It follows the append before it. If that one is refused, the events of another owner
        # could still make the version that this one expects.
        append = Append(self._stream, tuple(events), self._version, self._last)
        self._version += len(events)
        self._last = events[-1].id
        self._under_way += 1
        try:
            self._journal.submit(append, lambda outcome: self._settle(outcome, then))
        except CallboardError as error:
            self._settle(error, None)
        return True

    def _close_turn(self) -> None:
        if self._moved:
            self._note(self._moved.event(self._wall_time()))
            self._moved = MovedWriter()

    def _settle(self, outcome: Appended | CallboardError, then: Then | None) -> None:
        self._under_way -= 1
        if isinstance(outcome, CallboardError):
            self.give_up(outcome)
        elif self.failure is None:
            if then is not None:
                then()
            if self._on_durable is not None:
                self._on_durable(self.execution_id, outcome.version)
        if self._under_way == 0 or self.failure is not None:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def give_up(self, error: CallboardError) -> None:
        """Stop writing; gives `on_failure` the error."""
        if self.failure is not None:
            return
        if isinstance(error, WrongExpectedVersion):
            error = _superseded(self.execution_id, error)
        self.failure = error
        if self.on_failure is not None:
            self.on_failure(error)

    async def settled(self) -> None:
        """Wait until all appended events are durable. Raises the error of a failed write."""
        while self._under_way and self.failure is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if self.failure is not None:
            raise self.failure

    async def supersede(self) -> None:
        """Stop writing before a resume in this process, and wait for the appends under way.

        An append under way could otherwise extend the stream after the new owner has read it,
        and the new owner's first append would be refused.
        """
        self.give_up(
            WrongExpectedVersion(f"another execution in this process writes {self._stream!r} now.")
        )
        while self._under_way:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    # --- packing -----------------------------------------------------------------------------

    def _pack(self, message: Contract) -> Packed:
        body, buffers = self._codec.encode(message)
        key = describe_contract(type(message)).key
        if buffers:
            return Packed(key, body, tuple(bytes(buffer) for buffer in buffers))
        return Packed(key, body)

    def _note(self, event: Event) -> None:
        if self.failure is None:
            self._noted.append(self._new(event))

    def _new(self, event: Event) -> NewEvent:
        # Each event of each owner has its own id: so the log recognises an append that is
        # repeated after a broken commit, and never confuses it with one of another owner.
        return NewEvent(self._ids.next(), str(event.kind), event.write())


class GivenAttributes(Contract, name="callboard.execution.attributes"):
    """The attributes of the caller, as they are journalled."""

    values: dict[str, Any]


def _superseded(execution_id: str, error: CallboardError) -> CallboardError:
    superseded = WrongExpectedVersion(
        f"execution {execution_id} was resumed elsewhere. {error.message}",
        advice="Follow it there: work in this process since then does not count.",
        **error.details,
    )
    superseded.__cause__ = error
    return superseded
