"""The fixture actors of the scenarios: they record their messages in the message log.

They fail deliberately, at random or because a message says so.
"""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable
from typing import Any, ClassVar, Final, cast

from callboard.actors.kernel.actor import Actor, Agent, handler
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.props import props
from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import Restart, StopTimeout, SupervisorSpec
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError, MailboxFull
from callboard.messages.core.ref import Ref

from .message_log import current_message_log

__all__ = [
    "Burst",
    "Child",
    "Done",
    "Echo",
    "Echoed",
    "Fail",
    "Note",
    "Parent",
    "Poke",
    "Receiver",
    "Relay",
    "Sender",
    "Square",
    "Squared",
    "SquaringAgent",
]

MAILBOX: Final = 8
"""Small, so that mailboxes fill."""
NOTE_S: Final = 0.002
"""The most time that a receiver takes for a note."""


class Note(Contract, name="sim.note"):
    """A numbered message of one sender."""

    sender: int
    number: int


class Echoed(Contract, name="sim.echoed"):
    """The number of the ask."""

    number: int


class Echo(Request[Echoed], name="sim.echo"):
    """A request for its number: at once, late, or never."""

    number: int
    how: str = ""
    seconds: float = 0.0


class Relay(Request[Echoed], name="sim.relay"):
    """Ask another actor, and answer with its reply."""

    number: int
    onward: int
    to: Ref[Any]


class Done(Contract, name="sim.done"):
    """It is done."""


class Burst(Request[Done], name="sim.burst"):
    """Send `count` notes to each of `to`."""

    to: tuple[Ref[Any], ...]
    count: int
    waits: bool = False


class Fail(Contract, name="sim.fail"):
    """Raise."""


class Poke(Contract, name="sim.poke"):
    """Let the child at this place raise, or stop."""

    place: int
    how: str = "fail"


class Squared(Contract, name="sim.squared"):
    """A number and its square."""

    number: int
    square: int


class Square(Request[Squared], name="sim.square"):
    """One sub-task."""

    number: int


class Receiver(Actor):
    """Takes notes and asks."""

    mailbox_messages: ClassVar[int] = MAILBOX
    supervision: ClassVar[SupervisorSpec] = SupervisorSpec()

    def __init__(self) -> None:
        self._log = current_message_log()

    @handler
    async def note(self, note: Note, ctx: Context) -> None:
        """Record the note; sometimes take a while."""
        log = self._log
        log.took(note.sender, str(ctx.self_ref.address), note.number)
        chance = log.random()
        if chance < 0.2:
            await asyncio.sleep(NOTE_S * chance)

    @handler
    async def echo(self, request: Echo) -> Echoed:
        """Answer as the request says."""
        return await echo(request)

    @handler
    async def fail(self, message: Fail) -> None:
        """Raise."""
        raise ValueError("asked to fail")


async def echo(request: Echo) -> Echoed:
    """Answer an `Echo` as it says."""
    current_message_log().began(request.number)
    if request.seconds:
        await asyncio.sleep(request.seconds)
    if request.how == "fail":
        raise ValueError("asked to fail")
    return Echoed(number=request.number)


class Sender(Actor):
    """Sends notes, and asks on behalf of others."""

    concurrency: ClassVar[int] = 4

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._sender = 0

    @handler
    async def burst(self, request: Burst, ctx: Context) -> Done:
        """Send notes; a refused note counts as not sent."""
        log = current_message_log()
        host = cast("Host", ctx._host)
        sender = log.new_sender(host.slot, host.epoch)
        for number in range(1, request.count + 1):
            for to in request.to:
                try:
                    if request.waits:
                        await ctx.send(Note(sender=sender, number=number), to)
                    else:
                        to.tell(Note(sender=sender, number=number))
                except (MailboxFull, CallboardError):
                    continue
                pair = (sender, str(to.address))
                log.sent[pair] = log.sent.get(pair, 0) + 1
            if log.random() < 0.3:
                await asyncio.sleep(NOTE_S)
        return Done()

    @handler
    async def relay(self, request: Relay, ctx: Context) -> Echoed:
        """Ask the other actor, within the deadline."""
        current_message_log().began(request.number)
        await ctx.ask(Echo(number=request.onward), request.to)
        return Echoed(number=request.number)


class SquaringAgent(Agent):
    """Runs sub-tasks; sometimes it fails, sometimes it is slow."""

    @handler
    async def square(self, request: Square) -> Squared:
        """Square a number."""
        chance = current_message_log().random()
        if chance < 0.05:
            raise OSError("a transient failure")
        if chance < 0.3:
            await asyncio.sleep(chance)
        return Squared(number=request.number, square=request.number**2)

    @handler
    async def echo(self, request: Echo) -> Echoed:
        """Answer as the request says."""
        return await echo(request)


class Child(Actor):
    """Has start and stop hooks that take time or fail at random."""

    def __init__(self, trouble: float) -> None:
        self._trouble = trouble
        if current_message_log().random() < trouble / 2:
            raise OSError("its constructor fails")

    async def started(self, ctx: Context) -> None:
        """Take a while, or fail."""
        chance = current_message_log().random()
        if chance < self._trouble:
            await asyncio.sleep(0.1 * chance)
            if chance < self._trouble / 2:
                raise OSError("its start hook fails")

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """Take a while."""
        chance = current_message_log().random()
        if chance < 0.5:
            await asyncio.sleep(0.05 * chance)

    @handler
    async def fail(self, message: Fail) -> None:
        """Raise."""
        raise ValueError("asked to fail")

    @handler
    async def poke(self, message: Poke, ctx: Context) -> None:
        """Raise or stop, sometimes after a while."""
        chance = current_message_log().random()
        if chance < 0.3:
            await asyncio.sleep(0.1 * chance)
        if message.how == "stop":
            ctx.stop()
        else:
            raise ValueError("asked to fail")


async def _tried(wanted: Awaitable[Any]) -> None:
    """Wait for a start or stop that may fail: the supervisor continues."""
    with contextlib.suppress(CallboardError):
        await wanted


@functools.cache
def parent_of(spec: SupervisorSpec) -> type["Parent"]:
    """A parent class with this supervision; cached, because reading a class takes a while."""
    return type("Parent", (Parent,), {"supervision": spec, "__module__": __name__})


class Parent(Actor):
    """Supervises children of all kinds."""

    def __init__(
        self, kinds: tuple[str, ...], trouble: float, nested: tuple[SupervisorSpec, ...] = ()
    ) -> None:
        self._kinds = kinds
        self._trouble = trouble
        self._nested = nested

    async def started(self, ctx: Context) -> None:
        """Start the children, with a parent between them."""
        middle = len(self._kinds) // 2
        for place, kind in enumerate(self._kinds):
            if place == middle and self._nested:
                actor, rest = parent_of(self._nested[0]), self._nested[1:]
                await _tried(ctx.spawn(props(actor, self._kinds, self._trouble, rest)))
            timeout = StopTimeout(0.02) if place % 2 else None
            child = ctx.spawn(
                props(Child, self._trouble), restart=Restart(kind), stop_timeout=timeout
            )
            await _tried(child)

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """Take a while."""
        await asyncio.sleep(0.03 * current_message_log().random())

    @handler
    async def poke(self, message: Poke, ctx: Context) -> None:
        """Pass it on."""
        children = ctx.children()
        if not children:
            return
        child = children[message.place % len(children)]
        if message.how == "remove":
            await _tried(ctx.stop_child(child))
        elif message.how == "crash":
            child.tell(Fail())
        else:
            child.tell(message)

    @handler
    async def fail(self, message: Fail) -> None:
        """Raise."""
        raise ValueError("asked to fail")
