"""The approvals of a system as an actor: supervised, and found by the name `APPROVALS`.

Every change is stored before anybody learns of it. So a question that was asked stays asked, and
an answer is neither lost nor doubled, whatever dies.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import ClassVar, Final

from callboard.messages.control.approvals import (
    Approval,
    ApprovalsPage,
    AskApproval,
    DecideApproval,
    QueryApprovals,
    WithdrawApproval,
    WithdrawForExecution,
    Withdrawn,
)
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import ActorStopped, CallboardError
from callboard.messages.storage.errors import StoreUnavailable, WriterFenced
from callboard.messages.storage.stores import ReadModelStore

from ..kernel.actor import Actor, OnError, handler
from ..kernel.context import Context
from ..kernel.inspection.metric_sources import Name, Reading
from ..kernel.timers import Timer
from .core import ApprovalBook, Changes
from .storage import ApprovalRows

__all__ = ["Approvals"]

AT_ONCE: Final = 2_048
WAITING_MAX: Final = 1_536
"""Fewer than `AT_ONCE`: while so many wait for answers, the answers still arrive."""
CHECK_S_MAX: Final = 10.0
CHECK_S_MIN: Final = 0.01
TRIES_MAX: Final = 8


class CheckApprovals(Contract, name="callboard.approvals.check"):
    """A deadline may have come, or others may have written to the store."""


class Approvals(Actor):
    """Keeps the approvals of a system.

    The actor calls `make_store` on its host: the store must be reachable from there. `wall_time`
    gives the seconds since 1970.
    """

    on_error: ClassVar[OnError] = OnError.RESUME
    concurrency: ClassVar[int] = AT_ONCE
    mailbox_messages: ClassVar[int] = 2 * AT_ONCE

    def __init__(
        self,
        make_store: Callable[[], ReadModelStore],
        wall_time: Callable[[], float] = time.time,
    ) -> None:
        self._make_store = make_store
        self._wall_time = wall_time
        self._rows: ApprovalRows | None = None
        self._book = ApprovalBook()
        self._turn = asyncio.Lock()
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._waiters = 0
        self._timer: Timer | None = None
        self._ctx: Context | None = None

    async def started(self, ctx: Context) -> None:
        """Take the stored approvals over. Raises what the store raises."""
        rows = ApprovalRows(self._make_store(), fence=ctx.fence, name=f"{ctx.host_name}{ctx.path}")
        try:
            self._book = ApprovalBook(await rows.open())
        except BaseException:
            await rows.close()
            raise
        self._rows, self._ctx = rows, ctx
        ctx.measure(self._reading)
        self._set_timer()

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """Release the store."""
        if self._rows is not None:
            await self._rows.close()

    @handler
    async def ask(self, request: AskApproval) -> Approval:
        """A question; the answer if there is one within `wait_s`."""
        await self._perform(lambda book, now: book.ask(request, now))
        found = self._book.find(request.id)
        if found.is_open and request.wait_s and self._waiters < WAITING_MAX:
            await self._wait(request.id, request.wait_s)
            found = self._book.get(request.id) or found
        return found

    @handler
    async def decide(self, command: DecideApproval) -> Approval:
        """A decision; it is stored when the reply comes."""
        await self._perform(lambda book, now: book.decide(command, now))
        return self._book.find(command.id)

    @handler
    async def withdraw(self, command: WithdrawApproval) -> Approval:
        """The end of a question without an answer."""
        await self._perform(lambda book, now: book.withdraw(command, now))
        return self._book.find(command.id)

    @handler
    async def withdraw_for(self, command: WithdrawForExecution) -> Withdrawn:
        """The end of the open questions of an execution that is over."""
        before = self._book.open
        await self._perform(lambda book, now: book.withdraw_for(command, now))
        return Withdrawn(count=max(0, before - self._book.open))

    @handler
    async def query(self, request: QueryApprovals) -> ApprovalsPage:
        """A page of the approvals."""
        await self._perform(lambda book, now: book.expire(now))
        return self._book.page(request)

    @handler
    async def check(self, message: CheckApprovals) -> None:
        """End what has passed its deadline, and take in what others have decided."""
        self._timer = None
        try:
            # A store that is away now is asked again with the next check.
            with contextlib.suppress(StoreUnavailable):
                async with self._turn:
                    if await self._open_rows().has_changed():
                        await self._reload()
                await self._perform(lambda book, now: book.expire(now))
        finally:
            self._set_timer()

    async def _wait(self, approval_id: str, wait_s: float) -> None:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters += 1
        waiting = self._waiting.setdefault(approval_id, set())
        waiting.add(ended)
        try:
            await asyncio.wait((ended,), timeout=wait_s)
        finally:
            self._waiters -= 1
            waiting.discard(ended)
            if not waiting and self._waiting.get(approval_id) is waiting:
                del self._waiting[approval_id]

    # --- changes ------------------------------------------------------------------------------

    async def _perform(self, propose: Callable[[ApprovalBook, float], Changes]) -> None:
        """Store what is proposed, and make it known. Raises what the proposal raises."""
        async with self._turn:
            rows = self._open_rows()
            for _ in range(TRIES_MAX):
                changes = propose(self._book, self._wall_time())
                if not changes:
                    return
                if await self._written(rows, changes):
                    self._book.apply(changes)
                    self._made_known()
                    return
                # Others have written, or it is not known whether this was stored.
                await self._reload()
        raise StoreUnavailable("others changed the approvals again and again.", advice="Try again.")

    async def _written(self, rows: ApprovalRows, changes: Changes) -> bool:
        try:
            return await rows.write(changes)
        except WriterFenced as error:
            self._end(error)
            raise

    async def _reload(self) -> None:
        try:
            self._book = ApprovalBook(await self._open_rows().reload())
        except WriterFenced as error:
            self._end(error)
            raise
        self._made_known()

    def _made_known(self) -> None:
        for approval_id in list(self._waiting):
            found = self._book.get(approval_id)
            if found is None or not found.is_open:
                for ended in self._waiting.pop(approval_id):
                    if not ended.done():
                        ended.set_result(None)
        self._set_timer()

    def _open_rows(self) -> ApprovalRows:
        if self._rows is None:
            raise ActorStopped("the approvals have not been read.", may_have_run=False)
        return self._rows

    def _end(self, error: CallboardError) -> None:
        # Another process keeps the approvals: the supervisor decides what follows.
        if self._ctx is not None:
            self._ctx.stop(Exit.of_error(ExitReason.FAILED, error))

    def _set_timer(self) -> None:
        """Check at the next deadline, and often enough to notice a clock that was set."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._book.next_deadline()
        if deadline is not None and self._ctx is not None:
            left_s = deadline - self._wall_time()
            with contextlib.suppress(ActorStopped):  # It has ended, but this handler still runs.
                self._timer = self._ctx.send_after(
                    min(max(left_s, CHECK_S_MIN), CHECK_S_MAX), CheckApprovals()
                )

    def _reading(self) -> Reading:
        """The counts as metrics."""
        return Reading(
            {Name("callboard_approvals_forgotten"): float(self._book.forgotten)},
            {Name("callboard_approvals_open"): float(self._book.open)},
        )
