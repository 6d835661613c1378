"""What a runner has stored: it claims the pipeline, commits, and finds out about other owners."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from callboard.messages.core.contract import Contract
from callboard.messages.core.fences import is_replaced
from callboard.messages.storage.errors import StoreUnavailable, WriterFenced

from ...kernel.threads import ThreadRunner
from ..accounts import PipelineAccount
from ..core import Pipeline, StageState
from ..errors import PipelineRefused
from .delivery import Deliverer
from .outgoing import decode_batch
from .stored import (
    Changes,
    PipelineState,
    PipelineStore,
    Status,
    StoredPipeline,
    out_key,
    state_changes,
)

__all__ = ["Commits"]


class Commits:
    """The stored side of one runner. Belongs to one event loop."""

    def __init__(
        self,
        pipeline: Pipeline,
        store: PipelineStore,
        deliverer: Deliverer | None,
        contracts: Mapping[str, type[Contract]],
        *,
        fence: int,
        owner: str,
        ends: tuple[str, str],
        wall_time: Callable[[], float],
    ) -> None:
        self._pipeline = pipeline
        self._store = store
        self._deliverer = deliverer
        self._contracts = contracts
        self._fence = fence
        self._owner = owner or uuid.uuid4().hex
        self._ends = ends
        """The names of source and sink."""
        self._wall_time = wall_time
        self._threads = ThreadRunner(f"pipeline-{pipeline.spec.name}")
        self.is_claimed = False
        """Whether the store knows this owner."""
        self._states: Mapping[str, StageState] = {}
        """The states of stages as they are stored."""
        self.stored = StoredPipeline(0, Status(), None)
        self.account = PipelineAccount(())
        """The account of the last commit."""
        self.is_fresh = False
        """Whether the pipeline is what is stored; after a failure `reload` makes it so."""
        self.overtaken = 0
        self.behind: int | None = None
        """The rows that the source still has; None if it does not know."""

    @property
    def status(self) -> Status:
        """The status of the last commit."""
        return self.stored.status

    async def reload(self) -> None:
        """Go on from what the store has, the first time also claim it.

        Raises `WriterFenced` after another owner's commit.
        """
        if not self.is_claimed:
            await self._threads.call(self._store.open)
        stored = await self._threads.call(self._store.load)
        if self.is_claimed and stored.status.owner != self._owner:
            raise self._fenced(stored.status)
        account = self._account_of(stored)
        if not self.is_claimed:
            stored = await self._claim(stored, account)
        outgoing = {number: decode_batch(data, self._contracts) for number, data in stored.outgoing}
        if self._deliverer is not None:
            self._deliverer.restore(outgoing)
        self.stored = replace(stored, outgoing=(), account=None)
        self._states = dict(stored.states)
        self._pipeline.restore(account, self._states, stored.status.batches)
        self.account = PipelineAccount.decode(account.encode())
        self.is_fresh = True

    async def _claim(self, stored: StoredPipeline, account: PipelineAccount) -> StoredPipeline:
        """Become the owner: commits of any other one fail from now on."""
        status = stored.status
        if is_replaced(self._fence, status.fence):
            raise self._fenced(status)
        source, sink = self._ends
        is_ended = status.state is PipelineState.ENDED
        status = replace(
            status,
            owner=self._owner,
            fence=max(self._fence, status.fence),
            state=PipelineState.RUNNING if is_ended else status.state,
            version=self._pipeline.spec.version,
            source=source,
            sink=sink,
            committed_at=self._wall_time(),
        )
        changes: Changes = {"status": status.encode(), "account": account.encode()}
        if not await self._threads.call(self._store.commit, stored.commit, changes):
            raise StoreUnavailable("another owner came first.", may_have_run=False)
        self.is_claimed = True
        return replace(stored, commit=stored.commit + 1, status=status)

    def _account_of(self, stored: StoredPipeline) -> PipelineAccount:
        names = [stage.spec.name for stage in self._pipeline.stages]
        account = stored.account
        if account is None:
            return PipelineAccount(names)
        if list(account.stages) == names:
            return account
        kept = [name for name, state in stored.states.items() if state.rows]
        if kept:
            raise PipelineRefused.of(
                self._pipeline.spec.name,
                [
                    f"the stored stage {name!r} keeps rows, and the stages have changed"
                    for name in kept
                ],
            )
        return account.with_stages(names)

    def _fenced(self, status: Status) -> WriterFenced:
        return WriterFenced(
            f"another owner runs the pipeline {self._pipeline.spec.name!r} since its batch "
            f"{status.batches}.",
            advice="Nothing is to be done: this incarnation has been replaced.",
            may_have_run=False,
        )

    async def commit(self, changes: Changes, status: Status) -> bool:
        """Commit changes with the present account; False when another commit came first."""
        self.is_fresh = False
        account = self._pipeline.account
        deliverer = self._deliverer
        cleared = {} if deliverer is None else dict(deliverer.delivered)
        for number, rows in cleared.items():
            changes[out_key(number)] = None
            account.deliver(rows)
        changes |= state_changes(self._pipeline.states, self._states)
        behind = -1 if self.behind is None else self.behind
        status = replace(status, committed_at=self._wall_time(), behind=behind)
        encoded = account.encode()
        changes["status"], changes["account"] = status.encode(), encoded
        before = self.stored.commit
        if not await self._threads.call(self._store.commit, before, changes):
            self.overtaken += 1
            return False
        if deliverer is not None:
            for number in cleared:
                deliverer.delivered.pop(number, None)
        self.stored = replace(self.stored, commit=before + 1, status=status)
        self._states = dict(self._pipeline.states)
        self.account = PipelineAccount.decode(encoded)
        self.is_fresh = True
        return True

    def moved_on(self, position: Any) -> None:
        """The source skipped what is not for the pipeline: the next commit says so."""
        self.stored = replace(self.stored, status=replace(self.status, position=position))

    def next_replay(self) -> int:
        """The next dead letter that a person wants replayed; 0 for none."""
        replays = self.stored.replays
        if not replays:
            return 0
        self.stored = replace(self.stored, replays=replays[1:])
        return replays[0]

    async def check_moved(self) -> None:
        """Be no longer fresh after a person's decision."""
        if await self._threads.call(self._store.moved, self.stored.commit):
            self.is_fresh = False

    def close(self) -> None:
        """Commit no more."""
        self._threads.close()
