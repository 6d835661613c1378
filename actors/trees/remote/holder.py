"""Holders: the cells that run placed children of trees on other hosts than their supervisor's.

The root puts a holder on its host as a top-level actor. A holder is a supervisor with one child,
the remote child, whose own supervisor is on another host. The holder starts and stops the remote
child when the proxy's host asks, and reports its exit to that host. Its cells stay while the
remote child is down, so references stay valid and waiting messages stay. `proxy.py` has the states
and the invariants.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any, Final, NamedTuple, final

from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.lifecycle import SHUT_DOWN, Exit
from callboard.messages.control.spec import ChildId, ChildSpec, Restart, StopTimeout
from callboard.messages.control.trees import (
    RemoteChildEnded,
    RemoteChildStarted,
    RemoteChildStopped,
    StartRemoteChild,
    StopRemoteChild,
)
from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStopped,
    CallboardError,
    UsageError,
    error_from_data,
)
from callboard.messages.core.ref import Address
from callboard.messages.ports import ChildRunner, SupervisorPort

from ...kernel.cell import Cell, Lifecycle
from ...kernel.lifecycle.mailbox_policy import refuse_waiting
from ...kernel.ports import CellDispatcher, RoleHost
from ..spec import Node, TreeSpec
from ..supervisor_cell import SupervisorCell, TreeBuilder
from .proxy import FOREVER_S

__all__ = ["RemoteChildHolder", "RemoteChildHolders"]

LOGGER: Final = logging.getLogger("callboard.host")
DETAIL_CHARS_MAX: Final = 1_000
HOLDER: Final = TreeSpec("holder")
HOLDER_CHILD: Final = ChildSpec(
    "holder", restart=Restart.TEMPORARY, stop_timeout=StopTimeout.INFINITY
)
"""The child spec of a holder in its host: only the root puts a lost holder back."""


class Owner(NamedTuple):
    """The proxy that a remote child runs for; of two owners, the greater is the newer."""

    epoch: int
    turn: int
    slot: int
    cell: int


NO_OWNER: Final = Owner(0, 0, 0, 0)


class RemoteChildHolder(SupervisorCell):
    """The cell that holds one remote child."""

    __slots__ = ("_holders", "owner", "parent_path", "refused", "supervisor")

    def __init__(
        self,
        number: int,
        parent_path: str,
        dispatcher: CellDispatcher[Cell],
        holders: "RemoteChildHolders",
    ) -> None:
        super().__init__(number, HOLDER, dispatcher)
        self.recipe.name = None  # It takes no name from the other top-level actors.
        self._holders = holders
        self.parent_path: Final = parent_path
        """The path of the remote child's supervisor, without the first `/`."""
        self.owner = NO_OWNER
        self.refused = NO_OWNER
        """The newest owner that has stopped the remote child."""
        self.supervisor: RemoteChildSupervisor | None = None

    @property
    def name(self) -> str:
        """The path of the remote child's supervisor, so that the child's path is as declared."""
        return self.parent_path

    def make_supervisor(self, runner: ChildRunner) -> SupervisorPort:
        """Make the supervisor, which does what the proxy's host asks."""
        ((remote_child, spec),) = self.members.values()
        self.supervisor = RemoteChildSupervisor(self, self._holders, remote_child, spec, runner)
        return self.supervisor

    def view_fields(self) -> Mapping[str, Any]:
        """Mark it as a holder: views show its remote child instead."""
        return {"is_remote_child_holder": True}

    def on_removed(self) -> None:
        """The holder has ended for good."""
        self._holders.forget(self)


@unique
class RemoteChildState(StrEnum):
    """The state of a remote child; only the proxy's supervisor decides about restarts."""

    DOWN = "down"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@final
@dataclass(frozen=True, slots=True)
class RemoteChildView:
    """A remote child, at the time of the query."""

    spec: ChildSpec
    state: RemoteChildState
    incarnation: int
    restarts: int
    group_restarts: int
    last_exit: Exit | None

    @property
    def is_down(self) -> bool:
        """False: only the proxy's supervisor knows whether the child stays down."""
        return False


@final
@dataclass(frozen=True, slots=True)
class RemoteChildHistory:
    """Empty: the proxy's supervisor has the history."""

    entries: tuple[Any, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class RemoteChildSupervisorStatistics:
    """The supervisor of a holder, at the time of the query."""

    state: str


class RemoteChildSupervisor:
    """The supervisor of a holder's one child: it does what the proxy's host asks.

    Its states are new, running, stopping and stopped, as those of other supervisors.
    """

    def __init__(
        self,
        holder: RemoteChildHolder,
        holders: "RemoteChildHolders",
        remote_child: Cell,
        spec: ChildSpec,
        runner: ChildRunner,
    ) -> None:
        self._holder = holder
        self._holders = holders
        self._remote_child: Final = remote_child
        self._spec: Final = spec
        self._runner = runner
        self._state = "new"
        self._incarnation = 0
        self._remote_child_state = RemoteChildState.DOWN
        self._last_exit: Exit | None = None
        self._started: asyncio.Future[None] | None = None
        self._stopped: asyncio.Future[Exit] | None = None

    @property
    def path(self) -> str:
        """The path of the remote child."""
        return self._remote_child.path

    @property
    def is_down(self) -> bool:
        """Whether the remote child is down."""
        return self._remote_child_state is RemoteChildState.DOWN

    async def start_remote_child(self) -> None:
        """Start it and wait until it runs; raises `ActorStartFailed`, `ActorStopped`."""
        assert self.is_down, "the caller waits for its exit first"
        if self._state != "running":
            raise _superseded(self._holder)
        self._incarnation += 1
        self._remote_child_state = RemoteChildState.STARTING
        started = self._started = self._holder.host.loop.create_future()
        self._runner.start_child(self._remote_child.id, self._incarnation, self._spec)
        await asyncio.shield(started)

    async def stop_remote_child(self, *, comes_back: bool, is_brutal: bool = False) -> Exit:
        """Stop it, wait, and return its exit. Refuse its messages unless it comes back."""
        outcome = SHUT_DOWN if self._last_exit is None else self._last_exit
        if not self.is_down:
            if self._stopped is None:
                self._stopped = self._holder.host.loop.create_future()
            stopped = self._stopped
            self.begin_stop(comes_back=comes_back, is_brutal=is_brutal)
            outcome = await asyncio.shield(stopped)
        if not comes_back and self.is_down and self._remote_child.lifecycle != Lifecycle.STOPPED:
            self._remote_child.lifecycle = Lifecycle.STOPPED
            refuse_waiting(self._remote_child)
        return outcome

    def begin_stop(self, *, comes_back: bool, is_brutal: bool = False) -> None:
        """Begin to stop the remote child, unless it already stops; kill it with `is_brutal`."""
        if self.is_down or (
            self._remote_child_state is RemoteChildState.STOPPING and not is_brutal
        ):
            return
        self._remote_child_state = RemoteChildState.STOPPING
        timeout = StopTimeout.KILL if is_brutal else self._spec.stop_timeout
        self._runner.stop_child(
            self._remote_child.id, self._incarnation, timeout, SHUT_DOWN, comes_back=comes_back
        )

    # --- SupervisorPort: reports of the children runner ---------------------------------------

    def child_started(self, child: ChildId, incarnation: int) -> None:
        """The remote child runs."""
        if (
            incarnation == self._incarnation
            and self._remote_child_state is RemoteChildState.STARTING
        ):
            self._remote_child_state = RemoteChildState.RUNNING
            _settle(self._started, None)

    def children_started(self, children: Sequence[ChildId], first_incarnation: int) -> None:
        """Raises `UsageError`: a holder has one child, which reports alone."""
        raise self._refusal()

    def child_start_failed(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """The remote child did not start."""
        if (
            incarnation == self._incarnation
            and self._remote_child_state is RemoteChildState.STARTING
        ):
            self._remote_child_state = RemoteChildState.DOWN
            self._last_exit = reason
            _settle(self._started, error_from_data(reason.detail))

    def child_exited(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """The remote child has ended, on request or by itself."""
        if incarnation != self._incarnation or self.is_down:
            return
        was_requested = self._remote_child_state is RemoteChildState.STOPPING
        self._remote_child_state = RemoteChildState.DOWN
        self._last_exit = reason
        _settle(self._started, _superseded(self._holder))
        stopped, self._stopped = self._stopped, None
        if stopped is not None and not stopped.done():
            stopped.set_result(reason)
        if self._state == "stopping":
            self._end()
        elif not was_requested:
            self._holders.report(self._holder, reason)

    # --- SupervisorPort: the lifecycle of the holder --------------------------------------------

    def expect_child(self, spec: ChildSpec) -> None:
        """Do nothing: the holder has its child."""

    def start(self) -> None:
        """Run the holder; its remote child starts when the proxy's host asks."""
        self._state = "running"
        self._runner.supervisor_started()

    def stop(self) -> None:
        """Stop the holder and its remote child."""
        self._state = "stopping"
        if self.is_down:
            self._end()
        else:
            self.begin_stop(comes_back=False)

    def _end(self) -> None:
        self._state = "stopped"
        self._runner.supervisor_stopped(SHUT_DOWN)

    def abandon(self) -> None:
        """The remote child was killed with its holder."""
        self._state = "stopped"
        self._remote_child_state = RemoteChildState.DOWN
        _settle(self._started, _superseded(self._holder))
        stopped, self._stopped = self._stopped, None
        if stopped is not None and not stopped.done():
            stopped.set_result(SHUT_DOWN)

    # --- SupervisorPort: changes by hand, which a holder refuses ------------------------------

    def add_child(self, spec: ChildSpec, child: ChildId = None) -> None:
        """Raises `UsageError`."""
        raise self._refusal()

    def add_children(self, spec: ChildSpec, children: Sequence[ChildId]) -> None:
        """Raises `UsageError`."""
        raise self._refusal()

    def remove_child(self, child: ChildId) -> None:
        """Raises `UsageError`."""
        raise self._refusal()

    def terminate_child(self, child: ChildId) -> None:
        """Raises `UsageError`."""
        raise self._refusal()

    def restart_child(self, child: ChildId) -> None:
        """Raises `UsageError`."""
        raise self._refusal()

    def _refusal(self) -> UsageError:
        return UsageError(
            f"{self._remote_child.path} belongs to a supervisor on host {self._holder.owner.slot}.",
            advice="Use the reference of the tree: it asks that host.",
        )

    # --- SupervisorPort: views ----------------------------------------------------------------

    def child(self, child: ChildId) -> RemoteChildView:
        """The current view of the remote child."""
        return RemoteChildView(
            spec=self._spec,
            state=self._remote_child_state,
            incarnation=self._incarnation,
            restarts=max(0, self._incarnation - 1),
            group_restarts=0,
            last_exit=self._last_exit,
        )

    def stop_timeouts(self) -> Iterable[tuple[ChildId, StopTimeout]]:
        """The stop timeout of the remote child, if it runs."""
        return () if self.is_down else ((self._remote_child.id, self._spec.stop_timeout),)

    def history(self, child: ChildId) -> RemoteChildHistory:
        """Empty: the proxy's supervisor has the history."""
        return RemoteChildHistory()

    def inherit(self, other: SupervisorPort) -> None:
        """Do nothing: a holder keeps no history."""

    def statistics(self) -> RemoteChildSupervisorStatistics:
        """The state of this supervisor."""
        return RemoteChildSupervisorStatistics(self._state)


class RemoteChildHolders:
    """The holders of one host."""

    def __init__(self, host: RoleHost[Cell], builder: TreeBuilder) -> None:
        self._host = host
        self._builder = builder
        self._holders: Final[dict[int, RemoteChildHolder]] = {}

    def begin(
        self, node: Node, parent_path: str, number: int, places: Iterator[Address]
    ) -> RemoteChildHolder:
        """Add a holder and start nothing in it. Raises `SpecError`.

        `parent_path` is the path of the supervisor that the node was declared under.
        """
        holder = RemoteChildHolder(number, parent_path, self._host.dispatcher, self)
        numbers = itertools.count(number + 1)
        self._builder.build_below(holder, (node,), lambda: next(numbers), places)
        self._holders[number] = holder
        self._host.spawner.begin_top_level(holder, HOLDER_CHILD)
        return holder

    def forget(self, holder: RemoteChildHolder) -> None:
        """The holder has ended for good."""
        self._holders.pop(holder.id, None)

    @property
    def all(self) -> Iterable[RemoteChildHolder]:
        """All holders of this host."""
        return self._holders.values()

    def close(self) -> None:
        """Forget everything: the host has ended."""
        self._holders.clear()

    # --- requests of the proxy's host ---------------------------------------------------------

    async def start(self, request: StartRemoteChild) -> RemoteChildStarted:
        """See `StartRemoteChild`."""
        holder, supervisor = self._find(request.holder)
        owner = Owner(request.epoch, request.turn, request.slot, request.cell)
        self._check(holder, owner)
        while not supervisor.is_down:
            await supervisor.stop_remote_child(comes_back=True)
            self._check(holder, owner)
        holder.owner = owner
        await supervisor.start_remote_child()
        return RemoteChildStarted(epoch=self._host.epoch)

    async def stop(self, request: StopRemoteChild) -> RemoteChildStopped:
        """See `StopRemoteChild`."""
        outcome = SHUT_DOWN
        holder = self._holders.get(request.holder)
        if holder is not None and holder.supervisor is not None:
            owner = Owner(request.epoch, request.turn, request.slot, 0)
            if owner[:2] > holder.refused[:2]:
                holder.refused = owner
            if holder.owner[:2] <= owner[:2]:
                outcome = await holder.supervisor.stop_remote_child(
                    comes_back=request.comes_back, is_brutal=request.is_brutal
                )
        return RemoteChildStopped(reason=outcome.to_data())

    def owner_lost(self, slot: int, epoch: float) -> None:
        """Stop the remote children of a lost host: of this incarnation and all before it."""
        for holder in list(self._holders.values()):
            supervisor = holder.supervisor
            if supervisor is None or holder.owner.slot != slot or holder.owner.epoch > epoch:
                continue
            if not supervisor.is_down:
                LOGGER.warning("%s stops: the host of its supervisor is lost", supervisor.path)
                # At once: a later task could stop a child that a newer owner has started.
                supervisor.begin_stop(comes_back=True)

    def _find(self, number: int) -> "tuple[RemoteChildHolder, RemoteChildSupervisor]":
        holder = self._holders.get(number)
        if holder is None or holder.supervisor is None:
            raise ActorNotFound(
                f"{self._host.name} has no holder {number}.",
                advice="Its tree has ended: start it again.",
                may_have_run=False,
            )
        return holder, holder.supervisor

    def _check(self, holder: RemoteChildHolder, owner: Owner) -> None:
        """Raise `ActorStopped` when a newer owner has come, or the owner's host is lost."""
        link = self._host.links.get(owner.slot)
        is_there = owner.slot == self._host.slot or (
            link is not None and link.is_connected and link.epoch == owner.epoch
        )
        if not is_there or owner[:2] <= holder.refused[:2] or owner[:2] < holder.owner[:2]:
            raise _superseded(holder)

    # --- reports to the proxy -----------------------------------------------------------------

    def report(self, holder: RemoteChildHolder, reason: Exit) -> None:
        """Notify the proxy that its remote child has ended by itself."""
        self._host.run_task(self._report(holder.owner, reason))

    async def _report(self, owner: Owner, reason: Exit) -> None:
        notice = RemoteChildEnded(
            cell=owner.cell,
            turn=owner.turn,
            kind=reason.kind.value,
            detail=dict(reason.detail),
        )
        control_actor = Address(owner.slot, CONTROL_CELL)
        link = self._host.links.get(owner.slot)
        if owner.slot != self._host.slot and (link is None or link.epoch != owner.epoch):
            return  # The owner's host is lost, and its successor starts the child again.
        try:
            await self._host.send(control_actor, notice, FOREVER_S)
        except CallboardError:  # The detail does not travel; the exit must.
            text = str(reason.detail.get("message", ""))[:DETAIL_CHARS_MAX]
            with contextlib.suppress(CallboardError):
                notice = notice.model_copy(update={"detail": {"message": text}})
                await self._host.send(control_actor, notice, FOREVER_S)


def _superseded(holder: RemoteChildHolder) -> ActorStopped:
    return ActorStopped(
        f"{holder.path} does not run the remote child for this request any more.",
        advice="Its supervisor has stopped it, or starts it again with a newer request.",
        may_have_run=False,
    )


def _settle(future: "asyncio.Future[None] | None", error: CallboardError | None) -> None:
    if future is None or future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # Retrieved here: the waiting task may be cancelled.
