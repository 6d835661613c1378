"""Brings a new scheduler's core to the state of an execution in the journal.

Sub-tasks that had ended do not run again; all others run. Changes are repeated in the order in
which they happened, so that a plan grows in the same way again.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import (
    Build,
    Contract,
    ContractKey,
    ContractRegistry,
    describe_contract,
)
from callboard.messages.core.errors import HostLost, StoreFailed, error_from_data
from callboard.messages.jobs.execution import Decision
from callboard.messages.jobs.plan import SubTask
from callboard.messages.storage.blobs import BlobGone, BlobStore
from callboard.messages.storage.errors import ResultLost

from ...scheduler.core import SchedulerCore
from ..collector import Collector
from .blobs import unpacked
from .events import Packed
from .fold import Added, ExecutionHistory
from .recorder import NOTHING, GivenAttributes

__all__ = ["Replay", "lost_attempt"]


def lost_attempt(history: ExecutionHistory, index: int) -> HostLost:
    """The error of a non-idempotent attempt whose owner ended, or whose result is lost."""
    if index in history.lost:
        attempt, why = history.lost[index]
        return HostLost(
            f"attempt {attempt} of {history.ids[index]!r} was done, and its result is lost: {why}",
            may_have_run=True,
        )
    return HostLost(
        f"attempt {history.began[index]} of {history.ids[index]!r} had begun when its execution "
        "was interrupted.",
        may_have_run=True,
    )


class Replay:
    """Decodes one history for the host that resumes the execution."""

    def __init__(
        self,
        history: ExecutionHistory,
        codec: Codec,
        contracts: ContractRegistry,
        blobs: BlobStore | None = None,
    ) -> None:
        self._history = history
        self._blobs = blobs
        self._builds: dict[ContractKey, Build] = {}
        """Resolved once: there may be a hundred thousand messages of one contract."""
        self._codec = codec
        self._contracts = contracts
        self._growths = _growths(history)

    def request(self) -> Contract:
        """The submitted request. Raises a `ContractError` when it cannot be decoded here."""
        request = self._history.submitted.request
        build = self._contracts.resolve(*request.contract)
        return self._codec.decode(request.body, build, request.buffers)

    def attributes(self) -> dict[str, Any]:
        """The attributes of the caller."""
        body, buffers = self._history.submitted.attributes
        given = self._codec.decode(body, describe_contract(GivenAttributes).build, tuple(buffers))
        assert isinstance(given, GivenAttributes)
        return given.values

    def plan(self) -> Sequence[SubTask]:
        """The sub-tasks of the first plan."""
        parent, added = next(self._growths, (None, ()))
        assert parent is None, "an execution begins with its plan"
        return self._sub_tasks(added)

    def _sub_tasks(self, added: Sequence[Added]) -> list[SubTask]:
        ids, message = self._history.ids, self._message
        return [sub_task for part in added for sub_task in part.event.sub_tasks(ids, message)]

    def _message(self, packed: Packed) -> Any:
        build = self._builds.get(packed.contract)
        if build is None:
            if packed.contract == NOTHING:
                return None
            build = self._builds[packed.contract] = self._contracts.resolve(*packed.contract)
        return self._codec.decode(packed.body, build, packed.buffers)

    def _result(self, index: int, packed: Packed) -> Any:
        if packed.blob is None:
            return self._message(packed)
        try:
            if self._blobs is None:
                raise BlobGone(
                    "this system has no blob store.", advice="Set `blobs` to the earlier place."
                )
            return self._message(unpacked(packed, self._blobs.get(packed.blob)))
        except StoreFailed as error:
            raise ResultLost(
                f"execution {self._history.id}: the result of {self._history.ids[index]!r} cannot "
                f"be read: {error.message}",
                advice="Resume it again; if it has ended, fork it from that step.",
            ) from error

    @property
    def grown(self) -> frozenset[str]:
        """Sub-tasks that run again, and whose earlier results have extended the plan."""
        history = self._history
        parents = {added.event.parent for added in history.added}
        return frozenset(history.ids[index] for index in history.lost if index in parents)

    def apply(self, core: SchedulerCore, collector: Collector, now: float) -> None:
        """Repeat all later changes on the core of the first plan."""
        history = self._history
        seen = set[int]()
        for what, how in history.order:
            if what == "grown":
                if how.event.parent is not None and how.event.parent not in seen:
                    seen.add(how.event.parent)
                    self._grow(core, collector)
            elif what == "done":
                core.restore_done(
                    (index, attempt, self._result(index, packed))
                    for index in how
                    for attempt, packed in (history.results[index],)
                )
            elif what == "troubled":
                index, attempt, is_loss = how
                core.restore_failed_attempt(index, attempt, is_loss=is_loss)
            elif what == "failed":
                index, error = how
                core.restore_failure(index, error_from_data(error), now)
            elif what == "cancelled":
                core.cancel(history.ids[how], now)
            elif what == "doubtful":
                index, attempt, code, message = how
                core.restore_doubt(
                    index, attempt, error_from_data({"code": code, "message": message})
                )
            elif what == "decided":
                index, decision = how
                core.decide(history.ids[index], Decision(decision), now)

    def leave_doubts(self, core: SchedulerCore) -> None:
        """Put the non-idempotent attempts that the last owner had begun in doubt."""
        for index, attempt in self._history.began.items():
            core.restore_doubt(index, attempt, lost_attempt(self._history, index))

    def _grow(self, core: SchedulerCore, collector: Collector) -> None:
        parent, added = next(self._growths)
        assert parent is not None
        sub_tasks = self._sub_tasks(added)
        core.extend(sub_tasks)
        collector.admit(sub_tasks, self._history.ids[parent])


def _growths(history: ExecutionHistory) -> Iterator[tuple[int | None, Sequence[Added]]]:
    """The additions by their parents: a large addition takes several events."""
    parent: int | None = None
    together: list[Added] = []
    for added in history.added:
        if added.event.parent != parent and together:
            yield parent, together
            together = []
        parent = added.event.parent
        together.append(added)
    if together:
        yield parent, together
