"""Requests to a host about a running supervision tree on it.

The host's control actor answers them, not the supervisor, which handles no messages. So a
reply comes even while the supervisor starts or stops a child for a long time.
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
    """One child of a supervisor, as in OTP's `which_children`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Its name in the tree."""
    cell: int
    """The number of its cell."""
    kind: Literal["supervisor", "worker"]
    """Whether it supervises children of its own."""
    state: str
    """One of the states in docs/supervision.md, in lower case: running, stopping, down, ..."""
    restarts: int
    """Restarts after its own failures."""
    is_dynamic: bool
    """Whether `AddChild` added it; a restart of its supervisor removes it."""


class SupervisorView(Contract, name="callboard.supervisor_view"):
    """A supervisor and its children in start order, with the counts of `count_children`."""

    path: str
    """The path of the supervisor on its host."""
    state: str
    """One of the states in docs/supervision.md."""
    strategy: str
    """Its strategy."""
    children: tuple[DeclaredChild, ...]
    """Its children, in the order of their start."""
    specs: int
    """Children that it has a spec of."""
    active: int
    """Children that run."""
    supervisors: int
    """Children that are supervisors."""
    workers: int
    """Children that are actors or pools."""


class QuerySupervisor(Request[SupervisorView], name="callboard.query_supervisor"):
    """Ask for a supervisor of a tree and its children. Fails with `ActorNotFound`."""

    cell: int


class ChildChanged(Contract, name="callboard.child_changed"):
    """The child was terminated, restarted or deleted."""


class ChangeChild(Request[ChildChanged], name="callboard.change_child"):
    """Terminate, restart or delete a child, as in OTP.

    Fails with `ActorNotFound`, `UsageError` (the child is not down), `ActorStartFailed`,
    `ActorStopped`.
    """

    cell: int
    """The supervisor's."""
    name: str
    action: Literal["terminate", "restart", "delete"]


class ChildAdded(Contract, name="callboard.child_added"):
    """The new child runs."""

    cell: int


class AddChild(Request[ChildAdded], name="callboard.add_child"):
    """Add a dynamic child and start it after the others; `spec` is a pickled node."""

    cell: int
    spec: bytes


# --- placed children: the messages between the hosts of a proxy and of its holder -------------


class RemoteChildStarted(Contract, name="callboard.remote_child_started"):
    """The placed child runs."""

    epoch: int
    """The incarnation of the host that it runs on."""


class StartRemoteChild(Request[RemoteChildStarted], name="callboard.start_remote_child"):
    """Start a placed child, after the child of an earlier turn has ended.

    Fails with `ActorStartFailed` like a local start, with `ActorNotFound` when there is no
    such holder, and with `ActorStopped` when the turn is over or the proxy's host is gone.
    """

    holder: int
    slot: int
    epoch: int
    """The incarnation of the proxy's host: requests of a dead incarnation are void."""
    cell: int
    """The proxy's cell."""
    turn: int
    """The number of this start; a higher one is newer."""


class RemoteChildStopped(Contract, name="callboard.remote_child_stopped"):
    """No child of that turn or of an earlier one runs any more."""

    reason: dict[str, Any]
    """An `Exit` as data."""


class StopRemoteChild(Request[RemoteChildStopped], name="callboard.stop_remote_child"):
    """Stop a placed child in order, within its stop timeout, and end its turn."""

    holder: int
    slot: int
    epoch: int
    turn: int
    comes_back: bool
    """Whether messages for it go on waiting; otherwise they are refused from now on."""
    is_brutal: bool = False
    """Whether it is killed at once."""


class RemoteChildEnded(Contract, name="callboard.remote_child_ended"):
    """A placed child has ended by itself, or has failed."""

    cell: int
    """The proxy's cell."""
    turn: int
    kind: str
    detail: dict[str, Any]
