"""Actors that watch, link, set timers and subscribe, at the command of a test."""

import asyncio
from typing import Any, ClassVar

from callboard.actors.kernel.actor import Actor, OnError, Overflow, handler
from callboard.actors.kernel.context import Context
from callboard.messages.control.lifecycle import ENDED_NORMALLY
from callboard.messages.control.notices import Down, Exited, NameChanged, Offers
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.ref import Ref


class Done(Contract, name="party.done"):
    """The command was carried out."""


class Do(Request[Done], name="party.do"):
    """Call the context."""

    what: str
    ref: Ref[Any] | None = None
    text: str = ""
    seconds: float = 0.0
    times: int = 1


class Received(Contract, name="party.received"):
    downs: tuple[Down, ...] = ()
    exits: tuple[Exited, ...] = ()
    offers: tuple[Offers, ...] = ()
    names: tuple[NameChanged, ...] = ()
    texts: tuple[str, ...] = ()
    incarnation: int = 0


class GetNotices(Request[Received], name="party.get_notices"):
    """Asks for all notices, once there are `count` of them."""

    count: int = 0


class Tick(Contract, name="party.tick"):
    text: str = ""


class Crash(Contract, name="party.crash"):
    """Raises."""


class Leave(Contract, name="party.leave"):
    """Stops in good order."""


class Block(Request[Done], name="party.block"):
    """Its handler runs until a test opens the gate."""


class Participant(Actor):
    """Carries out commands, and keeps its notices."""

    on_error: ClassVar[OnError] = OnError.RESTART
    entries: ClassVar[int] = 0
    gate: ClassVar[asyncio.Event | None] = None

    def __init__(self) -> None:
        type(self).entries += 1
        self.notices: list[Contract] = []
        self.watches: list[Any] = []
        self.timers: list[Any] = []
        self.waiting: list[tuple[int, asyncio.Future[None]]] = []

    @handler
    async def do(self, request: Do, ctx: Context) -> Done:
        for _ in range(request.times):
            self._do(request, ctx)
        return Done()

    def _do(self, request: Do, ctx: Context) -> None:  # noqa: C901 - a plain table
        ref: Any = request.ref
        match request.what:
            case "watch":
                self.watches.append(ctx.watch(ref))
            case "watch host":
                self.watches.append(ctx.watch_host(int(request.text)))
            case "unwatch":
                ctx.unwatch(self.watches.pop())
            case "unwatch ref":
                ctx.unwatch(ref)
            case "link":
                ctx.link(ref)
            case "unlink":
                ctx.unlink(ref)
            case "link and unlink":
                ctx.link(ref)
                ctx.unlink(ref)
            case "after":
                self.timers.append(ctx.send_after(request.seconds, Tick(text=request.text)))
            case "every":
                self.timers.append(ctx.send_every(request.seconds, Tick(text=request.text)))
            case "cancel":
                self.timers.pop().cancel()
            case "active":
                self.notices += [Tick(text=str(timer.is_active)) for timer in self.timers]
            case "subscribe":
                ctx.subscribe(request.text)
            case "unsubscribe":
                ctx.unsubscribe(request.text)
            case "subscribe name":
                ctx.subscribe_name(request.text)
            case "unsubscribe name":
                ctx.unsubscribe_name(request.text)
            case other:
                raise AssertionError(other)

    def _take(self, notice: Contract) -> None:
        self.notices.append(notice)
        for count, future in self.waiting:
            if len(self.notices) >= count and not future.done():
                future.set_result(None)

    @handler
    async def down(self, notice: Down) -> None:
        self._take(notice)

    @handler
    async def exited(self, notice: Exited) -> None:
        self._take(notice)

    @handler
    async def offers(self, notice: Offers) -> None:
        self._take(notice)

    @handler
    async def name(self, notice: NameChanged) -> None:
        self._take(notice)

    @handler
    async def tick(self, notice: Tick) -> None:
        self._take(notice)

    @handler
    async def crash(self, message: Crash) -> None:
        raise ValueError("on purpose")

    @handler
    async def leave(self, message: Leave, ctx: Context) -> None:
        ctx.stop(ENDED_NORMALLY)

    @handler
    async def block(self, request: Block) -> Done:
        gate = type(self).gate
        assert gate is not None
        await gate.wait()
        return Done()

    def _all(self) -> Received:
        return Received(
            downs=tuple(notice for notice in self.notices if isinstance(notice, Down)),
            exits=tuple(notice for notice in self.notices if isinstance(notice, Exited)),
            offers=tuple(notice for notice in self.notices if isinstance(notice, Offers)),
            names=tuple(notice for notice in self.notices if isinstance(notice, NameChanged)),
            texts=tuple(notice.text for notice in self.notices if isinstance(notice, Tick)),
            incarnation=type(self).entries,
        )

    @handler
    async def get_notices(self, request: GetNotices) -> Received:
        return self._all()


class Listener(Participant):
    """Answers `GetNotices` once it has enough notices; it handles several messages at once."""

    concurrency: ClassVar[int] = 8

    @handler
    async def get_notices(self, request: GetNotices) -> Received:
        if len(self.notices) < request.count:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append((request.count, future))
            await future
        return self._all()


class Trapper(Listener):
    """Traps the exit of a linked actor."""

    trap_exits: ClassVar[bool] = True


class Cramped(Participant):
    """Has room for one message."""

    mailbox_messages: ClassVar[int] = 1


class Forgetful(Participant):
    """Has room for one message, and prefers the newest."""

    mailbox_messages: ClassVar[int] = 1
    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST


class Deaf(Actor):
    """Has no handler for any notice."""

    @handler
    async def do(self, request: Do, ctx: Context) -> Done:
        match request.what:
            case "watch":
                _ = ctx.watch(ctx.self_ref)
            case "subscribe":
                ctx.subscribe(Tick)
            case "after":
                ctx.send_after(1.0, Tick())
            case other:
                raise AssertionError(other)
        return Done()


class DeafTrapper(Deaf):
    """Traps exits without a handler for `Exited`."""

    trap_exits: ClassVar[bool] = True

    @handler
    async def do(self, request: Do, ctx: Context) -> Done:
        assert request.ref is not None
        ctx.link(request.ref)
        return Done()


class Bound(Actor):
    """Links to another actor in its start hook, and waits there for a gate."""

    gate: ClassVar[asyncio.Event | None] = None

    def __init__(self, partner: Ref[Any]) -> None:
        self.partner = partner

    async def started(self, ctx: Context) -> None:
        ctx.link(self.partner)
        assert self.gate is not None
        await self.gate.wait()
