"""The scenario of the stream hub: hubs die or are cut off, and clients drop, stall and come back.

Two hubs read one journal, each as far behind as it happens to be, and get what actors publish over
the bad links. A host's death does not end its hub for the clients at once: it goes silent, as a
hub behind a cut network does. Whatever happens, each client gets each event of the journal once and
in order, never sees a position of any channel twice, and each event has exactly one fate.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.props import props
from callboard.actors.streaming.actor import HubParts, StreamHub
from callboard.actors.streaming.hub import Hub
from callboard.actors.streaming.limits import HubLimits
from callboard.actors.streaming.live import LiveSource
from callboard.actors.streaming.messages import ChannelKind, StreamEvent
from callboard.actors.streaming.ports import Feed, Page, SessionHub
from callboard.actors.streaming.protocol import (
    Command,
    Connect,
    Connected,
    Dropped,
    Position,
    Publication,
    Push,
    Reply,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
)
from callboard.messages.control.principals import LOCAL, Principal
from callboard.messages.control.spec import Restart
from callboard.messages.core.contract import Contract
from callboard.messages.storage.errors import StoreUnavailable

from .message_log import current_message_log
from .run import Run
from .scenario_fixture import BUSY_S, ScenarioFixture, open_fixture, run_under_faults

__all__ = ["streams"]

EVENTS: Final = "events"
NEWS: Final = "news"
GAUGES: Final = "gauges"
CHANNELS: Final = (EVENTS, NEWS, GAUGES)
CLIENTS: Final = 5
WRITERS: Final = 8
WRITE_S: Final = 0.1
SILENT_S: Final = 1.2
SETTLED_S: Final = 30.0
FAULTS: Final = ("crash", "crash", "crash", "hang", "slow", "cut", "storm")
LIMITS: Final = HubLimits(
    queue_bytes_max=700,
    queue_bytes_soft=250,
    held_bytes_max=200,
    queue_age_max_s=0.6,
    ping_s=0.5,
    pong_s=0.6,
    ring_events_max=6,
    replay_events_max=5,
    commands_burst=10_000,
)


SUBSCRIBED: Final = LOCAL.model_copy(update={"subscribes": CHANNELS})


class Plain:
    """A codec: one JSON array for each frame."""

    name = "plain"
    is_shared = True
    answers_pings = True

    def reply(self, number: int, command: Command, reply: Reply | None) -> bytes:
        """A subscription, those of the server, or nothing."""
        if isinstance(reply, Connected):
            return self.join([_subscribed(*each) for each in reply.subs.items()])
        if not isinstance(reply, Subscribed):
            return b""
        assert isinstance(command, Subscribe)
        return _subscribed(command.channel, reply)

    def push(self, push: Push) -> bytes:
        """A publication, a count of dropped ones, or the end of a subscription."""
        match push:
            case Publication():
                return _plain(push).encode()
            case Dropped():
                return f'["?","{push.channel}",{push.count}]'.encode()
            case Unsubscribed():
                return f'["-","{push.channel}"]'.encode()
            case _:
                return b""

    def ping(self) -> bytes:
        """A ping."""
        return b"[]"

    def join(self, parts: Sequence[bytes]) -> bytes:
        """All parts, in a line each."""
        return b"\n".join(parts)


def _subscribed(channel: str, reply: Subscribed) -> bytes:
    assert reply.position is not None
    publications = ",".join(_plain(each) for each in reply.publications)
    offset, epoch = reply.position.offset, reply.position.epoch
    is_whole = int(reply.recovered)
    return f'["+","{channel}",{offset},"{epoch}",{is_whole},[{publications}]]'.encode()


def _plain(publication: Publication) -> str:
    return f'["=","{publication.channel}",{publication.offset}]'


class Anyone:
    """An `Authenticator` that knows everybody."""

    async def authenticate(self, token: str, remote: str) -> Principal:
        """See `Authenticator`."""
        return SUBSCRIBED if token else LOCAL

    async def subscription(self, token: str, principal: Principal, channel: str) -> float:
        """See `Authenticator`."""
        return 0.0

    async def revoked(self, tokens: Collection[str]) -> Collection[str]:
        """See `Authenticator`."""
        return ()


class SharedLog(LiveSource):
    """The journal as one hub sees it: behind, and sometimes away."""

    def __init__(self, checker: "HubChecker") -> None:
        self._checker: Final = checker

    @property
    def epoch(self) -> str:
        """See `ChannelSource`."""
        return "journal"

    def kind_of(self, channel: str) -> ChannelKind | None:
        """See `ChannelSource`."""
        return ChannelKind.JOURNAL if channel == EVENTS else None

    async def run(self, feed: Feed) -> None:
        """See `ChannelSource`."""
        checker = self._checker
        feed.moved(feed.position if feed.position is not None else checker.head)
        while True:
            await asyncio.sleep(0.02 + 0.3 * checker.draw() ** 4)
            position = feed.position or 0
            upto = position + int(checker.draw() * (checker.head - position + 1.5))
            for offset in range(position + 1, min(upto, checker.head) + 1):
                if feed.is_wanted(EVENTS):
                    feed.publish(EVENTS, checker.event(offset))
                feed.moved(offset)
            checker.check_hubs()

    async def read(self, channel: str, after: int, limit: int) -> Page | None:
        """See `ChannelSource`."""
        checker = self._checker
        await asyncio.sleep(0.1 * checker.draw() ** 2)
        if checker.is_unsteady and checker.draw() < 0.1:
            raise StoreUnavailable("the journal is away.")
        if after > checker.head:
            return None
        last = min(checker.head, after + limit)
        return Page([checker.event(each) for each in range(after + 1, last + 1)], last)


class HubChecker:
    """The journal, the hubs that clients can reach, and what must hold."""

    def __init__(self, run: Run) -> None:
        self.run: Final = run
        self.draw: Final[Callable[[], float]] = run.draw
        self.head = 0
        self.hubs: Final[dict[str, Hub]] = {}
        """By host: the newest hub there, which may be dead."""
        self.is_unsteady = True
        self.writers = WRITERS
        self._ids = 0

    def event(self, offset: int) -> Publication:
        """One event of the journal."""
        return Publication(EVENTS, b"%d" % offset, offset=offset)

    def new_id(self) -> str:
        """The next id."""
        self._ids += 1
        return f"id-{self._ids}"

    def wall_s(self) -> float:
        """The time of the world."""
        return self.run.world.now_s

    def check_hubs(self) -> None:
        """Check all hubs, the dead ones too."""
        for name, hub in self.hubs.items():
            for channel in hub.core.channels.values():
                accounts = channel.accounts()
                if not accounts.is_balanced:
                    self.run.complain("hub_accounts_balance", f"{name} {channel.name} {accounts}")
            for connection in hub.core.connections.values():
                waiting = connection.out.size_bytes
                if waiting > LIMITS.queue_bytes_max + 100 and connection.is_open:
                    self.run.complain("hub_is_bounded", f"{name}: {waiting} bytes wait")


class Registering:
    """The `Edge` of a hub: clients find it in the checker."""

    def __init__(self, checker: HubChecker, host: str) -> None:
        self._checker = checker
        self._host = host

    async def start(self, hub: SessionHub) -> str:
        """See `Edge`."""
        assert isinstance(hub, Hub)
        self._checker.hubs[self._host] = hub
        return self._host

    async def stop(self) -> None:
        """See `Edge`."""


def make_parts(ctx: Context) -> HubParts:
    """The parts of a hub of the world whose step this is."""
    checker: HubChecker = current_message_log().checker
    return HubParts(
        Anyone(),
        (SharedLog(checker),),
        edge=Registering(checker, ctx.host_name),
        limits=LIMITS,
        wall_time=checker.wall_s,
        new_id=checker.new_id,
    )


class SimulatedClient:
    """A client that keeps positions as an SDK does, and checks each publication."""

    def __init__(self, checker: HubChecker, token: str) -> None:
        """With a token the hub subscribes it; without one it subscribes by itself."""
        self._checker: Final = checker
        self._token: Final = token
        self._draw: Final = checker.draw
        self._positions: Final[dict[str, Position]] = {}
        self._seen: Final[set[tuple[str, str, int]]] = set()
        self._heard_s = 0.0
        self._ended: set[str] = set()
        self._session: Any = None
        self._number = 0

    @property
    def position(self) -> int:
        """How much of the journal it has; -1 before it has subscribed to it."""
        found = self._positions.get(EVENTS)
        return -1 if found is None else found.offset

    async def live(self, until: Callable[[], bool]) -> None:
        """Connect, read, stall, drop and come back, until it is time to end."""
        while not until():
            hubs = list(self._checker.hubs.values())
            if not hubs:
                await asyncio.sleep(0.1)
                continue
            await self._visit(hubs[int(self._draw() * len(hubs))], until)
            await asyncio.sleep(0.3 * self._draw() ** 2)

    async def _visit(self, hub: Hub, until: Callable[[], bool]) -> None:
        session = self._session = hub.open(Plain(), "client")
        self._heard_s = self._now()
        self._number = 0
        self._ended = set() if self._token else set(CHANNELS)
        leaves_at_s = self._now() + 3.0 * self._draw()
        await self._do(Connect(self._token, subs=dict(self._positions)))
        while not until() and session.closing is None and self._now() < leaves_at_s:
            for channel in sorted(self._ended):
                self._ended.discard(channel)
                await self._do(Subscribe(channel, recover=self._positions.get(channel)))
            await asyncio.sleep(0.05 * self._draw())
            if self._checker.is_unsteady and self._draw() < 0.03:
                await asyncio.sleep(self._draw())  # It stalls.
            self._read(session)
            if self._now() - self._heard_s > SILENT_S:
                break
            if self._draw() < 0.02:
                await self._do(Unsubscribe(NEWS))
                self._ended.add(NEWS)
        session.end()
        self._checker.check_hubs()

    def _now(self) -> float:
        return self._checker.run.world.now_s

    async def _do(self, command: Command) -> None:
        self._number += 1
        await self._session.handle(self._number, command)
        if self._number > 1 and isinstance(command, Subscribe):
            self._read(self._session)
            if not self._session.closing and command.channel not in self._answered:
                self._ended.add(command.channel)  # It was refused for now.

    def _read(self, session: Any) -> None:
        self._answered: set[str] = set()
        while frame := session.take_now(200 + int(600 * self._draw())):
            self._heard_s = self._now()
            for line in frame.split(b"\n"):
                self._take(json.loads(line), session)

    def _take(self, found: list[Any], session: Any) -> None:
        match found:
            case []:
                session.pong()
            case ["+", channel, offset, epoch, is_whole, publications]:
                self._answered.add(channel)
                before = self._positions.get(channel)
                if channel == EVENTS and before is not None and not is_whole:
                    self._complain("journal_is_whole", f"{before} is not resumed: {offset}")
                self._positions[channel] = Position(offset, epoch)
                for _, _, each in publications:
                    self._got(channel, each, is_whole=bool(is_whole))
            case ["=", channel, offset]:
                self._got(channel, offset, is_whole=channel == EVENTS)
            case ["-", channel]:
                self._ended.add(channel)
            case _:
                pass  # A count of what was dropped.

    def _got(self, channel: str, offset: int, *, is_whole: bool) -> None:
        position = self._positions[channel]
        if (channel, position.epoch, offset) in self._seen:
            self._complain("positions_come_once", f"{channel} {offset} of {position.epoch}")
        if offset <= position.offset:
            self._complain("positions_come_once", f"{channel} {offset} after {position.offset}")
        if is_whole and offset != position.offset + 1:
            self._complain("journal_is_whole", f"{channel} {offset} after {position.offset}")
        self._seen.add((channel, position.epoch, offset))
        self._positions[channel] = Position(offset, position.epoch)

    def _complain(self, invariant: str, seen: str) -> None:
        self._checker.run.complain(invariant, seen)


class Write(Contract, name="streams.write"):
    """Publish some events."""


class Writer(Actor):
    """Publishes on one of the hosts, as long as others write to the journal."""

    async def started(self, ctx: Context) -> None:
        """Begin."""
        ctx.send_every(WRITE_S, Write())

    @handler
    async def write(self, message: Write, ctx: Context) -> None:
        """Publish."""
        log = current_message_log()
        if log.checker.writers:
            for _ in range(int(log.random() * 4)):
                ctx.publish(NEWS, _event())
            for _ in range(int(log.random() * 6)):
                ctx.publish(GAUGES, _event(), key=f"k{int(log.random() * 3)}")


def _event() -> StreamEvent:
    return StreamEvent(event_id="e", event_type="t", timestamp=0.0, source="s", payload="p" * 20)


async def streams(run: Run) -> None:
    """Hubs and clients while hosts die, and links are bad."""
    async with open_fixture(run) as fixture:
        checker = run.message_log.checker = HubChecker(run)
        for slot in (1, 2):
            await fixture.system.spawn(
                props(StreamHub, make_parts), host=slot, offer=True, restart=Restart.PERMANENT
            )
        await fixture.system.spawn(Writer, host=3, restart=Restart.PERMANENT)
        clients = [SimulatedClient(checker, "t" * (number % 2)) for number in range(CLIENTS)]
        await run_under_faults(
            fixture,
            *(_write(fixture, checker) for _ in range(WRITERS)),
            *(_follow(client, checker) for client in clients),
            _settle(checker, clients),
            faults=FAULTS,
            count=5,
        )
        checker.check_hubs()


async def _follow(client: SimulatedClient, checker: HubChecker) -> None:
    def is_done() -> bool:
        is_over = not checker.is_unsteady and not checker.writers
        return is_over and client.position in (-1, checker.head)

    await client.live(is_done)


async def _write(fixture: ScenarioFixture, checker: HubChecker) -> None:
    """Events for the journal, and for the other channels."""
    for _ in range(6):
        await fixture.later(BUSY_S / 3)
        checker.head += 1 + int(fixture.draw() * 5)
    checker.writers -= 1


async def _settle(checker: HubChecker, clients: Sequence[SimulatedClient]) -> None:
    """After the faults each client gets the rest of the journal."""
    await asyncio.sleep(BUSY_S + 0.5)
    checker.is_unsteady = False
    until_s = checker.wall_s() + SETTLED_S
    while checker.wall_s() < until_s:
        is_over = not checker.writers
        if is_over and all(client.position in (-1, checker.head) for client in clients):
            return
        await asyncio.sleep(0.2)
    positions = [client.position for client in clients]
    checker.run.complain("clients_catch_up", f"{positions} of {checker.head}")
