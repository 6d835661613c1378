"""Approvals in the admin API: what persons are asked for, by handlers and by steps in doubt.

A non-idempotent step that may have run is an approval too: whether it runs again. Its execution's
journal keeps it, and `callboard.approvals` the others; here both have one list and one decision.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from uuid import uuid4

from callboard.actors.approvals.core import page_of
from callboard.messages.control.approvals import (
    Approval,
    ApprovalDecision,
    ApprovalEnded,
    ApprovalsPage,
    ApprovalState,
    DecideApproval,
    QueryApprovals,
    UnknownApproval,
)
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import ActorNotFound, UsageError
from callboard.messages.core.ref import Ref
from callboard.messages.jobs.commands import DecideStep

from .approval_views import QueryDoubts, step_of
from .errors import NotServed, UnknownExecution
from .port import Ask
from .views import QueryExecution

__all__ = ["ApprovalRequests"]


class ApprovalRequests:
    """Answers `QueryApprovals` and `DecideApproval`.

    `find` finds the actor `callboard.approvals`; `journal` and `commands` answer for executions.
    A system may lack any of them.
    """

    def __init__(
        self, find: Callable[[], Awaitable[Ref[Any]]], journal: Ask, commands: Ask
    ) -> None:
        self._find: Final = find
        self._journal: Final = journal
        self._commands: Final = commands

    async def answer(self, request: Request[Any]) -> Any:
        """The reply to a request."""
        if isinstance(request, DecideApproval):
            step = step_of(request.id)
            if step is not None:
                return await self._decide_step(request, *step)
            return await self._ask_manager(request)
        assert isinstance(request, QueryApprovals), request
        return await self._list(request)

    async def _list(self, request: QueryApprovals) -> ApprovalsPage:
        try:
            page: ApprovalsPage = await self._ask_manager(request)
        except NotServed:
            page = ApprovalsPage()
        steps = await self._steps()
        both = page_of((*page.items, *steps), request)
        # The place of the last item that is shown is one of both lists.
        following = both.next
        if following is None and page.next is not None:
            following = page.next
        return both.model_copy(update={"next": following, "open": page.open + len(steps)})

    async def _steps(self) -> Sequence[Approval]:
        try:
            return (await self._journal(QueryDoubts())).items
        except (NotServed, ActorNotFound):  # Without a journal, or without any execution.
            return ()

    async def _ask_manager(self, request: Request[Any]) -> Any:
        try:
            manager = await self._find()
        except ActorNotFound:
            if isinstance(request, DecideApproval):
                raise _unknown(request.id) from None
            raise NotServed(
                "nobody keeps the approvals of this system.",
                advice="Start it with `start_approvals(system)`.",
            ) from None
        return await manager.ask(request)

    async def _decide_step(self, command: DecideApproval, execution_id: str, step: str) -> Approval:
        open_ones = {each.id: each for each in await self._steps()}
        found = open_ones.get(command.id)
        if found is None:
            try:
                await self._journal(QueryExecution(execution_id=execution_id))
            except (UnknownExecution, NotServed):
                raise _unknown(command.id) from None
            raise ApprovalEnded(
                f"step {step!r} of execution {execution_id!r} is not in doubt.",
                advice="`callboard approvals` lists what is open.",
            )
        at = time.time()
        try:
            done = await self._commands(
                DecideStep(
                    execution_id=execution_id,
                    token=uuid4().hex,
                    at=at,
                    step=step,
                    runs_again=command.gives,
                    reason=command.reason,
                    by=command.by,
                )
            )
        except UsageError as error:
            raise ApprovalEnded(error.message, advice=error.advice) from None
        if not (done.is_known and done.is_settled):
            raise ApprovalEnded(f"step {step!r} of execution {execution_id!r} was just decided.")
        decision = ApprovalDecision(
            by=command.by, gives=command.gives, reason=command.reason, at=at
        )
        state = ApprovalState.GIVEN if command.gives else ApprovalState.REFUSED
        return found.model_copy(update={"state": state, "decisions": (decision,), "ended_at": at})


def _unknown(approval_id: str) -> UnknownApproval:
    return UnknownApproval(
        f"there is no approval {approval_id!r}.", advice="`callboard approvals` lists them."
    )
