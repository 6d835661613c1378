"""The fixtures of the engines' contract suite: contracts, and actors with every behaviour.

What happens on another host is observed through a `EventRecorder`: an actor that hears about
events and answers `Expect` once it has heard enough of them, so that no test sleeps.
"""

import asyncio
import threading
import time
from typing import Any, ClassVar, Final

from callboard.actors.kernel.actor import Actor, Agent, OnError, Overflow, handler
from callboard.actors.kernel.context import Context
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import DeadlineExceeded, UsageError
from callboard.messages.core.ref import Ref

FOREVER_S: Final = 3_600.0


class Number(Contract, name="actors.number"):
    n: int


class Ping(Request[Number], name="actors.ping"):
    n: int


class Note(Contract, name="actors.note"):
    n: int


class Text(Contract, name="actors.text"):
    text: str


class WhereAreYou(Request[Text], name="actors.where"):
    """The name of the host."""


class Heard(Contract, name="actors.heard"):
    events: tuple[str, ...]


class Event(Contract, name="actors.event"):
    text: str


class Expect(Request[Heard], name="actors.expect"):
    """Answered once the recorder has `count` events that begin with `prefix`."""

    prefix: str
    count: int = 1


class EventRecorder(Actor):
    """Remembers events."""

    concurrency: ClassVar[int] = 64

    def __init__(self) -> None:
        self._events: list[str] = []
        self._more = asyncio.Condition()

    @handler
    async def event(self, event: Event) -> None:
        async with self._more:
            self._events.append(event.text)
            self._more.notify_all()

    @handler
    async def expect(self, request: Expect) -> Heard:
        def found() -> tuple[str, ...]:
            return tuple(text for text in self._events if text.startswith(request.prefix))

        async with self._more:
            await self._more.wait_for(lambda: len(found()) >= request.count)
        return Heard(events=found())


# --- messages -------------------------------------------------------------------------


class Received(Contract, name="actors.received"):
    count: int
    in_order: bool
    newest: int


class AskReceived(Request[Received], name="actors.ask_received"):
    """The notes so far; answered in turn, so after all earlier messages."""


class Counter(Actor):
    """Checks that numbered notes come once each and in order."""

    def __init__(self) -> None:
        self._count = 0
        self._newest = -1
        self._in_order = True

    @handler
    async def note(self, note: Note) -> None:
        self._in_order &= note.n == self._newest + 1
        self._newest = note.n
        self._count += 1

    @handler
    async def received(self, request: AskReceived) -> Received:
        return Received(count=self._count, in_order=self._in_order, newest=self._newest)

    @handler
    async def ping(self, request: Ping) -> Number:
        return Number(n=request.n)

    @handler
    async def where(self, request: WhereAreYou, ctx: Context) -> Text:
        return Text(text=ctx.host_name)


class Shower(Request[Number], name="actors.shower"):
    """Send `count` numbered notes to `to`, and answer when all have left."""

    to: Ref[Any]
    count: int
    first: int = 0


class Source(Actor):
    """Sends numbered notes from its own host."""

    @handler
    async def shower(self, request: Shower, ctx: Context) -> Number:
        for n in range(request.first, request.first + request.count):
            await ctx.send(Note(n=n), request.to)
        return Number(n=request.count)


class Relay(Request[Number], name="actors.relay"):
    """Ask `to` from here."""

    to: Ref[Any]
    n: int
    timeout_s: float | None = None


class RelayMany(Request[Number], name="actors.relay_many"):
    """Ask `to` from here `count` times at once; gives the sum."""

    to: Ref[Any]
    count: int


class Relayer(Agent):
    """Asks others on behalf of the driver; its errors are those of the asked."""

    concurrency: ClassVar[int] = 64

    @handler
    async def relay(self, request: Relay, ctx: Context) -> Number:
        return await ctx.ask(Ping(n=request.n), request.to, timeout_s=request.timeout_s)

    @handler
    async def relay_many(self, request: RelayMany, ctx: Context) -> Number:
        asks = [ctx.ask(Ping(n=n), request.to) for n in range(request.count)]
        return Number(n=sum(reply.n for reply in await asyncio.gather(*asks)))


class Visit(Request[Heard], name="actors.visit"):
    """Visit these actors, each from the one before it; gives the paths."""

    to: tuple[Ref[Any], ...] = ()


class Forwarder(Actor):
    """Handles one message at a time, and asks the next one."""

    @handler
    async def visit(self, request: Visit, ctx: Context) -> Heard:
        if not request.to:
            return Heard(events=(ctx.path,))
        seen = await ctx.ask(Visit(to=request.to[1:]), request.to[0])
        return Heard(events=(ctx.path, *seen.events))


class ReentrantForwarder(Forwarder):
    """Handles what its own chain asks meanwhile."""

    reentrant: ClassVar[bool] = True


# --- wrong in every way ---------------------------------------------------------------


class Misbehave(Request[Number], name="actors.misbehave"):
    how: str


class Unhandled(Request[Number], name="actors.unhandled"):
    """Nobody handles it."""


class Unpicklable(Exception):
    """Cannot be pickled, on purpose."""

    def __init__(self, lock: Any, *, key: str) -> None:
        super().__init__(key)
        self.lock = lock


class BrokenText(Exception):
    """Cannot be printed, on purpose."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def misbehave(how: str) -> Any:
    """Raise or return a value that no handler should."""
    match how:
        case "plain":
            raise ValueError("plain")
        case "unpicklable":
            raise Unpicklable(threading.Lock(), key="unpicklable")
        case "broken_text":
            raise BrokenText
        case "system_exit":
            raise SystemExit(3)
        case "stop_iteration":
            raise StopIteration
        case "cancelled":
            raise asyncio.CancelledError
        case "long":
            raise ValueError("x" * 5_000_000)
        case "surrogates":
            raise ValueError("a file named \udcff\ud800")
        case "deliberate":
            raise UsageError("said on purpose", advice="Follow the advice.", field="n")
        case "odd_details":
            raise UsageError("odd \udcff", advice="", thing=object())
        case "wrong_type":
            return 7
        case "wrong_contract":
            return Note(n=1)
        case "none":
            return None
        case _:
            return Number(n=0)


class Fragile(Actor):
    """Counts what it has handled since it was (re)started, and misbehaves when asked to."""

    def __init__(self) -> None:
        self._count = 0

    @handler
    async def misbehave(self, request: Misbehave) -> Number:
        result: Number = misbehave(request.how)
        return result

    @handler
    async def note(self, note: Note) -> None:
        self._count += 1
        if note.n < 0:
            raise ValueError("negative")

    @handler
    async def received(self, request: AskReceived) -> Received:
        return Received(count=self._count, in_order=True, newest=0)

    @handler
    async def ping(self, request: Ping) -> Number:
        return Number(n=request.n)


class FragileThread(Actor):
    """The same, in a thread."""

    on_error: ClassVar[OnError] = OnError.RESUME

    @handler
    def misbehave(self, request: Misbehave) -> Number:
        result: Number = misbehave(request.how)
        return result


# --- deadlines ------------------------------------------------------------------------


class Hang(Request[Number], name="actors.hang"):
    """Never answered; the handler reports its start and end to the recorder."""

    recorder: Ref[Any]
    label: str
    deep: int = 0
    to: tuple[Ref[Any], ...] = ()
    """Whom to ask in turn: the first with the rest, `deep` times."""
    timeout_s: float | None = None


class Remaining(Request[Heard], name="actors.remaining"):
    """What is left of the deadline at each hop, in seconds as text."""

    to: tuple[Ref[Any], ...] = ()


class Hanger(Actor):
    """Hangs, and asks others that hang."""

    concurrency: ClassVar[int] = 64

    @handler
    async def hang(self, request: Hang, ctx: Context) -> Number:
        ctx.tell(Event(text=f"{request.label} started {len(request.to)}"), request.recorder)
        try:
            if request.to:
                onward = Hang(recorder=request.recorder, label=request.label, to=request.to[1:])
                return await ctx.ask(onward, request.to[0], timeout_s=request.timeout_s)
            await asyncio.sleep(FOREVER_S)
        except (asyncio.CancelledError, DeadlineExceeded) as error:
            # Its own deadline and that of what it asks pass together: either is seen first.
            how = "cancelled" if isinstance(error, asyncio.CancelledError) else "expired"
            ctx.tell(Event(text=f"{request.label} ended {len(request.to)} {how}"), request.recorder)
            raise
        return Number(n=0)

    @handler
    async def remaining(self, request: Remaining, ctx: Context) -> Heard:
        left = ctx.remaining_s()
        later: tuple[str, ...] = ()
        if request.to:
            later = (await ctx.ask(Remaining(to=request.to[1:]), request.to[0])).events
        return Heard(events=(f"{left:.6f}", *later))

    @handler
    async def ping(self, request: Ping) -> Number:
        return Number(n=request.n)


class Slow(Actor):
    """One message at a time, each held until the gate is opened for it."""

    mailbox_messages: ClassVar[int] = 8

    def __init__(self, recorder: Ref[Any] | None = None) -> None:
        self._recorder = recorder
        self._count = 0

    @handler
    async def hang(self, request: Hang, ctx: Context) -> Number:
        ctx.tell(Event(text=f"{request.label} started"), request.recorder)
        await ctx.ask(Expect(prefix=f"{request.label} go"), request.recorder)
        return Number(n=1)

    @handler
    async def note(self, note: Note) -> None:
        self._count += 1

    @handler
    async def ping(self, request: Ping) -> Number:
        return Number(n=request.n)

    @handler
    async def received(self, request: AskReceived) -> Received:
        return Received(count=self._count, in_order=True, newest=0)


class RejectingSlow(Slow):
    overflow: ClassVar[Overflow] = Overflow.REJECT


class DroppingSlow(Slow):
    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST


class Gated(Contract, name="actors.gated"):
    """One note of a flood."""

    payload: bytes


class Sink(Actor):
    """Takes a flood slowly: a little real work for each message, on the loop."""

    def __init__(self) -> None:
        self._count = 0

    @handler
    async def gated(self, message: Gated) -> None:
        self._count += 1
        if not self._count % 64:
            await asyncio.sleep(0.001)

    @handler
    async def received(self, request: AskReceived) -> Received:
        return Received(count=self._count, in_order=True, newest=0)


class Flood(Request[Number], name="actors.flood"):
    to: Ref[Any]
    count: int


class Flooder(Actor):
    """Sends 1 KB messages as fast as possible."""

    @handler
    async def flood(self, request: Flood, ctx: Context) -> Number:
        message = Gated(payload=bytes(1024))
        for _ in range(request.count):
            await ctx.send(message, request.to)
        return Number(n=request.count)


# --- threads and blocking -------------------------------------------------------------


class Work(Request[Number], name="actors.work"):
    """Work in a thread until cancelled (or not at all)."""

    recorder: Ref[Any]
    label: str
    until_cancelled: bool = True


class Threaded(Actor):
    """Synchronous handlers."""

    on_error: ClassVar[OnError] = OnError.RESUME

    def __init__(self) -> None:
        self._at_once = 0
        self._most = 0

    @handler
    def work(self, request: Work, ctx: Context) -> Number:
        self._at_once += 1
        self._most = max(self._most, self._at_once)
        try:
            if request.until_cancelled and not ctx.cancelled.wait(30.0):
                raise RuntimeError("never cancelled")
            return Number(n=self._most)
        finally:
            self._at_once -= 1

    @handler
    def ping(self, request: Ping) -> Number:
        assert threading.current_thread().name.startswith("callboard-handler")
        return Number(n=request.n)


class Block(Request[Number], name="actors.block"):
    seconds: float


class Blocker(Agent):
    """Keeps the event loop from running."""

    @handler
    async def block(self, request: Block) -> Number:
        time.sleep(request.seconds)  # noqa: ASYNC251 - that is the fault
        return Number(n=1)
