"""A slow or full key delays only itself: neither other keys nor other actors."""

import asyncio
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.props import props
from callboard.actors.keyed.actor import KeyedActor
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.limits import Limits
from callboard.messages.core.ref import Ref
from callboard.runtime.api.inside import host_of, root_of
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System

LIMITS = Limits(link_credit=32, link_backlog_max=400, frame_messages_soft=8)
BURST = 200
"""Many times the credit of a link, and of a mailbox."""
SOON_S = 5.0
USERS = [f"u{number}" for number in range(40)]


class Seen(Contract, name="slow.seen"):
    numbers: tuple[int, ...] = ()


class Work(Contract, name="slow.work"):
    user: str
    number: int


class Do(Request[Seen], name="slow.do"):
    user: str
    number: int


class Open(Contract, name="slow.open"):
    """Let the waiting requests through the gate."""


class Pass(Request[Seen], name="slow.pass"):
    """The request to pass the gate."""


class Gate(Actor):
    """Lets every asker wait until it is open."""

    concurrency: ClassVar[int] = 100

    def __init__(self) -> None:
        self._open = asyncio.Event()

    @handler
    async def open(self, message: Open) -> None:
        self._open.set()

    @handler
    async def wait(self, request: Pass) -> Seen:
        await self._open.wait()
        return Seen()


class Slow(KeyedActor):
    """The key `slow` waits at the gate before each message."""

    key: ClassVar[str] = "user"
    mailbox_messages: ClassVar[int] = 4

    def __init__(self, gate: Ref[Any]) -> None:
        self._gate = gate
        self._numbers: list[int] = []

    async def _take(self, message: Work | Do) -> Seen:
        if message.user == "slow":
            await self._gate.ask(Pass(), timeout_s=60.0)
        self._numbers.append(message.number)
        return Seen(numbers=tuple(self._numbers))

    @handler
    async def work(self, message: Work) -> None:
        await self._take(message)

    @handler
    async def do(self, request: Do) -> Seen:
        return await self._take(request)


class Plain(Actor):
    @handler
    async def do(self, request: Do) -> Seen:
        return Seen(numbers=(request.number,))


def owner(system: System, user: str) -> Any:
    return host_of(system).directory.route(Do(user=user, number=0))


async def overfill(system: System, sent: str) -> list["asyncio.Future[Any]"]:
    """Send the slow key many more messages than it and the link have room for."""
    if sent == "ask":
        asks: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(system.ask(Do(user="slow", number=n), timeout_s=60.0))
            for n in range(BURST)
        ]
        await asyncio.sleep(0)
        return asks
    if sent == "send":

        async def send_all() -> None:
            for number in range(BURST):
                await system.send(Work(user="slow", number=number), timeout_s=60.0)

        return [asyncio.ensure_future(send_all())]
    for number in range(BURST):
        system.tell(Work(user="slow", number=number))
    return []


async def others_answer_while_one_is_full(system: System, sent: str) -> None:
    gate = await system.spawn(Gate, host=1)
    await system.keyed(props(Slow, gate))
    home = owner(system, "slow")
    others = [user for user in USERS if owner(system, user) == home]
    assert len(others) > 10
    plain = await system.spawn(Plain, host=home.slot)
    waiting = await overfill(system, sent)
    for turn in range(20):
        replies = await asyncio.gather(
            *(system.ask(Do(user=user, number=turn), timeout_s=SOON_S) for user in others),
            plain.ask(Do(user="", number=turn), timeout_s=SOON_S),
        )
        assert all(reply.numbers[-1] == turn for reply in replies)
    assert not any(one.done() for one in waiting)
    gate.tell(Open())
    await asyncio.gather(*waiting)
    seen = await system.ask(Do(user="slow", number=BURST), timeout_s=60.0)
    assert seen.numbers == tuple(range(BURST + 1))


@pytest.mark.parametrize("sent", ["ask", "send", "tell"])
async def test_other_keys_and_actors_answer_while_one_key_is_full(sent: str) -> None:
    async with start(engine="inline", hosts=2, limits=LIMITS) as system:
        await others_answer_while_one_is_full(system, sent)


async def test_burst_to_a_full_key_takes_no_credit_from_others() -> None:
    """No message of the burst finds room, so without flow keys the link would have no credit."""
    async with start(engine="inline", hosts=1, limits=LIMITS) as system:
        gate = await system.spawn(Gate, host=1)
        await system.keyed(props(Slow, gate))
        asks: list[asyncio.Future[Any]] = []
        # One message is handled, a full mailbox waits, and the burst finds no room.
        for count in (1, Slow.mailbox_messages, LIMITS.link_credit):
            for number in range(len(asks), len(asks) + count):
                reply = system.ask(Do(user="slow", number=number), timeout_s=60.0)
                asks.append(asyncio.ensure_future(reply))
            if count != LIMITS.link_credit:
                await system.ask(Do(user="other", number=0), timeout_s=SOON_S)
        process: Any = root_of(system).table.slots[1].process
        async with asyncio.timeout(SOON_S):
            while process.host.links[0].core.held < LIMITS.link_credit:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0)
        for number in range(100):
            await system.ask(Do(user="other", number=number), timeout_s=SOON_S)
        assert not asks[0].done()
        gate.tell(Open())
        replies = await asyncio.gather(*asks)
        assert [reply.numbers[-1] for reply in replies] == [*range(len(asks))]


@pytest.mark.soak
@pytest.mark.ray
@pytest.mark.timeout(120)
async def test_other_keys_answer_while_one_key_is_full_on_ray() -> None:
    async with start(engine="ray", hosts=2, standbys=0, limits=LIMITS) as system:
        await others_answer_while_one_is_full(system, "ask")
