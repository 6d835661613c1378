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

import enum
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from callboard.messages.contract import Contract
from callboard.messages.errors import ActorStopped, MailboxFull, UsageError

from .actor import Actor, Behaviour, Overflow
from .asks import Ask
from .link.pauses import WHOLE, Lane
from .notices import is_notice

if TYPE_CHECKING:
    from callboard.messages.lifecycle import Exit

    from .context import Context
    from .dispatcher import Dispatcher
    from .family import Family

__all__ = ["Cell", "Life", "Recipe"]


class Life(enum.IntEnum):
    """What state a cell is in."""

    STARTING = 0
    RUNNING = 1
    STOPPING = 2
    STOPPED = 3


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


class Cell:
    """One actor's place on a host."""

    __slots__ = (
        "actor",
        "behaviour",
        "box",
        "children",
        "dispatcher",
        "free",
        "id",
        "incarnation",
        "life",
        "parent",
        "pressed",
        "queued",
        "recipe",
        "shard",
        "stopping",
    )

    def __init__(
        self, number: int, recipe: Recipe, behaviour: Behaviour, dispatcher: "Dispatcher"
    ) -> None:
        self.id: Final = number
        self.recipe = recipe
        self.behaviour = behaviour
        self.dispatcher = dispatcher
        self.actor: Actor | None = None
        self.box: deque[Any] | None = None
        self.queued = False
        self.free = behaviour.concurrency
        self.life = Life.STARTING
        self.incarnation = 0
        self.parent: Cell | None = None
        self.children: Family | None = None
        self.shard: Any = None
        """The pool's shard this cell works for, if any."""
        self.pressed: list[Any] | None = None
        """Who waits for room here: callables, called once when there is some."""
        self.stopping: Any = None
        """The ordered stop under way, if any."""

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

    def put(self, item: Any) -> None:
        """Take a message (or an `Ask`) into the mailbox and see that it is handled.

        Raises `MailboxFull` when there is no room and the policy is not to drop;
        an `Ask` that may wait is taken all the same, its asker is waiting already.
        """
        box = self.box
        if box is None:
            if self.life >= Life.STOPPING:
                self._refuse_stopped(item)
                return
            # Reused by the next message; given back when the cell falls idle.
            box = self.box = deque()
        if len(box) >= self.behaviour.mailbox_messages and not self._make_room(item):
            return
        box.append(item)
        if not self.queued and self.free and self.life == Life.RUNNING:
            self.queued = True
            self.dispatcher.enqueue(self)

    def arrive(self, item: Any) -> bool:
        """Like `put`, for what came over a link: a sender that may wait is not refused.

        True when the mailbox is over its limit now, so that the sender must be paused.
        """
        box = self.box
        behaviour = self.behaviour
        if (
            box is not None
            and len(box) >= behaviour.mailbox_messages
            and behaviour.overflow is Overflow.WAIT
        ):
            box.append(item)
            return True
        self.put(item)
        return False

    def put_notice(self, notice: Ask) -> bool:
        """Take what the actor has asked to be told, full or not; see `Notices`.

        False when the actor ends, so that nobody is there to be told.
        """
        if self.life >= Life.STOPPING:
            return False
        if self.box is None:
            self.box = deque()
        self.box.append(notice)
        self.schedule()
        return True

    def has_room(self) -> bool:
        """Whether a message that may wait would not have to."""
        behaviour = self.behaviour
        return (
            self.box is None
            or len(self.box) < behaviour.mailbox_messages
            or behaviour.overflow is not Overflow.WAIT
        )

    def has_room_for(self, message: Contract) -> bool:
        """The same for one message; where it goes may depend on it."""
        return self.has_room()

    @property
    def is_full(self) -> bool:
        """Whether the mailbox is at its limit, whatever its policy makes of that."""
        return self.box is not None and len(self.box) >= self.behaviour.mailbox_messages

    def lane_of(self, message: Contract) -> Lane:
        """Which of its messages have to wait when there is no room for this one."""
        return WHOLE

    def when_room(self, message: Contract, callback: Any) -> None:
        """Call `callback` once, when there is room for such a message, or nobody for it.

        A mailbox that was full has room when it is half empty.
        """
        if self.pressed is None:
            self.pressed = []
        self.pressed.append(callback)

    def release_pressure(self) -> None:
        """Tell everyone who waits for room."""
        waiting, self.pressed = self.pressed, None
        for callback in waiting or ():
            callback()

    def take(self) -> Any:
        """The next message to handle, or None."""
        box = self.box
        if not box:
            return None if self.shard is None else self.shard.take()
        item = box.popleft()
        if self.pressed is not None and len(box) * 2 <= self.behaviour.mailbox_messages:
            self.release_pressure()
        return item

    def turn_over(self) -> None:
        """A worker has served this cell: queue it again, or let it fall idle."""
        if self.life != Life.RUNNING:
            self.dispatcher.host.endings.turn_over(self)
        elif self.box:
            self.schedule()
        elif self.shard is not None:
            self.shard.member_ready(self)
        elif self.free == self.behaviour.concurrency:
            self.box = None

    @property
    def is_quiet(self) -> bool:
        """Whether no handler of its actor runs."""
        return self.free == self.behaviour.concurrency

    def began(self) -> None:
        """Its actor runs now: handle what waits."""
        if self.box:
            self.schedule()
        elif self.shard is not None:
            self.shard.member_ready(self)

    def schedule(self) -> None:
        """Queue the cell if it has work and may do it."""
        if self.box and not self.queued and self.free and self.life == Life.RUNNING:
            self.queued = True
            self.dispatcher.enqueue(self)

    async def run_started(self, ctx: "Context") -> None:
        """Call the actor's hook of that name."""
        assert self.actor is not None
        await self.actor.started(ctx)

    async def run_stopping(self, ctx: "Context", reason: "Exit") -> "Exit":
        """Call the actor's hook of that name; gives how the actor has ended with it."""
        assert self.actor is not None
        await self.actor.stopping(ctx, reason)
        return reason

    async def prepare_stop(self) -> None:
        """It stops in order, and its children are about to be stopped."""

    async def resize(self, size: int) -> None:
        """Let so many agents serve it; raises `UsageError` where there are none."""
        raise UsageError(f"{self.path} is not a pool.", advice="Only a pool has a size.")

    async def drained(self) -> None:
        """Wait until nothing that was sent to it waits or runs; only a pool can tell."""

    def killed(self) -> None:
        """It is ended by force."""

    def laid_down(self) -> None:
        """It stays down until it is started by hand, or with its supervisor."""

    def ended(self) -> None:
        """It is gone for good."""

    def drain(self) -> list[Any]:
        """Take everything out of the mailbox, for dead letters."""
        items = list(self.box or ())
        self.box = None
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
            assert self.box is not None
            oldest = _take_oldest(self.box)
            if oldest is None:
                return True
            if type(oldest) is Ask:
                oldest.fail(full)
            self.dispatcher.letters.dead("mailbox_full", self.path, oldest)
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
                    slot=self.dispatcher.host.slot,
                    cell=self.id,
                )
            )
        self.dispatcher.letters.dead("actor_stopped", self.path, item)


def _take_oldest(box: deque[Any]) -> Any:
    """The oldest message that may be dropped, or None: notices are owed to the actor."""
    for place, item in enumerate(box):
        if not is_notice(item):
            del box[place]
            return item
    return None


def message_of(item: Any) -> Contract:
    """The contract inside a mailbox item."""
    message: Contract = item.message if type(item) is Ask else item
    return message
