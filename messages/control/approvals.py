"""Approvals: a question to a person, with a deadline and one answer.

| state | meaning | next |
|---|---|---|
| asked | nobody has decided yet | given, refused, expired, withdrawn |
| given | as many as needed have said yes | – |
| refused | one has said no | – |
| expired | the deadline came first; the question says what that means | – |
| withdrawn | the one who asked needs no answer any more | – |
"""

from collections.abc import Mapping
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Any, Final

from pydantic import Field, FiniteFloat

from ..core.contract import Contract, Request
from ..core.errors import CallboardError, UsageError

__all__ = [
    "APPROVALS",
    "DEADLINE_S",
    "DEADLINE_S_MAX",
    "NEXT",
    "WAIT_S_MAX",
    "Approval",
    "ApprovalDecision",
    "ApprovalEnded",
    "ApprovalState",
    "ApprovalsFull",
    "ApprovalsPage",
    "AskApproval",
    "DecideApproval",
    "MayNotDecide",
    "QueryApprovals",
    "UnknownApproval",
    "WithdrawApproval",
    "WithdrawForExecution",
    "Withdrawn",
]

APPROVALS: Final = "callboard.approvals"
"""The name of the actor that keeps the approvals of a system."""
DEADLINE_S: Final = 86_400.0
DEADLINE_S_MAX: Final = 31 * 86_400.0
WAIT_S_MAX: Final = 2.0
"""A stop of the approvals waits for such a wait, too."""
ID_CHARS_MAX: Final = 700
NAME_CHARS_MAX: Final = 300
TEXT_CHARS_MAX: Final = 1_000
STEP_CHARS_MAX: Final = 8_000
"""An execution's id and a sub-task's, both with escaped signs."""
DECIDERS_MAX: Final = 20
PAGE_MAX: Final = 500


class UnknownApproval(UsageError):
    """There is no approval of this id, or it ended long ago."""

    code = "unknown_approval"


class ApprovalEnded(UsageError):
    """The approval has its answer, and this decision would be another one."""

    code = "approval_ended"


class MayNotDecide(CallboardError):
    """The question names others who decide, or excludes the one who asked."""

    code = "may_not_decide"


class ApprovalsFull(CallboardError):
    """So many questions are open that no further one is taken."""

    code = "approvals_full"


class ApprovalState(StrEnum):
    """Where an approval is."""

    ASKED = auto()
    GIVEN = auto()
    REFUSED = auto()
    EXPIRED = auto()
    WITHDRAWN = auto()


NEXT: Final[Mapping[ApprovalState, frozenset[ApprovalState]]] = MappingProxyType(
    {
        state: frozenset(ApprovalState) - {ApprovalState.ASKED}
        if state is ApprovalState.ASKED
        else frozenset()
        for state in ApprovalState
    }
)
"""The states that may follow each state."""


class ApprovalDecision(Contract, name="callboard.approvals.decision"):
    """One person's yes or no."""

    by: str
    """The subject of the principal."""
    gives: bool
    """Yes or no."""
    reason: str = ""
    """Why."""
    at: float
    """When it was decided, in seconds since 1970."""


class Approval(Contract, name="callboard.approvals.approval"):
    """A question, and what has become of it."""

    id: str
    """Its id."""
    subject: str
    """The question, for a person."""
    details: dict[str, Any] = Field(default_factory=dict)
    """Plain values that help to decide."""
    asked_by: str
    """Who asks: a principal's subject, or the path of an actor."""
    asked_at: float
    """In seconds since 1970, as all moments here."""
    ends_at: float = 0.0
    """The deadline; 0 for none."""
    gives_at_deadline: bool = False
    """Whether the approval counts as given when nobody has decided until the deadline."""
    needed: int = 1
    """How many different persons must say yes. One no is enough."""
    deciders: tuple[str, ...] = ()
    """The subjects that may decide; empty for everybody with the scope `approve`."""
    excludes_asker: bool = False
    """Whether the one who asks may not decide."""
    state: ApprovalState = ApprovalState.ASKED
    """Where it is."""
    decisions: tuple[ApprovalDecision, ...] = ()
    """What has been decided, in order."""
    ended_at: float = 0.0
    """When it got its answer; 0 while it is open."""
    ended_by: str = ""
    """Who has withdrawn it."""
    reason: str = ""
    """Why it was withdrawn."""
    step: str = ""
    """The step of an execution that asks, as `Context.idempotency_key`; empty without one."""

    @property
    def is_open(self) -> bool:
        """Whether it waits for an answer."""
        return self.state is ApprovalState.ASKED

    @property
    def is_given(self) -> bool:
        """Whether the answer is yes, also because of the deadline."""
        if self.state is ApprovalState.EXPIRED:
            return self.gives_at_deadline
        return self.state is ApprovalState.GIVEN


class AskApproval(Request[Approval], name="callboard.approvals.ask"):
    """Ask a person. The same id is the same question, so a repetition asks nobody twice."""

    id: str = Field(min_length=1, max_length=ID_CHARS_MAX)
    """The id of the question."""
    subject: str = Field(min_length=1, max_length=TEXT_CHARS_MAX)
    """The question, for a person."""
    details: dict[str, Any] = Field(default_factory=dict)
    """Plain values that help to decide."""
    asked_by: str = Field(min_length=1, max_length=NAME_CHARS_MAX)
    """Who asks: a principal's subject, or the path of an actor."""
    deadline_s: FiniteFloat = Field(default=DEADLINE_S, gt=0.0, le=DEADLINE_S_MAX)
    """The time for an answer, from the first time that this id was asked."""
    gives_at_deadline: bool = False
    """Whether the deadline counts as a yes."""
    needed: int = Field(default=1, ge=1, le=DECIDERS_MAX)
    """How many different persons must say yes."""
    deciders: tuple[str, ...] = Field(default=(), max_length=DECIDERS_MAX)
    """The subjects that may decide; empty for everybody with the scope `approve`."""
    excludes_asker: bool = False
    """Whether the one who asks may not decide."""
    step: str = Field(default="", max_length=STEP_CHARS_MAX)
    """The step of an execution that asks: with its execution, the question ends."""
    wait_s: FiniteFloat = Field(default=0.0, ge=0.0, le=WAIT_S_MAX)
    """How long the reply may wait for the answer. Ask again as long as it is open."""


class DecideApproval(Request[Approval], name="callboard.approvals.decide"):
    """Say yes or no. A repetition changes nothing.

    Raises `UnknownApproval`, `ApprovalEnded` and `MayNotDecide`.
    """

    id: str = Field(min_length=1, max_length=ID_CHARS_MAX)
    """The id of the approval."""
    gives: bool
    """Yes or no."""
    reason: str = Field(default="", max_length=TEXT_CHARS_MAX)
    """Why; it is kept with the decision."""
    by: str = Field(default="", max_length=NAME_CHARS_MAX)
    """Who decides. The admin API sets it to the caller's principal."""


class WithdrawApproval(Request[Approval], name="callboard.approvals.withdraw"):
    """End a question without an answer. Raises `UnknownApproval` and `ApprovalEnded`."""

    id: str = Field(min_length=1, max_length=ID_CHARS_MAX)
    """The id of the approval."""
    reason: str = Field(default="", max_length=TEXT_CHARS_MAX)
    """Why."""
    by: str = Field(default="", max_length=NAME_CHARS_MAX)
    """Who withdraws it."""


class Withdrawn(Contract, name="callboard.approvals.withdrawn"):
    """The reply to `WithdrawForExecution`."""

    count: int
    """How many questions were open."""


class WithdrawForExecution(Request[Withdrawn], name="callboard.approvals.withdraw_for_execution"):
    """End all open questions of the steps of an execution, which is over."""

    execution_id: str = Field(min_length=1)
    """The id of the execution."""
    reason: str = Field(default="", max_length=TEXT_CHARS_MAX)
    """Why."""


class ApprovalsPage(Contract, name="callboard.approvals.page"):
    """Some approvals, the one asked last first."""

    items: tuple[Approval, ...] = ()
    """The approvals of the page."""
    next: tuple[float, str] | None = None
    """The place of the next page; None after the last one."""
    open: int = 0
    """How many are open, on all pages."""


class QueryApprovals(Request[ApprovalsPage], name="callboard.approvals.query"):
    """List approvals."""

    states: tuple[ApprovalState, ...] = ()
    """Only those in these states; empty for all."""
    id: str = ""
    """Only the one of this id."""
    after: tuple[FiniteFloat, str] | None = None
    """`next` of the page before."""
    limit: int = Field(default=50, ge=1, le=PAGE_MAX)
    """The most items."""
