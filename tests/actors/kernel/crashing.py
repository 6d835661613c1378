"""An actor that crashes on request, and keeps its diary outside itself."""

import asyncio
from typing import Any, ClassVar

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.host.host import Host
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.core.contract import Contract, Request


class Text(Contract, name="tests.crashing.text"):
    text: str


class Do(Contract, name="tests.crashing.do"):
    """Write it into the diary."""

    what: str


class Get(Request[Text], name="tests.crashing.get"):
    what: str


class Boom(Contract, name="tests.crashing.boom"):
    """Crash the actor, as often as the diary allows."""

    times: int = 1_000
    what: str = "boom"


class AskBoom(Request[Text], name="tests.crashing.ask_boom"):
    times: int = 1_000
    what: str = "boom"


class Hold(Contract, name="tests.crashing.hold"):
    """Wait for the gate."""


class Diary:
    """The events, and the gate at which `Hold` waits."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.gate = asyncio.Event()
        self.held = asyncio.Event()
        self.incarnations = 0

    def crash(self, what: str, times: int) -> None:
        self.events.append(what)
        if self.events.count(what) <= times:
            raise ValueError(f"{what} {self.events.count(what)}")


class Crashing(Actor):
    def __init__(self, diary: Diary) -> None:
        self._diary = diary
        diary.incarnations += 1

    @handler
    async def do(self, message: Do) -> None:
        self._diary.events.append(message.what)

    @handler
    async def get(self, request: Get) -> Text:
        self._diary.events.append(request.what)
        return Text(text=request.what)

    @handler
    async def boom(self, message: Boom) -> None:
        self._diary.crash(message.what, message.times)

    @handler
    async def ask_boom(self, request: AskBoom) -> Text:
        self._diary.crash(request.what, request.times)
        return Text(text="survived")

    @handler
    async def hold(self, message: Hold) -> None:
        self._diary.held.set()
        await self._diary.gate.wait()
        raise ValueError("held long enough")


class Thrice(Crashing):
    attempts_max: ClassVar[int] = 3


def dead_letters_of(host: Host) -> list[DeadLetter]:
    """The dead letters of a host from now on."""
    dead_letters: list[DeadLetter] = []
    host.dead_letters.subscribe(dead_letters.append)
    return dead_letters


async def crash_with_waiting(ref: Any, diary: Diary, *waiting: Any) -> list[Any]:
    """Crash the actor while messages wait; returns the asks among them."""
    ref.tell(Hold())
    await diary.held.wait()
    asks = [
        asyncio.ensure_future(ref.ask(item)) if isinstance(item, Request) else ref.tell(item)
        for item in waiting
    ]
    diary.gate.set()
    return [ask for ask in asks if ask is not None]
