"""Ports inside the kernel: what its parts need of each other and of their host, as Protocols.

A part takes the smallest of them that serves it, and never the whole `Host`. What a single
part needs beside these, and names parts above this file, stands in that part's own file.
`CellT` is always `Cell`, which stands above this file.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import ChildSpec, Restart, StopTimeout, SupervisorSpec
from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import ContractRegistry
from callboard.messages.core.errors import ActorStartFailed, CallboardError
from callboard.messages.ports import MakeSupervisor, Pickler, SupervisorPort

from .actor import Behaviour
from .context import Context, ContextHost
from .dead_letters import DeadLetters
from .deadlines import Deadlines
from .directory.registry import Directory
from .inspection.meters import Meters
from .monitors.monitors import LinkPort, Monitors
from .redelivery import Redelivery
from .stash import Stashes

__all__ = [
    "CellDispatcher",
    "CellHost",
    "Children",
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
        """One of them has nothing to do."""


class Children(Protocol[CellT]):
    """The children of one cell, under one supervisor; see `CellChildren`."""

    @property
    def spec(self) -> SupervisorSpec:
        """How they are supervised."""

    @property
    def supervisor(self) -> SupervisorPort:
        """Who decides about them."""

    @property
    def cells(self) -> Mapping[int, CellT]:
        """Those that are there, in the order of their start."""

    def named(self, name: str) -> CellT | None:
        """The child of that name."""

    def is_declared(self, cell: CellT) -> bool:
        """Whether a child was declared with its supervisor, and so outlives its own end."""

    def patience_s(self) -> float:
        """How long an ordered stop of them may take."""

    def add(self, cell: CellT, spec: ChildSpec) -> None:
        """Start a child. Raises `NameTaken`."""

    def remove(self, cell: CellT) -> None:
        """Stop and forget a child."""

    def run_start_hook(self, cell: CellT, incarnation: int, *, is_first: bool) -> None:
        """Let the start hook of a child run; the child runs when that is through."""

    def mark_running(self, cell: CellT, incarnation: int) -> None:
        """The start of a child has succeeded."""

    def mark_start_failed(self, cell: CellT, failure: ActorStartFailed, *, is_first: bool) -> None:
        """The start of a child has failed."""

    async def wait_started(self, cell: CellT) -> None:
        """Wait for the outcome of a first start; raises `ActorStartFailed`."""

    def child_failed(self, cell: CellT, reason: Exit) -> None:
        """A running child has ended by itself."""

    def stop_for_good(self, cell: CellT) -> None:
        """Refuse what waits for a declared child if that stays down."""


class SpawnerPort(Protocol[CellT]):
    """How cells come to a host; see `Spawner`."""

    @property
    def is_stopping(self) -> bool:
        """Whether the whole host is being stopped."""

    def next_number(self) -> int:
        """A number for a cell of this host's own."""

    def learn(self, behaviour: Behaviour) -> None:
        """Take in the contracts of an actor class that is going to run here."""

    @property
    def guardian(self) -> Children[CellT]:
        """The top-level actors."""

    def begin_cell(
        self,
        make: Callable[[int], CellT],
        parent: CellT | None,
        restart: Restart = Restart.TRANSIENT,
        stop_timeout: StopTimeout | None = None,
        number: int | None = None,
    ) -> CellT:
        """Begin to start an actor in the cell that `make` gives; `outcome` tells how it went.

        Raises `SpecError` when the class is no proper actor, `NameTaken` for its name.
        """

    def begin_top_level(self, cell: CellT, spec: ChildSpec) -> None:
        """The same for a top-level actor that has a spec of its own."""

    async def outcome(self, cell: CellT) -> None:
        """Wait for the outcome of a first start; raises `ActorStartFailed`."""


class TerminationPort(Protocol[CellT_contra]):
    """How cells end on a host; see `Termination`."""

    @property
    def start_failures(self) -> dict[int, ActorStartFailed]:
        """Why cells did not start, until their spawner has been told."""

    @property
    def start_hooks(self) -> dict[int, "asyncio.Task[None]"]:
        """The start hooks that run, by their cell."""

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
        """A handler has raised: the actor is thrown away, and its supervisor decides."""

    def fail(self, cell: CellT_contra, reason: Exit) -> None:
        """Let a running actor end like this; its supervisor decides."""

    def end_turn(self, cell: CellT_contra) -> None:
        """A worker has left a cell that is not to run any more."""

    def children_stopped(self, cell: CellT_contra, reason: Exit) -> None:
        """All children of a cell have stopped, asked for or not."""

    def remove(self, cell: CellT_contra, reason: Exit) -> None:
        """A cell ended for good."""


class CleanupPort(Protocol[CellT_contra]):
    """What clears up after incarnations; see `Cleanup`."""

    def discard_start(self, cell: CellT_contra, reason: Exit) -> None:
        """A start has failed, whose hook may have asked for things."""


class CellHost(Protocol[CellT]):
    """What cells of all kinds, and the families of their children, need of their host."""

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
        """The cells on it, by their numbers."""

    @property
    def dispatcher(self) -> "CellDispatcher[CellT]":
        """What runs them."""

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
        """What is counted and measured on it."""

    @property
    def monitors(self) -> Monitors:
        """Watches and links."""

    @property
    def spawner(self) -> SpawnerPort[CellT]:
        """How cells come to it."""

    @property
    def termination(self) -> TerminationPort[CellT]:
        """How cells end on it."""

    @property
    def cleanup(self) -> CleanupPort[CellT]:
        """What is cleared up with an incarnation."""

    @property
    def make_supervisor(self) -> MakeSupervisor:
        """Who decides about children."""

    def now(self) -> float:
        """Its time in seconds."""

    def context(self, cell: CellT) -> Context:
        """A context that belongs to no message, for an actor's hooks."""

    def children_of(self, cell: CellT | None) -> Children[CellT]:
        """The children of a cell, or of the host itself."""

    def run_task(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run something in the background; its failure is logged."""

    def start_task(self, coroutine: Coroutine[Any, Any, ReplyT]) -> "asyncio.Task[ReplyT]":
        """Like `run_task`, for who wants to cancel it."""


class CellDispatcher(Protocol[CellT]):
    """What cells need of the dispatcher that runs them."""

    @property
    def host(self) -> CellHost[CellT]:
        """The host that they are on."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that they run on."""

    @property
    def dead_letters(self) -> DeadLetters:
        """Where messages go that reach nobody."""

    @property
    def stashes(self) -> Stashes:
        """What their actors have put aside."""

    @property
    def handled(self) -> int:
        """Messages handled since the start."""

    @property
    def redelivery(self) -> Redelivery:
        """The messages that have crashed their actor."""

    def enqueue(self, cell: CellT) -> None:
        """Put a cell into the ready queue."""


class DispatcherHost(CellHost[CellT], ContextHost, Protocol[CellT]):
    """What the dispatcher needs of its host."""

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines of asks."""


class RoleHost(CellHost[CellT], ContextHost, Protocol[CellT]):
    """What a role needs of the host that it is a part of; see `Extension`."""

    @property
    def links(self) -> Mapping[int, LinkPort]:
        """The ways to other hosts, as far as there are any."""

    @property
    def pickler(self) -> Pickler:
        """Ships code."""

    def extension(self, kind: type[ExtensionT]) -> ExtensionT:
        """The extension of that kind; raises `UsageError` when the host has none."""
