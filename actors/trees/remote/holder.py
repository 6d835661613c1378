"""Holders: where placed children of trees run, on hosts other than their supervisor's.

A holder is a top-level actor of its host, put there by the root. It is a supervisor with one
child, the remote child, whose supervisor is elsewhere: it starts and stops the remote child as the
proxy's host says, and reports there how it ended. Its cells stay while the remote child is down,
so references to it stay good and what waits for it stays. States and invariants are in
`proxy.py`.
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
HOLDER: Final = TreeSpec("lodge")
AS_A_CHILD: Final = ChildSpec("lodge", restart=Restart.TEMPORARY, stop_timeout=StopTimeout.INFINITY)
"""A holder among the top-level actors of its host: the root puts it back, nobody else."""


class Owner(NamedTuple):
    """For whom a remote child runs; of two owners of one holder, the greater is the newer."""

    epoch: int
    turn: int
    slot: int
    cell: int


NOBODY: Final = Owner(0, 0, 0, 0)


class RemoteChildHolder(SupervisorCell):
    """The place of one remote child."""

    __slots__ = ("_lodgings", "above", "owner", "refused", "supervisor")

    def __init__(
        self,
        number: int,
        above: str,
        dispatcher: CellDispatcher[Cell],
        remote_child_holders: "RemoteChildHolders",
    ) -> None:
        super().__init__(number, HOLDER, dispatcher)
        self.recipe.name = None  # No sibling has to be called otherwise because of it.
        self._lodgings = remote_child_holders
        self.above: Final = above
        """The path of the remote child's supervisor, without the first `/`."""
        self.owner = NOBODY
        self.refused = NOBODY
        """The newest owner that wants the remote child no longer."""
        self.supervisor: RemoteChildSupervisor | None = None

    @property
    def name(self) -> str:
        """The path of the remote child's supervisor: the child's own path is as declared."""
        return self.above

    def make_supervisor(self, runner: ChildRunner) -> SupervisorPort:
        """Who decides about the remote child: its proxy's host."""
        ((remote_child, spec),) = self.members.values()
        self.supervisor = RemoteChildSupervisor(self, self._lodgings, remote_child, spec, runner)
        return self.supervisor

    def view_fields(self) -> Mapping[str, Any]:
        """That it is a holder: views show its remote child in its place."""
        return {"is_remote_child_holder": True}

    def on_removed(self) -> None:
        """It is gone for good."""
        self._lodgings.forget(self)


@unique
class RemoteChildState(StrEnum):
    """Where a remote child is; whether it is started again is not known here."""

    DOWN = "down"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@final
@dataclass(frozen=True, slots=True)
class RemoteChildView:
    """A remote child as it was when looked at."""

    spec: ChildSpec
    state: RemoteChildState
    incarnation: int
    restarts: int
    last_exit: Exit | None

    @property
    def is_down(self) -> bool:
        """Whether it stays down: its proxy's supervisor knows, and has it told here."""
        return False


@final
@dataclass(frozen=True, slots=True)
class RemoteChildHistory:
    """What became of it is remembered where it is decided."""

    entries: tuple[Any, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class RemoteChildSupervisorStatistics:
    """A key region as it was when looked at."""

    state: str


class RemoteChildSupervisor:
    """In a supervisor's place for the one child of a holder: does as it is told from elsewhere.

    It goes NEW (no runner has asked for it), running, stopping, stopped, as supervisors do.
    """

    def __init__(
        self,
        holder: RemoteChildHolder,
        remote_child_holders: "RemoteChildHolders",
        remote_child: Cell,
        spec: ChildSpec,
        runner: ChildRunner,
    ) -> None:
        self._holder = holder
        self._lodgings = remote_child_holders
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
        """The remote child's."""
        return self._remote_child.path

    @property
    def is_down(self) -> bool:
        """Whether nothing of the remote child runs."""
        return self._remote_child_state is RemoteChildState.DOWN

    async def start_remote_child(self) -> None:
        """Start it, and wait until it runs; raises `ActorStartFailed`, `ActorStopped`."""
        assert self.is_down, "whoever starts it waits for its end first"
        if self._state != "running":
            raise _over(self._holder)
        self._incarnation += 1
        self._remote_child_state = RemoteChildState.STARTING
        started = self._started = self._holder.host.loop.create_future()
        self._runner.start_child(self._remote_child.id, self._incarnation, self._spec)
        await asyncio.shield(started)

    async def stop_remote_child(self, *, comes_back: bool, is_brutal: bool = False) -> Exit:
        """Stop it, and wait; gives how it ended. Unless it comes back, what waits is refused."""
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
        """Begin to stop it, if it runs and is not stopping yet; or end it at once."""
        if self.is_down or (
            self._remote_child_state is RemoteChildState.STOPPING and not is_brutal
        ):
            return
        self._remote_child_state = RemoteChildState.STOPPING
        timeout = StopTimeout.KILL if is_brutal else self._spec.stop_timeout
        self._runner.stop_child(
            self._remote_child.id, self._incarnation, timeout, SHUT_DOWN, comes_back=comes_back
        )

    # --- SupervisorPort: what its family reports ----------------------------------------------

    def child_started(self, child: ChildId, incarnation: int) -> None:
        """The remote child runs."""
        if (
            incarnation == self._incarnation
            and self._remote_child_state is RemoteChildState.STARTING
        ):
            self._remote_child_state = RemoteChildState.RUNNING
            _settle(self._started, None)

    def children_started(self, children: Sequence[ChildId], first_incarnation: int) -> None:
        """There is one at most, which reports for itself."""
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
        """The remote child has ended, asked for or not."""
        if incarnation != self._incarnation or self.is_down:
            return
        was_asked = self._remote_child_state is RemoteChildState.STOPPING
        self._remote_child_state = RemoteChildState.DOWN
        self._last_exit = reason
        _settle(self._started, _over(self._holder))
        stopped, self._stopped = self._stopped, None
        if stopped is not None and not stopped.done():
            stopped.set_result(reason)
        if self._state == "stopping":
            self._end()
        elif not was_asked:
            self._lodgings.report(self._holder, reason)

    # --- SupervisorPort: the holder's own life -------------------------------------------------

    def expect_child(self, spec: ChildSpec) -> None:
        """Its child is known."""

    def start(self) -> None:
        """The holder is ready; its remote child starts when the proxy's host says so."""
        self._state = "running"
        self._runner.supervisor_started()

    def stop(self) -> None:
        """The holder goes, and its remote child with it."""
        self._state = "stopping"
        if self.is_down:
            self._end()
        else:
            self.begin_stop(comes_back=False)

    def _end(self) -> None:
        self._state = "stopped"
        self._runner.supervisor_stopped(SHUT_DOWN)

    def abandon(self) -> None:
        """The remote child is gone by force, with its holder."""
        self._state = "stopped"
        self._remote_child_state = RemoteChildState.DOWN
        _settle(self._started, _over(self._holder))
        stopped, self._stopped = self._stopped, None
        if stopped is not None and not stopped.done():
            stopped.set_result(SHUT_DOWN)

    # --- SupervisorPort: what is done by hand, and is not done here ---------------------------

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
            advice="Do it there, with the tree's reference.",
        )

    # --- SupervisorPort: looks ----------------------------------------------------------------

    def child(self, child: ChildId) -> RemoteChildView:
        """The remote child, as it is now."""
        return RemoteChildView(
            spec=self._spec,
            state=self._remote_child_state,
            incarnation=self._incarnation,
            restarts=max(0, self._incarnation - 1),
            last_exit=self._last_exit,
        )

    def stop_timeouts(self) -> Iterable[tuple[ChildId, StopTimeout]]:
        """How long the remote child may take to stop."""
        return () if self.is_down else ((self._remote_child.id, self._spec.stop_timeout),)

    def history(self, child: ChildId) -> RemoteChildHistory:
        """Nothing: see its proxy."""
        return RemoteChildHistory()

    def inherit(self, other: SupervisorPort) -> None:
        """There is nothing to go on with."""

    def statistics(self) -> RemoteChildSupervisorStatistics:
        """What state it is in."""
        return RemoteChildSupervisorStatistics(self._state)


class RemoteChildHolders:
    """The holders of one host."""

    def __init__(self, host: RoleHost[Cell], builder: TreeBuilder) -> None:
        self._host = host
        self._builder = builder
        self._holders: Final[dict[int, RemoteChildHolder]] = {}

    def begin(
        self, node: Node, above: str, number: int, places: Iterator[Address]
    ) -> RemoteChildHolder:
        """Put a holder here, and start nothing in it. Raises `SpecError`.

        `above` is the path of the supervisor that the node was declared under.
        """
        holder = RemoteChildHolder(number, above, self._host.dispatcher, self)
        numbers = itertools.count(number + 1)
        self._builder.build_below(holder, (node,), lambda: next(numbers), places)
        self._holders[number] = holder
        self._host.spawner.begin_top_level(holder, AS_A_CHILD)
        return holder

    def forget(self, holder: RemoteChildHolder) -> None:
        """It is gone for good."""
        self._holders.pop(holder.id, None)

    @property
    def all(self) -> Iterable[RemoteChildHolder]:
        """All holders of this host."""
        return self._holders.values()

    def close(self) -> None:
        """Forget everything: the host is gone."""
        self._holders.clear()

    # --- what the proxy's host wants ----------------------------------------------------------

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
        """A host is gone, in this incarnation and all before it: so is what it wanted here."""
        for holder in list(self._holders.values()):
            supervisor = holder.supervisor
            if supervisor is None or holder.owner.slot != slot or holder.owner.epoch > epoch:
                continue
            if not supervisor.is_down:
                LOGGER.warning("%s ends: the host of its supervisor is gone", supervisor.path)
                # At once: nobody's task may stop what a newer owner has started.
                supervisor.begin_stop(comes_back=True)

    def _find(self, number: int) -> "tuple[RemoteChildHolder, RemoteChildSupervisor]":
        holder = self._holders.get(number)
        if holder is None or holder.supervisor is None:
            raise ActorNotFound(
                f"there is no holder {number} on {self._host.name}.",
                advice="Its tree has ended.",
                may_have_run=False,
            )
        return holder, holder.supervisor

    def _check(self, holder: RemoteChildHolder, owner: Owner) -> None:
        """Whether somebody newer has come, or its host is gone; raises `ActorStopped`."""
        link = self._host.links.get(owner.slot)
        is_there = owner.slot == self._host.slot or (
            link is not None and link.is_connected and link.epoch == owner.epoch
        )
        if not is_there or owner[:2] <= holder.refused[:2] or owner[:2] < holder.owner[:2]:
            raise _over(holder)

    # --- what it is told ----------------------------------------------------------------------

    def report(self, holder: RemoteChildHolder, reason: Exit) -> None:
        """A remote child has ended by itself: tell its proxy."""
        self._host.run_task(self._report(holder.owner, reason))

    async def _report(self, owner: Owner, reason: Exit) -> None:
        told = RemoteChildEnded(
            cell=owner.cell,
            turn=owner.turn,
            kind=reason.kind.value,
            detail=dict(reason.detail),
        )
        control_actor = Address(owner.slot, CONTROL_CELL)
        link = self._host.links.get(owner.slot)
        if owner.slot != self._host.slot and (link is None or link.epoch != owner.epoch):
            return  # The loss of its host has told everything.
        try:
            await self._host.send(control_actor, told, FOREVER_S)
        except CallboardError:  # What cannot travel is its detail; that it ended must.
            text = str(reason.detail.get("message", ""))[:DETAIL_CHARS_MAX]
            with contextlib.suppress(CallboardError):
                told = told.model_copy(update={"detail": {"message": text}})
                await self._host.send(control_actor, told, FOREVER_S)


def _over(holder: RemoteChildHolder) -> ActorStopped:
    return ActorStopped(
        f"{holder.path} is not to start any more.",
        advice="Its supervisor has stopped it, or starts it anew.",
        may_have_run=False,
    )


def _settle(future: "asyncio.Future[None] | None", error: CallboardError | None) -> None:
    if future is None or future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # Retrieved here: who waited may have given up.
