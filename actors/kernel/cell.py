"""A cell runs one actor: its mailbox, its place in the run queue, its lifecycle state.

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
from .snapshot import Snapshot
from .spawnable import Spawnable

__all__ = ["Cell", "Lifecycle", "Recipe", "message_of"]


class Recipe:
    """How to make an actor, as often as needed."""

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
        """A cell for the actor. Raises `SpecError` when the class is no proper actor."""
        return Cell(number, self, behaviour_of(self.actor), host.dispatcher)


class Cell:
    """One actor's place on a host. Roles derive their own kinds of cell and override its hooks."""

    children_stop_first: ClassVar[bool] = True
    """Whether the children stop within their own timeouts, before the cell's own timeout begins."""

    __slots__ = (
        "actor",
        "behaviour",
        "children",
        "dispatcher",
        "fence",
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
        "snapshot",
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
        self.fence = 0
        """The fencing token of its incarnation; see `Fences`."""
        self.parent: Cell | None = None
        self.children: Children[Cell] | None = None
        self.shared: SharedMailbox[Cell] | None = None
        """The mailbox that it takes work from when its own is empty."""
        self.snapshot: Snapshot | None = None
        """The configuration of its next message; a change is one assignment."""
        self.room_waiters: list[Callable[[], None]] | None = None
        """Callbacks of the senders that wait for room; each is called once."""
        self.stopping: asyncio.Future[None] | None = None
        """During an ordered stop of its children: done once they have stopped."""

    @property
    def name(self) -> str:
        """Its name, or `$` and its number."""
        return self.recipe.name or f"${self.id}"

    @property
    def path(self) -> str:
        """Its path in the tree of its host: `/parent/child`."""
        parts = []
        cell: Cell | None = self
        while cell is not None:
            parts.append(cell.name)
            cell = cell.parent
        return "/" + "/".join(reversed(parts))

    @property
    def host(self) -> "CellHost[Cell]":
        """The host that runs it."""
        return self.dispatcher.host

    @property
    def has_actor(self) -> bool:
        """Whether it has an incarnation, which may still be starting."""
        return self.actor is not None

    def put(self, item: Any) -> None:
        """Put a message (or an `Ask`) into the mailbox and schedule the cell.

        Raises `MailboxFull` when there is no room and the policy is not to drop. An `Ask`
        that may wait is accepted without room, because its asker waits already.
        """
        mailbox = self.mailbox
        if mailbox is None:
            if self.lifecycle >= Lifecycle.STOPPING:
                self._refuse_stopped(item)
                return
            # The next message reuses it; an idle cell gives it up.
            mailbox = self.mailbox = deque()
        if len(mailbox) >= self.behaviour.mailbox_messages and not self._make_room(item):
            return
        mailbox.append(item)
        if not self.queued and self.free and self.lifecycle == Lifecycle.RUNNING:
            self.queued = True
            self.dispatcher.enqueue(self)

    def arrive(self, item: Any) -> bool:
        """Like `put`, for a message from a link: a sender that may wait is not refused.

        True when the mailbox is now over its limit, so that the link must pause the sender.
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
        """Put a notice into the mailbox, full or not; see `Notices`.

        False when the actor ends, so that no handler would run.
        """
        if self.lifecycle >= Lifecycle.STOPPING:
            return False
        if self.mailbox is None:
            self.mailbox = deque()
        self.mailbox.append(notice)
        self.schedule()
        return True

    def put_first(self, items: Sequence[Any]) -> None:
        """Put messages before the waiting ones, in their order. The caller schedules the cell."""
        if items:
            if self.mailbox is None:
                self.mailbox = deque()
            self.mailbox.extendleft(reversed(items))

    def has_room(self) -> bool:
        """Whether a message would be accepted without waiting."""
        behaviour = self.behaviour
        return (
            self.mailbox is None
            or len(self.mailbox) < behaviour.mailbox_messages
            or behaviour.overflow is not Overflow.WAIT
        )

    def has_room_for(self, message: Contract) -> bool:
        """Whether this message would be accepted without waiting; a kind of cell may route it."""
        return self.has_room()

    @property
    def is_full(self) -> bool:
        """Whether the mailbox is at its limit, whatever its overflow policy."""
        return self.mailbox is not None and len(self.mailbox) >= self.behaviour.mailbox_messages

    def flow_key_of(self, message: Contract) -> FlowKey:
        """The flow key of a message: all messages of that key wait when there is no room for it."""
        return WHOLE_CELL

    def when_room(self, message: Contract, callback: Callable[[], None]) -> None:
        """Call `callback` once, when there is room for such a message or the actor has ended.

        A mailbox that was full has room when it is half empty.
        """
        if self.room_waiters is None:
            self.room_waiters = []
        self.room_waiters.append(callback)

    def notify_room_waiters(self) -> None:
        """Call back all senders that wait for room."""
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

    def withdraw(self, item: Any) -> bool:
        """Take this one out of the waiting messages; False when it is not among them."""
        mailbox = self.mailbox or ()
        place = next((place for place, other in enumerate(mailbox) if other is item), -1)
        if place < 0 or self.mailbox is None:
            return False
        self.mailbox.rotate(-place)
        self.take()
        self.mailbox.rotate(place)
        return True

    def end_turn(self) -> None:
        """A worker has served this cell: queue it again, or make it idle."""
        if self.lifecycle != Lifecycle.RUNNING:
            self.dispatcher.host.termination.worker_left(self)
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

    @property
    def is_blocked(self) -> bool:
        """Whether a new message waits for a handler that runs now, or for the start."""
        return not self.queued

    def wake(self) -> None:
        """Schedule the waiting messages, or take work from the shared mailbox."""
        if self.mailbox:
            self.schedule()
        elif self.shared is not None:
            self.shared.member_ready(self)

    def schedule(self) -> None:
        """Queue the cell if it has messages and may handle one."""
        if self.mailbox and not self.queued and self.free and self.lifecycle == Lifecycle.RUNNING:
            self.queued = True
            self.dispatcher.enqueue(self)

    # --- what its actor asks for --------------------------------------------------------------

    async def spawn_child(
        self,
        actor: Spawnable[Actor],
        name: str | None,
        restart: Restart,
        stop_timeout: StopTimeout | None,
    ) -> int:
        """Start a child and wait until it runs; returns its number."""
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
        """End the running actor with this reason; its supervisor decides what follows."""
        self.host.termination.fail(self, reason)

    # --- hooks of its kind: what it is ------------------------------------------------------

    @property
    def kind(self) -> str:
        """What runs in it, for views."""
        return self.behaviour.actor.__qualname__

    def view_fields(self) -> Mapping[str, Any]:
        """Fields that its kind adds to its `ActorView`."""
        return {}

    @property
    def supervision(self) -> SupervisorSpec:
        """How its children are supervised."""
        return self.behaviour.actor.supervision

    def make_children(self, on_stopped: Callable[[Exit], None]) -> "Children[Cell] | None":
        """A child runner of its own kind; None for the one that any actor has."""
        return None

    def declared_children(self) -> Sequence["Cell"]:
        """Children that the cell's spec declares, in start order; they last as long as the cell."""
        return ()

    @property
    def is_reentrant(self) -> bool:
        """Whether its messages may be handled while the handlers of their chain wait."""
        return self.behaviour.reentrant

    def is_handled_by(self, cell: "Cell", message: Contract) -> bool:
        """Whether the handler of such a message to this cell may run in `cell`."""
        return cell is self

    def handled_at_once(self, message: Contract) -> int:
        """How many such messages may be handled at the same time."""
        return self.behaviour.concurrency

    def waiting_for_start(self) -> Sequence[Any]:
        """The messages that wait until its start hook has ended."""
        return tuple(self.mailbox or ())

    # --- hooks of its kind: how it starts ---------------------------------------------------

    def start(self, children: "Children[Cell]", incarnation: int, *, is_first: bool) -> None:
        """The actor has been made: run its start hook, or mark it as running."""
        if self.behaviour.has_started_hook:
            children.run_start_hook(self, incarnation, is_first=is_first)
        else:
            children.mark_running(self, incarnation)

    async def run_started(self, ctx: Context) -> None:
        """Call the actor's `started` hook."""
        assert self.actor is not None
        await self.actor.started(ctx)

    async def wait_members_started(self) -> None:
        """After a first start, wait until the members run too; raises `ActorStartFailed`."""

    def start_error(self, error: BaseException) -> ActorStartFailed:
        """The error for its spawner, from the exception that its start raised."""
        return start_failed_error(self, error)

    # --- hooks of its kind: how it ends -----------------------------------------------------

    async def run_stopping(self, ctx: Context, reason: Exit) -> Exit:
        """Call the actor's `stopping` hook; returns the reason that the actor ends with."""
        assert self.actor is not None
        await self.actor.stopping(ctx, reason)
        return reason

    def before_stop(self, *, comes_back: bool) -> None:
        """An ordered stop begins; with `comes_back` a new start follows it."""

    async def before_children_stop(self) -> None:
        """In an ordered stop, the stop of its children begins."""

    def keeps_children_when_killed(self) -> bool:
        """Whether its children, killed together with it, come back with it."""
        return False

    def before_killed_with_parent(self, *, comes_back: bool) -> None:
        """The cell is about to be killed, because its parent is."""

    def on_killed(self) -> None:
        """The cell has been killed."""

    def exit_after_children(self, reason: Exit) -> Exit:
        """Its children gave up while it ran; returns the reason that it ends with."""
        if self.supervision.auto_shutdown is AutoShutdown.NEVER:
            # OTP calls this end a shutdown. But an actor is more than the supervisor of its
            # children: with that reason a transient one would not restart, and none would see it.
            return Exit(ExitReason.FAILED, reason.detail)
        return reason

    def on_children_start_failed(self, reason: Exit) -> None:
        """Its children gave up before it ran."""

    def on_stopped_for_good(self) -> None:
        """The cell stays down until an operator or its supervisor's start starts it."""

    def on_removed(self) -> None:
        """The cell has left its host for good."""

    # --- its mailbox ------------------------------------------------------------------------

    def drain(self) -> list[Any]:
        """Take all messages out of the mailbox."""
        items = list(self.mailbox or ())
        self.mailbox = None
        return items

    def _make_room(self, item: Any) -> bool:
        policy = self.behaviour.overflow
        if policy is Overflow.WAIT and type(item) is Ask:
            return True
        full = MailboxFull(
            f"the mailbox of {self.path} holds {self.behaviour.mailbox_messages} messages.",
            advice="Use send or ask, which wait; raise mailbox_messages; or send less.",
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
                    advice="Look it up again, or spawn another one.",
                    may_have_run=False,
                    slot=self.host.slot,
                    cell=self.id,
                )
            )
        self.dispatcher.dead_letters.dead("actor_stopped", self.path, item)


def _take_oldest(mailbox: deque[Any]) -> Any:
    """The oldest message that may be dropped, or None; a notice must reach its actor."""
    for place, item in enumerate(mailbox):
        if not is_notice(item):
            del mailbox[place]
            return item
    return None


def message_of(item: Any) -> Contract:
    """The contract inside a mailbox item."""
    message: Contract = item.message if type(item) is Ask else item
    return message
