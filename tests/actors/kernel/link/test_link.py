"""Two hosts and their link: what a failover must forget, and what a repeat must not repeat."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.cell import Recipe
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.link import link as link_module
from callboard.actors.kernel.link.core import LinkCore
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import HostLost
from callboard.messages.core.frame import FrameHeader, decode_frame
from callboard.messages.core.limits import Limits
from callboard.messages.core.ref import Address
from callboard.runtime.engines.inline import InlineLargeValues
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.hosting.wiring import make_host

LIMITS = Limits(link_credit=16, link_frames_in_flight=2, frame_messages_soft=1)
WITHIN_S = 5.0
LOST = HostLost("lost by the test.", advice="")


class Number(Contract, name="tests.link.number"):
    number: int


class Last(Request[Number], name="tests.link.last"):
    pass


class Forever(Request[Number], name="tests.link.forever"):
    pass


class Taker(Actor):
    seen: ClassVar[list[int]]
    cancelled: ClassVar[asyncio.Event]
    hanging: ClassVar[asyncio.Event]
    concurrency: ClassVar[int] = 2

    @handler
    async def number(self, message: Number) -> None:
        self.seen.append(message.number)

    @handler
    async def last(self, request: Last) -> Number:
        return Number(number=self.seen[-1])

    @handler
    async def forever(self, request: Forever) -> Number:
        self.hanging.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return Number(number=0)


class Wire:
    """Carries frames to a host; the test may hold them back, or lose them."""

    is_stream = False

    def __init__(self, target: Host) -> None:
        self.target = target
        self.is_closed = False
        self.holds = False
        self.loses = False
        self.twice = False
        self.held: list[asyncio.Future[None]] = []
        self.under_way = 0
        self.most = 0
        """The most frames that were under way at a time."""
        self.frames: list[bytes] = []

    def write(self, frame: bytes) -> bool:
        """Give False: every frame goes by `deliver`."""
        return False

    def close(self) -> None:
        """Note it."""
        self.is_closed = True

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        """Deliver the frame; later if it is held."""
        self.frames.append(frame)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self.holds:
                held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self.held.append(held)
                await held
            if not self.loses:
                for _ in range(1 + self.twice):
                    self.target.take(frame)
        finally:
            self.under_way -= 1
        return b"", ()


class Pair:
    """Host 1, and host 2 in one incarnation after another."""

    def __init__(self) -> None:
        self.here = self.make(1, 1)
        self.epoch = 0
        self.hosts = [self.here]

    def make(self, slot: int, epoch: int) -> Host:
        settings = Settings(engine="inline", limits=LIMITS)
        return make_host(
            slot=slot, epoch=epoch, name=f"host-{slot}", settings=settings,
            large_values=InlineLargeValues(),
        )[0]  # fmt: skip

    async def next_peer(self) -> tuple[Host, Wire, Wire]:
        """The next incarnation of host 2, with an actor; the wires there and back."""
        self.epoch += 1
        peer = self.make(2, self.epoch)
        self.hosts.append(peer)
        await peer.spawner.spawn(Recipe(Taker), None, number=7)
        there, back = Wire(peer), Wire(self.here)
        peer.link(1).connect(1, back)
        self.here.link(2).connect(self.epoch, there)
        return peer, there, back

    def tell(self, *numbers: int) -> None:
        for number in numbers:
            self.here.tell(Address(2, 7), Number(number=number))

    async def last(self) -> int:
        async with asyncio.timeout(WITHIN_S):
            return (await self.here.ask(Address(2, 7), Last())).number


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    Taker.seen, Taker.cancelled, Taker.hanging = [], asyncio.Event(), asyncio.Event()
    both = Pair()
    await both.here.spawner.spawn(Recipe(Taker), None, number=7)
    yield both
    for host in both.hosts:
        await host.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - it may be any condition
            await asyncio.sleep(0)


async def test_a_failover_forgets_the_frames_under_way() -> None:
    async with pair() as both:
        _, there, _ = await both.next_peer()
        there.holds = True
        both.tell(*range(10))
        await until(lambda: there.under_way == LIMITS.link_frames_in_flight)
        _, new, _ = await both.next_peer()
        assert there.is_closed
        both.tell(100)
        assert await both.last() == 100
        # Frames of the old incarnation that return late open the window no further.
        for held in there.held:
            held.set_result(None)
        await until(lambda: not there.under_way)
        new.holds = True
        both.tell(*range(200, 210))
        await until(lambda: new.under_way == LIMITS.link_frames_in_flight)
        for _ in range(20):
            await asyncio.sleep(0)
        assert new.most == LIMITS.link_frames_in_flight
        for host in both.hosts:
            for link in host.links.values():
                link.core.validate_state()
                assert link.outbox.credit_is_whole


async def test_all_credit_is_there_after_a_failover_with_sealed_frames() -> None:
    async with pair() as both:
        _, there, _ = await both.next_peer()
        there.holds = True
        both.tell(*range(LIMITS.link_credit - 2))
        await until(lambda: there.under_way == LIMITS.link_frames_in_flight)
        waiting = both.here.link(2).outbox.waiting
        assert 0 < waiting < LIMITS.link_credit - 2, "some were written, and are lost"
        await both.next_peer()
        both.tell(*range(1_000, 1_000 + 3 * LIMITS.link_credit))
        assert await both.last() == 1_000 + 3 * LIMITS.link_credit - 1
        assert Taker.seen[waiting:] == list(range(1_000, 1_000 + 3 * LIMITS.link_credit))


async def test_a_failover_stops_the_handlers_of_the_lost_hosts_asks() -> None:
    async with pair() as both:
        peer, _, _ = await both.next_peer()
        asked = asyncio.ensure_future(peer.ask(Address(1, 7), Forever(), 60.0))
        await asyncio.wait_for(Taker.hanging.wait(), WITHIN_S)
        both.here.link(2).declare_dead(both.epoch, LOST)
        await asyncio.wait_for(Taker.cancelled.wait(), WITHIN_S)
        asked.cancel()


async def test_a_dead_incarnation_is_never_connected_again() -> None:
    async with pair() as both:
        both.here.link(2).declare_dead(3, LOST)
        for epoch in (1, 2, 3):
            _, there, _ = await both.next_peer()
            assert both.epoch == epoch
            assert not both.here.link(2).is_connected
            assert not there.frames
        await both.next_peer()
        both.tell(1)
        assert await both.last() == 1


async def test_a_new_incarnation_gets_credit_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_module, "ACK_DELAY_S", 3_600.0)  # Only grants send one.
    async with pair() as both:
        peer, _, _ = await both.next_peer()
        for number in range(5 * LIMITS.link_credit):
            peer.tell(Address(1, 7), Number(number=number))
        await until(lambda: len(Taker.seen) == 5 * LIMITS.link_credit)
        peer, there, _ = await both.next_peer()
        before = len(there.frames)
        for number in range(LIMITS.link_credit // 2):
            peer.tell(Address(1, 7), Number(number=number))
        await until(lambda: len(there.frames) > before)
        granted = decode_frame(there.frames[before], LIMITS).header.granted
        assert granted > LIMITS.link_credit


async def test_an_acknowledgement_owed_to_a_lost_host_does_not_silence_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_module, "ACK_DELAY_S", 0.05)
    async with pair() as both:
        peer, _, _ = await both.next_peer()
        peer.tell(Address(1, 7), Number(number=1))
        await until(lambda: Taker.seen == [1])  # Its acknowledgement is owed now.
        link = both.here.link(2)
        link.mark_lost(1, LOST)
        await until(lambda: link._ack_timer is None)
        peer, _, _ = await both.next_peer()
        peer.tell(Address(1, 7), Number(number=2))
        await until(lambda: Taker.seen == [1, 2])
        await until(lambda: not peer.link(1).core.unacknowledged)


async def test_a_lost_frame_is_sent_again_and_a_repeated_one_handled_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_module, "ACK_DELAY_S", 0.01)
    monkeypatch.setattr(link_module, "RESEND_AFTER_S", 0.05)
    async with pair() as both:
        _, there, back = await both.next_peer()
        there.loses = back.loses = True
        both.tell(*range(6))
        await until(lambda: len(there.frames) >= 6)
        there.loses = back.loses = False
        there.twice = back.twice = True
        await until(lambda: Taker.seen == list(range(6)))
        link = both.here.link(2)
        await until(lambda: not link.core.unacknowledged)
        assert link.frames_resent >= 6
        assert there.most <= LIMITS.link_frames_in_flight
        both.tell(6)
        assert await both.last() == 6
        assert Taker.seen == list(range(7))
        assert link._in_flight == 0


def test_an_old_grant_takes_nothing_back() -> None:
    core: LinkCore[Any] = LinkCore(LIMITS)
    core.read_header(FrameHeader(2, 1, 1, 1, 0, 0, 40))
    core.read_header(FrameHeader(2, 1, 1, 1, 0, 0, 30))
    assert core.granted == 40


async def test_frames_that_are_sent_again_keep_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "ACK_DELAY_S", 0.01)
    monkeypatch.setattr(link_module, "RESEND_AFTER_S", 0.05)
    async with pair() as both:
        _, there, _ = await both.next_peer()
        there.loses = True
        both.tell(*range(6))
        await until(lambda: len(there.frames) == 6)
        there.loses, there.holds, there.most = False, True, 0
        link = both.here.link(2)
        while link.core.unacknowledged:
            await until(lambda: there.held or not link.core.unacknowledged)
            for _ in range(20):
                await asyncio.sleep(0)
            held, there.held = there.held, []
            for each in held:
                each.set_result(None)
        assert there.most == LIMITS.link_frames_in_flight
        assert Taker.seen == list(range(6))
