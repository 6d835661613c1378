"""A cell runs one actor: its mailbox, its place in the run queue, its state of life.

A cell outlives its actor: a restart puts a new actor into the same cell, so references
and waiting messages stay good. An idle cell owns no task and no mailbox; that is what
makes an actor cost a kilobyte.

    STARTING --started--> RUNNING --stop--> STOPPING --> STOPPED
        ^                    |
        +---- restart -------+  (the actor failed; messages wait meanwhile)

Invariants: `queued` says exactly whether the cell is in the dispatcher's ready queue;
`free` is how many more of its messages may be handled at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.spec import AutoShutdown, Restart, StopTimeout, SupervisorSpec
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import ActorStartFailed, ActorStopped, MailboxFull

from .actor import Actor, Behaviour, Overflow, behaviour_of
from .asks import Ask
from .cell_port import Lifecycle
from .context import Context
from .failures import start_failed_error
from .flow_key import WHOLE_CELL, FlowKey
from .monitors.notices import is_notice
from .ports import CellDispatcher, CellHost, Children, SharedMailbox
from .props import props_of
from .spawnable import Spawnable

__all__ = ["Cell", "Lifecycle", "Recipe", "message_of"]


class Recipe:
    """How to make the actor, as often as needed."""

    __slots__ = ("actor", "args", "keywords", "name")

    def __init__(
        self,
        actor: type[Actor],
        args: tuple[Any, ...] = (),
        keywords: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        self.actor = actor
        self.args = args
        self.keywords = keywords
        self.name = name

    def make(self) -> Actor:
        """A new actor; raises whatever its constructor raises."""
        if self.keywords:
            return self.actor(*self.args, **self.keywords)
        return self.actor(*self.args)

    def make_cell(self, number: int, host: "CellHost[Cell]") -> "Cell":
        """The cell that it runs in. Raises `SpecError` when the class is no proper actor."""
        return Cell(number, self, behaviour_of(self.actor), host.dispatcher)


class Cell:
    """One actor's place on a host. Roles derive their own kinds from it and fill in its hooks."""

    children_stop_first: ClassVar[bool] = True
    """Whether its children have their own time to stop, before its own begins."""

    __slots__ = (
        "actor",
        "behaviour",
        "children",
        "dispatcher",
        "free",
        "id",
        "incarnation",
        "lifecycle",
        "mailbox",
        "parent",
        "queued",
        "recipe",
        "room_waiters",
        "shared",
        "stopping",
    )

    def __init__(
        self, number: int, recipe: Recipe, behaviour: Behaviour, dispatcher: "CellDispatcher[Cell]"
    ) -> None:
        self.id: Final = number
        self.recipe = recipe
        self.behaviour = behaviour
        self.dispatcher = dispatcher
        self.actor: Actor | None = None
        self.mailbox: deque[Any] | None = None
        self.queued = False
        self.free = behaviour.concurrency
        self.lifecycle = Lifecycle.STARTING
        self.incarnation = 0
        self.parent: Cell | None = None
        self.children: Children[Cell] | None = None
        self.shared: SharedMailbox[Cell] | None = None
        """Where it takes work from when its own mailbox is empty."""
        self.room_waiters: list[Callable[[], None]] | None = None
        """Who waits for room here: called once when there is some."""
        self.stopping: asyncio.Future[None] | None = None
        """Done when its children have stopped, while they are being stopped in order."""

    @property
    def name(self) -> str:
        """Its name, or `$` and its number."""
        return self.recipe.name or f"${self.id}"

    @property
    def path(self) -> str:
        """Where it is in the tree of its host: `/parent/child`."""
        parts = []
        cell: Cell | None = self
        while cell is not None:
            parts.append(cell.name)
            cell = cell.parent
        return "/" + "/".join(reversed(parts))

    @property
    def host(self) -> "CellHost[Cell]":
        """The host that it is on."""
        return self.dispatcher.host

    @property
    def has_actor(self) -> bool:
        """Whether an incarnation is there, which may still be starting."""
        return self.actor is not None

    def put(self, item: Any) -> None:
        """Take a message (or an `Ask`) into the mailbox and see that it is handled.

        Raises `MailboxFull` when there is no room and the policy is not to drop;
        an `Ask` that may wait is taken all the same, its asker is waiting already.
        """
        mailbox = self.mailbox
        if mailbox is None:
            if self.lifecycle >= Lifecycle.STOPPING:
                self._refuse_stopped(item)
                return
            # Reused by the next message; given back when the cell falls idle.
            mailbox = self.mailbox = deque()
        if len(mailbox) >= self.behaviour.mailbox_messages and not self._make_room(item):
            return
        mailbox.append(item)
        if not self.queued and self.free and self.lifecycle == Lifecycle.RUNNING:
            self.queued = True
            self.dispatcher.enqueue(self)

    def arrive(self, item: Any) -> bool:
        """Like `put`, for what came over a link: a sender that may wait is not refused.

        True when the mailbox is over its limit now, so that the sender must be paused.
        """
        mailbox = self.mailbox
        behaviour = self.behaviour
        if (
            mailbox is not None
            and len(mailbox) >= behaviour.mailbox_messages
            and behaviour.overflow is Overflow.WAIT
        ):
            mailbox.append(item)
            return True
        self.put(item)
        return False

    def put_notice(self, notice: Ask) -> bool:
        """Take what the actor has asked to be told, full or not; see `Notices`.

        False when the actor ends, so that nobody is there to be told.
        """
        if self.lifecycle >= Lifecycle.STOPPING:
            return False
        if self.mailbox is None:
            self.mailbox = deque()
        self.mailbox.append(notice)
        self.schedule()
        return True

    def put_first(self, items: Sequence[Any]) -> None:
        """Put messages in front of those that wait, in their order. The caller schedules."""
        if items:
            if self.mailbox is None:
                self.mailbox = deque()
            self.mailbox.extendleft(reversed(items))

    def has_room(self) -> bool:
        """Whether a message that may wait would not have to."""
        behaviour = self.behaviour
        return (
            self.mailbox is None
            or len(self.mailbox) < behaviour.mailbox_messages
            or behaviour.overflow is not Overflow.WAIT
        )

    def has_room_for(self, message: Contract) -> bool:
        """The same for one message; where it goes may depend on it."""
        return self.has_room()

    @property
    def is_full(self) -> bool:
        """Whether the mailbox is at its limit, whatever its policy makes of that."""
        return self.mailbox is not None and len(self.mailbox) >= self.behaviour.mailbox_messages

    def flow_key_of(self, message: Contract) -> FlowKey:
        """Which of its messages have to wait when there is no room for this one."""
        return WHOLE_CELL

    def when_room(self, message: Contract, callback: Callable[[], None]) -> None:
        """Call `callback` once, when there is room for such a message, or nobody for it.

        A mailbox that was full has room when it is half empty.
        """
        if self.room_waiters is None:
            self.room_waiters = []
        self.room_waiters.append(callback)

    def notify_room_waiters(self) -> None:
        """Tell everyone who waits for room."""
        waiting, self.room_waiters = self.room_waiters, None
        for callback in waiting or ():
            callback()

    def take(self) -> Any:
        """The next message to handle, or None."""
        mailbox = self.mailbox
        if not mailbox:
            return None if self.shared is None else self.shared.take()
        item = mailbox.popleft()
        if self.room_waiters is not None and len(mailbox) * 2 <= self.behaviour.mailbox_messages:
            self.notify_room_waiters()
        return item

    def end_turn(self) -> None:
        """A worker has served this cell: queue it again, or let it fall idle."""
        if self.lifecycle != Lifecycle.RUNNING:
            self.dispatcher.host.termination.end_turn(self)
        elif self.mailbox:
            self.schedule()
        elif self.shared is not None:
            self.shared.member_ready(self)
        elif self.free == self.behaviour.concurrency:
            self.mailbox = None

    @property
    def is_quiet(self) -> bool:
        """Whether no handler of its actor runs."""
        return self.free == self.behaviour.concurrency

    def wake(self) -> None:
        """Its actor runs now: handle what waits."""
        if self.mailbox:
            self.schedule()
        elif self.shared is not None:
            self.shared.member_ready(self)

    def schedule(self) -> None:
        """Queue the cell if it has work and may do it."""
        if self.mailbox and not self.queued and self.free and self.lifecycle == Lifecycle.RUNNING:
            self.queued = True
            self.dispatcher.enqueue(self)

    # --- what its actor does to it ----------------------------------------------------------

    async def spawn_child(
        self,
        actor: Spawnable[Actor],
        name: str | None,
        restart: Restart,
        stop_timeout: StopTimeout | None,
    ) -> int:
        """Start a child and wait until it runs; gives its number."""
        host = self.host
        wanted = props_of(actor)
        recipe = Recipe(wanted.actor, wanted.args, wanted.keywords, name)
        child = host.spawner.begin_cell(
            lambda number: recipe.make_cell(number, host), self, restart, stop_timeout
        )
        await host.spawner.outcome(child)
        return child.id

    def child_numbers(self) -> Sequence[int]:
        """Its living children, in the order of their start."""
        return () if self.children is None else tuple(self.children.cells)

    async def stop_child(self, number: int) -> None:
        """Stop a child in order, and wait until it has stopped."""
        await self.host.termination.stop_child(self, number)

    def stop_self(self, reason: Exit) -> None:
        """Stop it after the message that it handles."""
        self.host.termination.stop_self(self, reason)

    def exit(self, reason: Exit) -> None:
        """Let its running actor end like this; its supervisor decides."""
        self.host.termination.fail(self, reason)

    # --- hooks of its kind: what it is ------------------------------------------------------

    @property
    def kind(self) -> str:
        """What runs in it, for people."""
        return self.behaviour.actor.__qualname__

    def view_fields(self) -> Mapping[str, Any]:
        """What its kind adds to its `ActorView`."""
        return {}

    @property
    def supervision(self) -> SupervisorSpec:
        """How its children are supervised."""
        return self.behaviour.actor.supervision

    def make_children(self, on_stopped: Callable[[Exit], None]) -> "Children[Cell] | None":
        """A family of its own kind for its children; None: that of any actor."""
        return None

    def declared_children(self) -> Sequence["Cell"]:
        """Children that were made with it and are gone with it only, in start order."""
        return ()

    # --- hooks of its kind: how it starts ---------------------------------------------------

    def start(self, children: "Children[Cell]", incarnation: int, *, is_first: bool) -> None:
        """Its actor has been made: let its hook run, or run."""
        if self.behaviour.has_started_hook:
            children.run_start_hook(self, incarnation, is_first=is_first)
        else:
            children.mark_running(self, incarnation)

    async def run_started(self, ctx: Context) -> None:
        """Call the actor's hook of that name."""
        assert self.actor is not None
        await self.actor.started(ctx)

    async def wait_members_started(self) -> None:
        """Its first start has succeeded; waits for what belongs to that, and raises like it."""

    def start_error(self, error: BaseException) -> ActorStartFailed:
        """What its spawner gets for what its start raised."""
        return start_failed_error(self, error)

    # --- hooks of its kind: how it ends -----------------------------------------------------

    async def run_stopping(self, ctx: Context, reason: Exit) -> Exit:
        """Call the actor's hook of that name; gives how the actor has ended with it."""
        assert self.actor is not None
        await self.actor.stopping(ctx, reason)
        return reason

    def before_stop(self, *, comes_back: bool) -> None:
        """It is about to be stopped; with `comes_back` it is started again afterwards."""

    async def prepare_stop(self) -> None:
        """It stops in order, and its children are about to be stopped."""

    def keeps_children_when_killed(self) -> bool:
        """Whether its children, ended by force with it, come back with it."""
        return False

    def on_killed_with_parent(self, *, comes_back: bool) -> None:
        """It is about to be ended by force, because its parent is."""

    def on_killed(self) -> None:
        """It is ended by force."""

    def exit_after_children(self, reason: Exit) -> Exit:
        """Its children have ended by themselves while it ran; gives how it ends by that."""
        if self.supervision.auto_shutdown is AutoShutdown.NEVER:
            # OTP calls this end a shutdown. But an actor is more than the supervisor of
            # its children: a transient one would be gone without a word.
            return Exit(ExitReason.FAILED, reason.detail)
        return reason

    def on_children_start_failed(self, reason: Exit) -> None:
        """Its children have ended by themselves before it ran."""

    def on_stopped_for_good(self) -> None:
        """It stays down until it is started by hand, or with its supervisor."""

    def on_removed(self) -> None:
        """It is gone for good."""

    # --- its mailbox ------------------------------------------------------------------------

    def drain(self) -> list[Any]:
        """Take everything out of the mailbox, for dead letters."""
        items = list(self.mailbox or ())
        self.mailbox = None
        return items

    def _make_room(self, item: Any) -> bool:
        policy = self.behaviour.overflow
        if policy is Overflow.WAIT and type(item) is Ask:
            return True
        full = MailboxFull(
            f"the mailbox of {self.path} holds {self.behaviour.mailbox_messages} messages.",
            advice="Use send or ask, which wait; or raise mailbox_messages; or slow down.",
            may_have_run=False,
        )
        if policy is Overflow.DROP_OLDEST:
            assert self.mailbox is not None
            oldest = _take_oldest(self.mailbox)
            if oldest is None:
                return True
            if type(oldest) is Ask:
                oldest.fail(full)
            self.dispatcher.dead_letters.dead("mailbox_full", self.path, oldest)
            return True
        if type(item) is Ask:
            item.fail(full)
            return False
        raise full

    def _refuse_stopped(self, item: Any) -> None:
        if type(item) is Ask:
            item.fail(
                ActorStopped(
                    f"{self.path} has stopped.",
                    advice="Look up or spawn another one.",
                    may_have_run=False,
                    slot=self.host.slot,
                    cell=self.id,
                )
            )
        self.dispatcher.dead_letters.dead("actor_stopped", self.path, item)


def _take_oldest(mailbox: deque[Any]) -> Any:
    """The oldest message that may be dropped, or None: notices are owed to the actor."""
    for place, item in enumerate(mailbox):
        if not is_notice(item):
            del mailbox[place]
            return item
    return None


def message_of(item: Any) -> Contract:
    """The contract inside a mailbox item."""
    message: Contract = item.message if type(item) is Ask else item
    return message
