"""What is asked of a host about a supervision tree on it, while the tree runs.

These go to the host's control actor and not to the supervisor, which handles no messages: they
are answered while the supervisor starts or stops a child, however long that takes.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ..core.contract import Contract, Request

__all__ = [
    "AddChild",
    "ChangeChild",
    "ChildAdded",
    "ChildChanged",
    "DeclaredChild",
    "QuerySupervisor",
    "RemoteChildEnded",
    "RemoteChildStarted",
    "RemoteChildStopped",
    "StartRemoteChild",
    "StopRemoteChild",
    "SupervisorView",
]


class DeclaredChild(BaseModel):
    """One child of a supervisor, as OTP's `which_children` tells it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    cell: int
    kind: Literal["supervisor", "worker"]
    state: str
    """A state of docs/supervision.md, in lower case: running, stopping, down, ..."""
    restarts: int
    is_dynamic: bool
    """Whether it was added by hand, and so is gone when its supervisor restarts."""


class SupervisorView(Contract, name="callboard.branch_view"):
    """A supervisor and its children in start order; `count_children` is the four counts."""

    path: str
    state: str
    strategy: str
    children: tuple[DeclaredChild, ...]
    specs: int
    active: int
    supervisors: int
    workers: int


class QuerySupervisor(Request[SupervisorView], name="callboard.look_at_branch"):
    """What a supervisor of a tree has. Fails with `ActorNotFound`."""

    cell: int


class ChildChanged(Contract, name="callboard.child_changed"):
    """The child is as was wanted."""


class ChangeChild(Request[ChildChanged], name="callboard.change_child"):
    """Terminate, restart or delete a child by hand, as OTP has it.

    Fails with `ActorNotFound`, `UsageError` (to restart what is not down, to delete what
    is), `ActorStartFailed`, `ActorStopped`.
    """

    cell: int
    """The supervisor's."""
    name: str
    action: Literal["terminate", "restart", "delete"]


class ChildAdded(Contract, name="callboard.child_added"):
    """The number of the new child's cell."""

    cell: int


class AddChild(Request[ChildAdded], name="callboard.add_child"):
    """Add a child by hand and start it after the others; `spec` is a pickled node."""

    cell: int
    spec: bytes


# --- placed children: what the hosts of a proxy and of its holder tell each other -------------


class RemoteChildStarted(Contract, name="callboard.lodger_started"):
    """The placed child runs."""

    epoch: int
    """The incarnation of the host that it runs on."""


class StartRemoteChild(Request[RemoteChildStarted], name="callboard.start_lodger"):
    """Start a placed child, after the end of what an earlier turn has started.

    Fails with `ActorStartFailed` as a local start would, with `ActorNotFound` when there is
    no such holder, with `ActorStopped` when the turn is over or its proxy's host is gone.
    """

    holder: int
    slot: int
    epoch: int
    """The incarnation of the proxy's host: what a dead one had wanted is void."""
    cell: int
    """The proxy's."""
    turn: int
    """Which start of this proxy it is; higher ones are newer."""


class RemoteChildStopped(Contract, name="callboard.lodger_stopped"):
    """Nothing of that turn, or of an earlier one, runs any more."""

    reason: dict[str, Any]
    """An `Exit` as data."""


class StopRemoteChild(Request[RemoteChildStopped], name="callboard.stop_lodger"):
    """Stop a placed child in order, within its own time, and start nothing of that turn."""

    holder: int
    slot: int
    epoch: int
    turn: int
    comes_back: bool
    """Whether what waits for it goes on waiting; otherwise it is refused from now on."""
    is_brutal: bool = False
    """Whether it is not asked, but ended at once."""


class RemoteChildEnded(Contract, name="callboard.lodger_ended"):
    """A placed child has ended by itself, or has failed."""

    cell: int
    """The proxy's."""
    turn: int
    kind: str
    detail: dict[str, Any]
