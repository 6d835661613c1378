"""Ports inside the kernel: the protocols of its parts and of their host.

A part takes the smallest protocol that serves it, and never the whole `Host`. A protocol
that only one part needs, and that names parts which import this file, stands in that part's
own file. `CellT` is always `Cell`, which imports this file.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from typing import Any, Protocol, TypeVar

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import ChildSpec, Restart, StopTimeout, SupervisorSpec
from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, ContractRegistry, Request
from callboard.messages.core.errors import ActorStartFailed, CallboardError
from callboard.messages.core.ref import Address
from callboard.messages.ports import MakeSupervisor, Pickler, SupervisorPort

from .actor import Behaviour
from .asks import Ask
from .circles.runs import Run
from .context import Context, ContextHost
from .dead_letters import DeadLetters
from .deadlines import Deadlines
from .directory.registry import Directory
from .inspection.meters import Meters
from .inspection.steps import StepMeter
from .lifecycle.fences import Fences
from .monitors.monitors import LinkPort, Monitors
from .redelivery import Redelivery
from .stash import Stashes
from .tracing import Tracing

__all__ = [
    "CellDispatcher",
    "CellHost",
    "Children",
    "CirclesPort",
    "CleanupPort",
    "DispatcherHost",
    "RoleHost",
    "SharedMailbox",
    "SpawnerPort",
    "TerminationPort",
]

CellT = TypeVar("CellT")
CellT_contra = TypeVar("CellT_contra", contravariant=True)
ExtensionT = TypeVar("ExtensionT")
ReplyT = TypeVar("ReplyT")


class SharedMailbox(Protocol[CellT_contra]):
    """A mailbox that several cells take their work from."""

    def take(self) -> Any:
        """The next message to handle, or None."""

    def member_ready(self, member: CellT_contra) -> None:
        """This cell is free to take work."""


class Children(Protocol[CellT]):
    """The children of one cell, under one supervisor; see `CellChildren`."""

    @property
    def spec(self) -> SupervisorSpec:
        """The spec of their supervision."""

    @property
    def supervisor(self) -> SupervisorPort:
        """The supervisor that decides about them."""

    @property
    def cells(self) -> Mapping[int, CellT]:
        """The present children, in the order of their start."""

    def named(self, name: str) -> CellT | None:
        """The child of that name."""

    def is_declared(self, cell: CellT) -> bool:
        """Whether the supervisor's spec declares the child, so that it outlives its own end."""

    def patience_s(self) -> float:
        """How long an ordered stop of all of them may take."""

    def add(self, cell: CellT, spec: ChildSpec) -> None:
        """Start a child. Raises `NameTaken`."""

    def remove(self, cell: CellT) -> None:
        """Stop and forget a child."""

    def run_start_hook(self, cell: CellT, incarnation: int, *, is_first: bool) -> None:
        """Run the start hook of a child; the child runs once the hook has returned."""

    def mark_running(self, cell: CellT, incarnation: int) -> None:
        """The start of a child has succeeded."""

    def mark_start_failed(self, cell: CellT, failure: ActorStartFailed, *, is_first: bool) -> None:
        """The start of a child has failed."""

    async def wait_started(self, cell: CellT) -> None:
        """Wait for the outcome of a first start; raises `ActorStartFailed`."""

    def start_awaited(self, cell: CellT) -> "asyncio.Future[None] | None":
        """What `wait_started` waits for; None when nobody has called it."""

    def child_failed(self, cell: CellT, reason: Exit) -> None:
        """A running child has failed or stopped itself."""

    def stop_for_good(self, cell: CellT) -> None:
        """Refuse the messages that wait for a declared child, if the child stays down."""


class SpawnerPort(Protocol[CellT]):
    """Starts cells on a host; see `Spawner`."""

    @property
    def is_stopping(self) -> bool:
        """Whether the whole host is being stopped."""

    def next_number(self) -> int:
        """A number for a cell that this host numbers itself."""

    def learn(self, behaviour: Behaviour) -> None:
        """Register the contracts of an actor class that will run here."""

    @property
    def guardian(self) -> Children[CellT]:
        """The children of the host: its top-level actors."""

    def begin_cell(
        self,
        make: Callable[[int], CellT],
        parent: CellT | None,
        restart: Restart = Restart.TRANSIENT,
        stop_timeout: StopTimeout | None = None,
        number: int | None = None,
    ) -> CellT:
        """Begin to start an actor in the cell that `make` returns; `outcome` waits for the start.

        Raises `SpecError` when the class is no proper actor, `NameTaken` for its name.
        """

    def begin_top_level(self, cell: CellT, spec: ChildSpec) -> None:
        """Begin to start a top-level actor that has a spec of its own."""

    async def outcome(self, cell: CellT) -> None:
        """Wait for the outcome of a first start; raises `ActorStartFailed`."""


class TerminationPort(Protocol[CellT_contra]):
    """Ends cells on a host; see `Termination`."""

    @property
    def start_failures(self) -> dict[int, ActorStartFailed]:
        """The errors of failed starts, until their spawner takes them."""

    @property
    def start_hooks(self) -> dict[int, "asyncio.Task[None]"]:
        """The running start hooks, by cell."""

    def ends_start(self, cell: CellT_contra, error: BaseException) -> bool:
        """Whether an error in a start hook only says that the kernel has ended the hook."""

    def stop(
        self,
        cell: CellT_contra,
        timeout: StopTimeout,
        reason: Exit,
        stopped: Callable[[Exit], None],
        *,
        comes_back: bool = False,
    ) -> None:
        """Stop a cell in order."""

    async def stop_child(self, parent: CellT_contra | None, number: int) -> None:
        """Stop one child and wait; raises `ActorNotFound`."""

    async def stop_children(self, cell: CellT_contra) -> None:
        """Stop the children of a cell in reverse, and wait."""

    def stop_self(self, cell: CellT_contra, reason: Exit) -> None:
        """Stop an actor after the message that it handles."""

    def actor_failed(self, cell: CellT_contra, failure: CallboardError) -> None:
        """A handler has raised: drop the actor; its supervisor decides what follows."""

    def fail(self, cell: CellT_contra, reason: Exit) -> None:
        """End a running actor with this reason; its supervisor decides what follows."""

    def worker_left(self, cell: CellT_contra) -> None:
        """A worker has left a cell that does not run any more."""

    def stop_awaited(self, cell: CellT_contra) -> "asyncio.Future[None] | None":
        """What `stop_child` waits for; None when nobody has called it for the cell."""

    def children_stopped(self, cell: CellT_contra, reason: Exit) -> None:
        """All children of a cell have stopped, by order or by themselves."""

    def remove(self, cell: CellT_contra, reason: Exit) -> None:
        """Remove a cell that has ended for good."""


class CleanupPort(Protocol[CellT_contra]):
    """Clears up after incarnations; see `Cleanup`."""

    def discard_start(self, cell: CellT_contra, reason: Exit) -> None:
        """A start has failed: undo what its hook has registered."""


class CirclesPort(Protocol[CellT_contra]):
    """Finds asks in a circle; see `Circles`."""

    def suspect(self, ask: Ask, cell: CellT_contra) -> None:
        """An ask has come to an actor that cannot take it now."""


class CellHost(Protocol[CellT]):
    """The host, for cells of all kinds and the runners of their children."""

    @property
    def slot(self) -> int:
        """Its place in the cluster."""

    @property
    def epoch(self) -> int:
        """Which incarnation of the slot it is."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Its event loop."""

    @property
    def cells(self) -> dict[int, CellT]:
        """Its cells, by number."""

    @property
    def dispatcher(self) -> "CellDispatcher[CellT]":
        """The dispatcher that runs its cells."""

    @property
    def directory(self) -> Directory:
        """Names and offers."""

    @property
    def contracts(self) -> ContractRegistry:
        """The contracts that its actors speak."""

    @property
    def codec(self) -> Codec:
        """Contracts to bytes and back."""

    @property
    def meters(self) -> Meters:
        """Its counters and measurements."""

    @property
    def monitors(self) -> Monitors:
        """Watches and links."""

    @property
    def spawner(self) -> SpawnerPort[CellT]:
        """Starts cells on it."""

    @property
    def termination(self) -> TerminationPort[CellT]:
        """Ends cells on it."""

    @property
    def cleanup(self) -> CleanupPort[CellT]:
        """Clears up after incarnations."""

    @property
    def fences(self) -> Fences:
        """Draws the fencing tokens of its actors."""

    @property
    def circles(self) -> CirclesPort[CellT]:
        """Finds asks in a circle."""

    @property
    def make_supervisor(self) -> MakeSupervisor:
        """The factory of the supervisors that decide about children."""

    def now(self) -> float:
        """Its time in seconds."""

    def context(self, cell: CellT) -> Context:
        """A context that belongs to no message, for an actor's hooks."""

    def children_of(self, cell: CellT | None) -> Children[CellT]:
        """The children of a cell, or of the host itself."""

    def ask(
        self,
        address: Address | None,
        request: Request[ReplyT],
        timeout_s: float | None = None,
        origin: Ask | None = None,
    ) -> Awaitable[ReplyT]:
        """See `ContextHost.ask`."""

    def tell(self, address: Address, message: Contract) -> None:
        """See `Ref.tell`."""

    def run_task(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run something in the background; its failure is logged."""

    def start_task(self, coroutine: Coroutine[Any, Any, ReplyT]) -> "asyncio.Task[ReplyT]":
        """Like `run_task`; returns the task, so that the caller can cancel it."""

    def ends_task(self, error: BaseException) -> bool:
        """Whether an error in such a task is no failure of it: it ends from outside."""


class CellDispatcher(Protocol[CellT]):
    """The dispatcher, for the cells that it runs."""

    @property
    def host(self) -> CellHost[CellT]:
        """The host of these cells."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of this host."""

    @property
    def dead_letters(self) -> DeadLetters:
        """The messages that no handler got."""

    @property
    def stashes(self) -> Stashes:
        """The stashes of the actors."""

    @property
    def handled(self) -> int:
        """Messages handled since the start."""

    steps: StepMeter | None
    """Measures the steps of executions; None while the host records nothing."""

    @property
    def runs(self) -> MutableMapping["asyncio.Task[Any]", Run[CellT]]:
        """The workers and the hooks by their tasks."""

    @property
    def redelivery(self) -> Redelivery:
        """The messages that have crashed their actor and are retried."""

    def enqueue(self, cell: CellT) -> None:
        """Put a cell into the ready queue."""

    def has_interleaving_room(self, cell: CellT) -> bool:
        """Whether a reentrant actor may handle one more message of a chain that waits for it."""

    def interleave(self, cell: CellT, ask: Ask) -> None:
        """Let a reentrant actor handle an ask now, while its handlers wait."""


class DispatcherHost(CellHost[CellT], ContextHost, Protocol[CellT]):
    """The host, for its dispatcher."""

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines of asks."""

    @property
    def ask_timeout_s(self) -> float:
        """The deadline of an ask without one of its own."""

    @property
    def tracing(self) -> Tracing | None:
        """Records its spans; None if it records none."""


class RoleHost(CellHost[CellT], ContextHost, Protocol[CellT]):
    """The host, for the role that extends it; see `Extension`."""

    @property
    def links(self) -> Mapping[int, LinkPort]:
        """The links to other hosts that exist so far."""

    def link(self, slot: int) -> LinkPort:
        """The link to a slot, made at first use."""

    @property
    def pickler(self) -> Pickler:
        """Serialises actor classes and their arguments."""

    def extension(self, kind: type[ExtensionT]) -> ExtensionT:
        """The extension of that kind; raises `UsageError` when the host has none."""
