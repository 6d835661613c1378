"""Lodges: where placed children of trees run, on hosts other than their supervisor's.

A lodge is a top-level actor of its host, put there by the root. It is a branch with one
child, the lodger, whose supervisor is elsewhere: it starts and stops the lodger as the
envoy's host says, and reports there how it ended. Its cells stay while the lodger is down,
so references to it stay good and what waits for it stays. States and invariants are in
`envoy.py`.
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
    LodgerEnded,
    LodgerStarted,
    LodgerStopped,
    StartLodger,
    StopLodger,
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

from ...kernel.cell import Cell, Life
from ...kernel.lifecycle.mailbox_policy import refuse_waiting
from ...kernel.ports import CellDispatcher, RoleHost
from ..spec import Node, TreeSpec
from ..supervisor_cell import Branch, TreeBuilder
from .proxy import FOREVER_S

__all__ = ["Lodge", "Lodgings"]

LOGGER: Final = logging.getLogger("callboard.host")
DETAIL_CHARS_MAX: Final = 1_000
LODGE: Final = TreeSpec("lodge")
AS_A_CHILD: Final = ChildSpec("lodge", restart=Restart.TEMPORARY, stop_timeout=StopTimeout.INFINITY)
"""A lodge among the top-level actors of its host: the root puts it back, nobody else."""


class Owner(NamedTuple):
    """For whom a lodger runs; of two owners of one lodge, the greater is the newer."""

    epoch: int
    turn: int
    slot: int
    cell: int


NOBODY: Final = Owner(0, 0, 0, 0)


class Lodge(Branch):
    """The place of one lodger."""

    __slots__ = ("_lodgings", "above", "keeper", "owner", "refused")

    def __init__(
        self, number: int, above: str, dispatcher: CellDispatcher[Cell], lodgings: "Lodgings"
    ) -> None:
        super().__init__(number, LODGE, dispatcher)
        self.recipe.name = None  # No sibling has to be called otherwise because of it.
        self._lodgings = lodgings
        self.above: Final = above
        """The path of the lodger's supervisor, without the first `/`."""
        self.owner = NOBODY
        self.refused = NOBODY
        """The newest owner that wants the lodger no longer."""
        self.keeper: Keeper | None = None

    @property
    def name(self) -> str:
        """The path of the lodger's supervisor, so that the lodger's path is as declared."""
        return self.above

    def make_supervisor(self, runner: ChildRunner) -> SupervisorPort:
        """Who decides about the lodger: its envoy's host."""
        ((lodger, spec),) = self.members.values()
        self.keeper = Keeper(self, self._lodgings, lodger, spec, runner)
        return self.keeper

    def view_fields(self) -> Mapping[str, Any]:
        """That it is a lodge: views show its lodger in its place."""
        return {"is_lodge": True}

    def ended(self) -> None:
        """It is gone for good."""
        self._lodgings.forget(self)


@unique
class LodgerState(StrEnum):
    """Where a lodger is; whether it is started again is not known here."""

    DOWN = "down"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@final
@dataclass(frozen=True, slots=True)
class LodgerView:
    """A lodger as it was when looked at."""

    spec: ChildSpec
    state: LodgerState
    incarnation: int
    restarts: int
    last_exit: Exit | None

    @property
    def is_down(self) -> bool:
        """Whether it stays down: its envoy's supervisor knows, and has it told here."""
        return False


@final
@dataclass(frozen=True, slots=True)
class LodgerHistory:
    """What became of it is remembered where it is decided."""

    entries: tuple[Any, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class KeeperStatistics:
    """A keeper as it was when looked at."""

    state: str


class Keeper:
    """In a supervisor's place for the one child of a lodge: does as it is told from elsewhere.

    It goes NEW (no runner has asked for it), running, stopping, stopped, as supervisors do.
    """

    def __init__(
        self,
        lodge: Lodge,
        lodgings: "Lodgings",
        lodger: Cell,
        spec: ChildSpec,
        runner: ChildRunner,
    ) -> None:
        self._lodge = lodge
        self._lodgings = lodgings
        self._lodger: Final = lodger
        self._spec: Final = spec
        self._runner = runner
        self._state = "new"
        self._incarnation = 0
        self._lodger_state = LodgerState.DOWN
        self._last_exit: Exit | None = None
        self._started: asyncio.Future[None] | None = None
        self._stopped: asyncio.Future[Exit] | None = None

    @property
    def path(self) -> str:
        """The lodger's."""
        return self._lodger.path

    @property
    def is_down(self) -> bool:
        """Whether nothing of the lodger runs."""
        return self._lodger_state is LodgerState.DOWN

    async def start_lodger(self) -> None:
        """Start it, and wait until it runs; raises `ActorStartFailed`, `ActorStopped`."""
        assert self.is_down, "whoever starts it waits for its end first"
        if self._state != "running":
            raise _over(self._lodge)
        self._incarnation += 1
        self._lodger_state = LodgerState.STARTING
        started = self._started = self._lodge.host.loop.create_future()
        self._runner.start_child(self._lodger.id, self._incarnation, self._spec)
        await asyncio.shield(started)

    async def stop_lodger(self, *, comes_back: bool, is_brutal: bool = False) -> Exit:
        """Stop it, and wait; gives how it ended. Unless it comes back, what waits is refused."""
        outcome = SHUT_DOWN if self._last_exit is None else self._last_exit
        if not self.is_down:
            if self._stopped is None:
                self._stopped = self._lodge.host.loop.create_future()
            stopped = self._stopped
            self.begin_stop(comes_back=comes_back, is_brutal=is_brutal)
            outcome = await asyncio.shield(stopped)
        if not comes_back and self.is_down and self._lodger.life != Life.STOPPED:
            self._lodger.life = Life.STOPPED
            refuse_waiting(self._lodger)
        return outcome

    def begin_stop(self, *, comes_back: bool, is_brutal: bool = False) -> None:
        """Begin to stop it, if it runs and is not stopping yet; or end it at once."""
        if self.is_down or (self._lodger_state is LodgerState.STOPPING and not is_brutal):
            return
        self._lodger_state = LodgerState.STOPPING
        timeout = StopTimeout.KILL if is_brutal else self._spec.stop_timeout
        self._runner.stop_child(
            self._lodger.id, self._incarnation, timeout, SHUT_DOWN, comes_back=comes_back
        )

    # --- SupervisorPort: what its family reports ----------------------------------------------

    def child_started(self, child: ChildId, incarnation: int) -> None:
        """The lodger runs."""
        if incarnation == self._incarnation and self._lodger_state is LodgerState.STARTING:
            self._lodger_state = LodgerState.RUNNING
            _settle(self._started, None)

    def children_started(self, children: Sequence[ChildId], first_incarnation: int) -> None:
        """There is one at most, which reports for itself."""
        raise self._refusal()

    def child_start_failed(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """The lodger did not start."""
        if incarnation == self._incarnation and self._lodger_state is LodgerState.STARTING:
            self._lodger_state = LodgerState.DOWN
            self._last_exit = reason
            _settle(self._started, error_from_data(reason.detail))

    def child_exited(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """The lodger has ended, asked for or not."""
        if incarnation != self._incarnation or self.is_down:
            return
        was_asked = self._lodger_state is LodgerState.STOPPING
        self._lodger_state = LodgerState.DOWN
        self._last_exit = reason
        _settle(self._started, _over(self._lodge))
        stopped, self._stopped = self._stopped, None
        if stopped is not None and not stopped.done():
            stopped.set_result(reason)
        if self._state == "stopping":
            self._end()
        elif not was_asked:
            self._lodgings.report(self._lodge, reason)

    # --- SupervisorPort: the lodge's own life -------------------------------------------------

    def expect_child(self, spec: ChildSpec) -> None:
        """Its child is known."""

    def start(self) -> None:
        """The lodge is ready; its lodger starts when the envoy's host says so."""
        self._state = "running"
        self._runner.supervisor_started()

    def stop(self) -> None:
        """The lodge goes, and its lodger with it."""
        self._state = "stopping"
        if self.is_down:
            self._end()
        else:
            self.begin_stop(comes_back=False)

    def _end(self) -> None:
        self._state = "stopped"
        self._runner.supervisor_stopped(SHUT_DOWN)

    def abandon(self) -> None:
        """The lodger is gone by force, with its lodge."""
        self._state = "stopped"
        self._lodger_state = LodgerState.DOWN
        _settle(self._started, _over(self._lodge))
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
            f"{self._lodger.path} belongs to a supervisor on host {self._lodge.owner.slot}.",
            advice="Do it there, with the tree's reference.",
        )

    # --- SupervisorPort: looks ----------------------------------------------------------------

    def child(self, child: ChildId) -> LodgerView:
        """The lodger, as it is now."""
        return LodgerView(
            spec=self._spec,
            state=self._lodger_state,
            incarnation=self._incarnation,
            restarts=max(0, self._incarnation - 1),
            last_exit=self._last_exit,
        )

    def stop_timeouts(self) -> Iterable[tuple[ChildId, StopTimeout]]:
        """How long the lodger may take to stop."""
        return () if self.is_down else ((self._lodger.id, self._spec.stop_timeout),)

    def history(self, child: ChildId) -> LodgerHistory:
        """Nothing: see its envoy."""
        return LodgerHistory()

    def inherit(self, other: SupervisorPort) -> None:
        """There is nothing to go on with."""

    def statistics(self) -> KeeperStatistics:
        """What state it is in."""
        return KeeperStatistics(self._state)


class Lodgings:
    """The lodges of one host."""

    def __init__(self, host: RoleHost[Cell], builder: TreeBuilder) -> None:
        self._host = host
        self._builder = builder
        self._lodges: Final[dict[int, Lodge]] = {}

    def begin(self, node: Node, above: str, number: int, places: Iterator[Address]) -> Lodge:
        """Put a lodge here, and start nothing in it. Raises `SpecError`.

        `above` is the path of the supervisor that the node was declared under.
        """
        lodge = Lodge(number, above, self._host.dispatcher, self)
        numbers = itertools.count(number + 1)
        self._builder.build_below(lodge, (node,), lambda: next(numbers), places)
        self._lodges[number] = lodge
        self._host.births.begin_top(lodge, AS_A_CHILD)
        return lodge

    def forget(self, lodge: Lodge) -> None:
        """It is gone for good."""
        self._lodges.pop(lodge.id, None)

    @property
    def all(self) -> Iterable[Lodge]:
        """All lodges of this host."""
        return self._lodges.values()

    def close(self) -> None:
        """Forget everything: the host is gone."""
        self._lodges.clear()

    # --- what the envoy's host wants ----------------------------------------------------------

    async def start(self, request: StartLodger) -> LodgerStarted:
        """See `StartLodger`."""
        lodge, keeper = self._find(request.lodge)
        owner = Owner(request.epoch, request.turn, request.slot, request.cell)
        self._check(lodge, owner)
        while not keeper.is_down:
            await keeper.stop_lodger(comes_back=True)
            self._check(lodge, owner)
        lodge.owner = owner
        await keeper.start_lodger()
        return LodgerStarted(epoch=self._host.epoch)

    async def stop(self, request: StopLodger) -> LodgerStopped:
        """See `StopLodger`."""
        outcome = SHUT_DOWN
        lodge = self._lodges.get(request.lodge)
        if lodge is not None and lodge.keeper is not None:
            owner = Owner(request.epoch, request.turn, request.slot, 0)
            if owner[:2] > lodge.refused[:2]:
                lodge.refused = owner
            if lodge.owner[:2] <= owner[:2]:
                outcome = await lodge.keeper.stop_lodger(
                    comes_back=request.comes_back, is_brutal=request.is_brutal
                )
        return LodgerStopped(reason=outcome.to_data())

    def owner_lost(self, slot: int, epoch: float) -> None:
        """A host is gone, in this incarnation and all before it: so is what it wanted here."""
        for lodge in list(self._lodges.values()):
            keeper = lodge.keeper
            if keeper is None or lodge.owner.slot != slot or lodge.owner.epoch > epoch:
                continue
            if not keeper.is_down:
                LOGGER.warning("%s ends: the host of its supervisor is gone", keeper.path)
                # At once: nobody's task may stop what a newer owner has started.
                keeper.begin_stop(comes_back=True)

    def _find(self, number: int) -> "tuple[Lodge, Keeper]":
        lodge = self._lodges.get(number)
        if lodge is None or lodge.keeper is None:
            raise ActorNotFound(
                f"there is no lodge {number} on {self._host.name}.",
                advice="Its tree has ended.",
                may_have_run=False,
            )
        return lodge, lodge.keeper

    def _check(self, lodge: Lodge, owner: Owner) -> None:
        """Whether somebody newer has come, or its host is gone; raises `ActorStopped`."""
        link = self._host.links.get(owner.slot)
        is_there = owner.slot == self._host.slot or (
            link is not None and link.is_connected and link.epoch == owner.epoch
        )
        if not is_there or owner[:2] <= lodge.refused[:2] or owner[:2] < lodge.owner[:2]:
            raise _over(lodge)

    # --- what it is told ----------------------------------------------------------------------

    def report(self, lodge: Lodge, reason: Exit) -> None:
        """A lodger has ended by itself: tell its envoy."""
        self._host.run_task(self._report(lodge.owner, reason))

    async def _report(self, owner: Owner, reason: Exit) -> None:
        told = LodgerEnded(
            cell=owner.cell,
            turn=owner.turn,
            kind=reason.kind.value,
            detail=dict(reason.detail),
        )
        warden = Address(owner.slot, CONTROL_CELL)
        link = self._host.links.get(owner.slot)
        if owner.slot != self._host.slot and (link is None or link.epoch != owner.epoch):
            return  # The loss of its host has told everything.
        try:
            await self._host.send(warden, told, FOREVER_S)
        except CallboardError:  # What cannot travel is its detail; that it ended must.
            text = str(reason.detail.get("message", ""))[:DETAIL_CHARS_MAX]
            with contextlib.suppress(CallboardError):
                told = told.model_copy(update={"detail": {"message": text}})
                await self._host.send(warden, told, FOREVER_S)


def _over(lodge: Lodge) -> ActorStopped:
    return ActorStopped(
        f"{lodge.path} is not to start any more.",
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
