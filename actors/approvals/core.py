"""What becomes of approvals; pure.

Each method of `ApprovalBook` proposes rows to store and changes nothing. The shell stores them in
one transaction, and then applies them. Invariants: an approval that has ended never changes; no
decision at or after the deadline counts; as long as the book keeps an approval, each repetition of
a decision proposes nothing.
"""

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from callboard.messages.control.approvals import (
    NEXT,
    Approval,
    ApprovalDecision,
    ApprovalEnded,
    ApprovalsFull,
    ApprovalsPage,
    ApprovalState,
    AskApproval,
    DecideApproval,
    MayNotDecide,
    QueryApprovals,
    UnknownApproval,
    WithdrawApproval,
    WithdrawForExecution,
)
from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import check_name, escaped

__all__ = ["ENDED_MAX", "OPEN_MAX", "ApprovalBook", "Changes", "decided", "page_of"]

OPEN_MAX: Final = 1_000
ENDED_MAX: Final = 10_000
"""Ended approvals that are kept; the oldest ones go first."""
DETAILS_CHARS_MAX: Final = 8_000
QUESTION: Final = {
    "id", "subject", "details", "gives_at_deadline", "needed", "deciders", "excludes_asker"
}  # fmt: skip
"""What a repetition of a question must repeat, or the answer would be to another one."""
Changes = Mapping[str, Approval | None]
"""Rows by id; None removes one."""


def decided(approval: Approval, command: DecideApproval, now: float) -> Approval | None:
    """The approval after a decision; None when the decision is a repetition.

    Raises `MayNotDecide`, `ApprovalEnded`, and `UsageError` for a decision of nobody.
    """
    by = check_name("the decider", command.by, error=UsageError)
    if any((each.by, each.gives) == (by, command.gives) for each in approval.decisions):
        return None
    if approval.excludes_asker and by == approval.asked_by:
        raise MayNotDecide(
            f"{by} has asked for approval {approval.id}, and may not decide it.",
            advice="Another person decides.",
        )
    if approval.deciders and by not in approval.deciders:
        raise MayNotDecide(
            f"{by} may not decide approval {approval.id}.",
            advice=f"These may: {', '.join(approval.deciders)}.",
        )
    _check_open(approval, now)
    decision = ApprovalDecision(by=by, gives=command.gives, reason=command.reason, at=now)
    decisions = (*approval.decisions, decision)
    givers = {each.by for each in decisions if each.gives}
    if not command.gives:
        return _moved(approval, ApprovalState.REFUSED, now, decisions=decisions)
    if len(givers) >= approval.needed:
        return _moved(approval, ApprovalState.GIVEN, now, decisions=decisions)
    return approval.model_copy(update={"decisions": decisions})


def _moved(approval: Approval, state: ApprovalState, at: float, **fields: object) -> Approval:
    assert state in NEXT[approval.state], f"{approval.id} is {approval.state}"
    return approval.model_copy(update={"state": state, "ended_at": at, **fields})


def _is_due(approval: Approval, now: float) -> bool:
    return approval.is_open and 0.0 < approval.ends_at <= now


def _check_open(approval: Approval, now: float) -> None:
    if approval.is_open and not _is_due(approval, now):
        return
    state = approval.state if not approval.is_open else ApprovalState.EXPIRED
    by = ", ".join(each.by for each in approval.decisions)
    raise ApprovalEnded(
        f"approval {approval.id} is {state}{f' by {by}' if by else ''}.",
        advice="An answer is final. Ask again under another id.",
    )


def _checked(request: AskApproval) -> dict[str, Any]:
    """What the question asks, as plain values.

    Raises `UsageError` for a question that nobody could answer, or that is too large.
    """
    check_name("the id of an approval", request.id, error=UsageError)
    deciders = set(request.deciders)
    if request.excludes_asker:
        deciders.discard(request.asked_by)
    if request.deciders and len(deciders) < request.needed:
        raise UsageError(
            f"approval {request.id} needs {request.needed} to agree, and {len(deciders)} may.",
            advice="Name more deciders, or lower `needed`.",
        )
    try:
        details = json.dumps(request.details, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"the details of approval {request.id} are no JSON: {error}.",
            advice="Use texts, numbers, lists and mappings.",
        ) from None
    if len(details) > DETAILS_CHARS_MAX:
        raise UsageError(
            f"the details of approval {request.id} have {len(details):,} characters as JSON, and "
            f"at most {DETAILS_CHARS_MAX:,} fit.",
            advice="Summarise them, and name where the rest is.",
        )
    return {**request.model_dump(include=QUESTION), "details": json.loads(details)}


class ApprovalBook:
    """All approvals of a system, by id."""

    def __init__(
        self,
        approvals: Iterable[Approval] = (),
        *,
        open_max: int = OPEN_MAX,
        ended_max: int = ENDED_MAX,
    ) -> None:
        self._open_max = open_max
        self._ended_max = ended_max
        self._open: dict[str, Approval] = {}
        self._ended: dict[str, Approval] = {}
        """In the order in which they ended."""
        self.forgotten = 0
        """Ended approvals that had no room."""
        for approval in sorted(approvals, key=lambda each: each.ended_at):
            (self._open if approval.is_open else self._ended)[approval.id] = approval

    def __iter__(self) -> Iterator[Approval]:
        yield from self._open.values()
        yield from self._ended.values()

    @property
    def open(self) -> int:
        """How many wait for an answer."""
        return len(self._open)

    def get(self, approval_id: str) -> Approval | None:
        """The approval of an id."""
        return self._open.get(approval_id) or self._ended.get(approval_id)

    def find(self, approval_id: str) -> Approval:
        """The approval of an id. Raises `UnknownApproval`."""
        found = self.get(approval_id)
        if found is None:
            raise UnknownApproval(
                f"there is no approval {approval_id!r}.", advice="`callboard approvals` lists them."
            )
        return found

    def next_deadline(self) -> float | None:
        """The earliest deadline of an open approval; None without one."""
        ends = (each.ends_at for each in self._open.values() if each.ends_at)
        return min(ends, default=None)

    # --- proposals ------------------------------------------------------------------------------

    def ask(self, request: AskApproval, now: float) -> Changes:
        """A new question; nothing if it was asked before.

        Raises `UsageError` when the id was asked with another question, and `ApprovalsFull`.
        """
        question = _checked(request)
        found = self.get(request.id)
        if found is not None:
            if found.model_dump(include=QUESTION) != question:
                raise UsageError(
                    f"approval {request.id} was asked in other words, or of others: "
                    f"{found.subject}",
                    advice="An answer counts for its own question: use another id.",
                )
            return {}
        if len(self._open) >= self._open_max:
            raise ApprovalsFull(
                f"{self._open_max:,} approvals are open.",
                advice="Decide or withdraw some: `callboard approvals` lists them.",
            )
        ends_at = now + request.deadline_s
        approval = Approval(
            **question, asked_by=request.asked_by, asked_at=now, ends_at=ends_at, step=request.step
        )
        return {request.id: approval}

    def decide(self, command: DecideApproval, now: float) -> Changes:
        """A decision; nothing for a repetition. Raises like `decided`, and `UnknownApproval`."""
        after = decided(self.find(command.id), command, now)
        return {} if after is None else self._with(after)

    def withdraw(self, command: WithdrawApproval, now: float) -> Changes:
        """The end of a question; nothing for a repetition."""
        approval = self.find(command.id)
        if approval.state is ApprovalState.WITHDRAWN:
            return {}
        _check_open(approval, now)
        end = {"ended_by": command.by, "reason": command.reason}
        return self._with(_moved(approval, ApprovalState.WITHDRAWN, now, **end))

    def withdraw_for(self, command: WithdrawForExecution, now: float) -> Changes:
        """The end of all open questions of an execution; those whose deadline has come expire."""
        prefix = f"{escaped(command.execution_id)}/"
        end = {"ended_by": command.execution_id, "reason": command.reason}
        found = [each for each in self._open.values() if each.step.startswith(prefix)]
        return self._with(
            *(
                _moved(each, ApprovalState.EXPIRED, each.ends_at)
                if _is_due(each, now)
                else _moved(each, ApprovalState.WITHDRAWN, now, **end)
                for each in found
            )
        )

    def expire(self, now: float) -> Changes:
        """The end of all whose deadline has come, at that moment, whenever it is noticed."""
        due = [each for each in self._open.values() if _is_due(each, now)]
        return self._with(*(_moved(each, ApprovalState.EXPIRED, each.ends_at) for each in due))

    def _with(self, *after: Approval) -> Changes:
        """These rows, and the removal of ended ones that they leave no room for."""
        ending = sum(1 for each in after if not each.is_open)
        excess = max(0, len(self._ended) + ending - self._ended_max)
        oldest = [key for key, _ in zip(self._ended, range(excess), strict=False)]
        return {**dict.fromkeys(oldest), **{each.id: each for each in after}}

    # --- after the store ------------------------------------------------------------------------

    def apply(self, changes: Changes) -> None:
        """These rows are stored."""
        for approval_id, approval in changes.items():
            if approval is None:
                self.forgotten += self._ended.pop(approval_id, None) is not None
            elif approval.is_open:
                self._open[approval_id] = approval
            else:
                self._open.pop(approval_id, None)
                self._ended[approval_id] = approval

    def page(self, request: QueryApprovals) -> ApprovalsPage:
        """The page that is asked for."""
        return page_of(self, request)


def page_of(approvals: Iterable[Approval], request: QueryApprovals) -> ApprovalsPage:
    """A page of any approvals, the one asked last first."""
    opened = 0
    chosen: list[Approval] = []
    for each in approvals:
        opened += each.is_open
        if (
            (not request.states or each.state in request.states)
            and request.id in ("", each.id)
            and (request.after is None or _place(each) < tuple(request.after))
        ):
            chosen.append(each)
    found = heapq.nlargest(request.limit + 1, chosen, key=_place)
    items = found[: request.limit]
    following = _place(items[-1]) if len(found) > len(items) else None
    return ApprovalsPage(items=tuple(items), next=following, open=opened)


def _place(approval: Approval) -> tuple[float, str]:
    return approval.asked_at, approval.id
