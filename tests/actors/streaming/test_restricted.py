"""Attack 7, filters as an oracle: a client learns nothing of events that it may not see."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.streaming.hub import Hub
from callboard.actors.streaming.limits import HubLimits
from callboard.actors.streaming.messages import ChannelKind, RateLimitConfig
from callboard.actors.streaming.protocol import (
    Command,
    Connect,
    ErrorCode,
    HistoryQuery,
    Position,
    PresenceQuery,
    PresenceStatsQuery,
    Refresh,
    Subscribe,
    Unsubscribe,
)
from callboard.messages.control.filters import ChannelRule, StreamFilter
from callboard.runtime.web.codecs.centrifugo_json import CentrifugoJson
from tests.thoroughness import examples

from .clients import PRINCIPAL, LogSource, Tokens, event, feed_of, joined, publish
from .conftest import Clock, MakeHub


def rule(tenant: str, channels: str = "*") -> ChannelRule:
    condition = StreamFilter(key="tenant", cmp="eq", val=tenant)
    return ChannelRule(channels=channels, filter=condition)


A_S = PRINCIPAL.model_copy(update={"rules": (rule("a"),)})
OWN_FILTERS = [
    None,
    StreamFilter(key="tenant", cmp="eq", val="b"),
    StreamFilter(op="or", nodes=tuple(StreamFilter(key=key, cmp="ex") for key in ("tenant", "n"))),
    StreamFilter(op="not", nodes=(StreamFilter(key="tenant", cmp="eq", val="a"),)),
    StreamFilter(key="n", cmp="gt", val="1"),
]

STEPS = st.one_of(
    st.tuples(st.just("hidden"), st.integers(1, 5)),
    st.tuples(st.just("hidden_join"), st.just(0)),
    st.tuples(st.just("seen"), st.integers(0, 3)),
    st.tuples(st.just("subscribe"), st.integers(0, len(OWN_FILTERS) - 1)),
    st.tuples(st.just("resume"), st.integers(0, 20)),
    st.tuples(st.just("unsubscribe"), st.just(0)),
    st.tuples(st.just("ask"), st.integers(0, 3)),
    st.tuples(st.just("reconnect"), st.just(0)),
    st.tuples(st.just("read"), st.just(0)),
    st.tuples(st.just("tick"), st.just(0)),
)
ASKS: tuple[Callable[[str], Command], ...] = (
    HistoryQuery,
    lambda name: HistoryQuery(name, limit=-1, reverse=True),
    PresenceQuery,
    PresenceStatsQuery,
)


class Room:
    """A small hub with one channel, on which a client with a rule is, and a client without."""

    def __init__(self, kind: ChannelKind, *, is_hidden_there: bool) -> None:
        ids = iter(range(10_000))
        self.kind = kind
        self.is_hidden_there = is_hidden_there
        self.clock = Clock()
        self.log = LogSource([], "log")
        self.name = "events" if kind is ChannelKind.JOURNAL else "room"
        self.hub = Hub(
            Tokens({"good": A_S, "other": PRINCIPAL.model_copy(update={"subject": "eve"})}),
            [self.log],
            limits=HubLimits(ring_events_max=4, queue_bytes_soft=400, held_bytes_max=400),
            now=self.clock.now,
            wall=self.clock.wall,
            new_id=lambda: f"id-{next(ids)}",
        )
        feed_of(self.hub, self.log).moved(0)
        self.codec = CentrifugoJson()
        self.found: list[bytes] = []

    async def connect(self) -> None:
        self.session = self.hub.open(self.codec, "127.0.0.1")
        await self.session.handle(1, Connect(token="good"))

    def happen(self, tenant: str, count: int, number: int) -> None:
        for _ in range(count):
            tags = {"tenant": tenant, "n": str(number)}
            if self.kind is ChannelKind.JOURNAL:
                log = self.log.log
                log.append(event("execution:1", number, offset=len(log) + 1, **tags))
                self.log.follow(feed_of(self.hub, self.log))
            else:
                key = str(number) if self.kind is ChannelKind.NEWEST else ""
                publish(self.hub, self.name, number, key=key, **tags)

    async def run(self, steps: list[tuple[str, int]]) -> list[bytes]:
        """All bytes that the client with the rule gets."""
        self.other = await joined(self.hub, token="other")
        await self.connect()
        for step, number in steps:
            self.clock.advance(0.1)
            if not step.startswith("hidden"):
                await self.do(step, number)
            elif self.is_hidden_there and step == "hidden":
                self.happen("b", number * 3, number)
            elif self.is_hidden_there:
                await self.other.subscribe(self.name)
        while frame := self.session.take_now():
            self.found.append(frame)
        return self.found

    async def do(self, step: str, number: int) -> None:
        handle, name = self.session.handle, self.name
        match step:
            case "seen":
                self.happen("a", 1, number)
            case "subscribe":
                limit = RateLimitConfig(per_second=2, burst=2) if number == 2 else None
                own = OWN_FILTERS[number]
                await handle(2, Subscribe(name, filter=own, rate_limit=limit, join_leave=True))
            case "resume":
                place = Position(number, "log")
                await handle(3, Subscribe(name, recover=place, refuses_gap=number > 10))
            case "unsubscribe":
                await handle(4, Unsubscribe(name))
            case "ask":
                await handle(5, ASKS[number](name))
            case "reconnect":
                self.session.end()
                await self.connect()
            case "tick":
                self.hub.tick()
            case _:
                self.found.append(self.session.take_now() or b"")


@pytest.mark.parametrize("kind", list(ChannelKind))
@settings(max_examples=examples(200))
@given(steps=st.lists(STEPS, min_size=10, max_size=30))
async def test_7_a_client_gets_the_same_bytes_whether_or_not_hidden_events_happen(
    kind: ChannelKind, steps: list[tuple[str, int]]
) -> None:
    """By no filter, position, count, presence, history or rate of its own."""
    asked = [("ask", number) for number in range(len(ASKS))]
    steps = [("subscribe", 0), *steps, ("hidden", 2), ("seen", 1), *asked]
    with_them = await Room(kind, is_hidden_there=True).run(steps)
    without = await Room(kind, is_hidden_there=False).run(steps)
    assert with_them == without
    assert b'"tenant":"b"' not in b"".join(with_them)


@pytest.mark.parametrize("own", OWN_FILTERS)
async def test_7_the_filter_of_a_client_narrows_the_rule_and_never_widens_it(
    make_hub: MakeHub, own: StreamFilter | None
) -> None:
    hub = make_hub(tokens=Tokens({"good": A_S}))
    client = await joined(hub)
    await client.subscribe("room", filter=own)
    for number, tenant in enumerate("abcab"):
        publish(hub, "room", number, tenant=tenant, n=str(number))
    publish(hub, "room", 99)
    client.read()
    assert set(client.data.get("room", [])) <= {0, 3}
    if own is None:
        assert client.data["room"] == [0, 3]


async def test_7_a_filter_is_refused_for_itself_and_not_with_the_rule(make_hub: MakeHub) -> None:
    """A refusal of the sum of both would tell how large the rule is."""
    large = StreamFilter(op="or", nodes=tuple(StreamFilter(key="k", cmp="ex") for _ in range(63)))
    rules = (ChannelRule(channels="*", filter=large), rule("a"))
    hub = make_hub(tokens=Tokens({"good": PRINCIPAL.model_copy(update={"rules": rules})}))
    client = await joined(hub)
    assert (await client.subscribe("one", filter=large))["reply"] == "Subscribed"
    more = StreamFilter(op="and", nodes=(large,))
    assert (await client.subscribe("two", filter=more))["code"] == ErrorCode.BAD_REQUEST
    publish(hub, "one", 1, tenant="a", k="")
    publish(hub, "one", 2, tenant="a")
    client.read()
    assert client.data["one"] == [1]


async def test_7_a_rule_that_is_wrong_lets_nothing_pass(make_hub: MakeHub) -> None:
    wrong = ChannelRule(channels="ro*", filter=StreamFilter(key="a", cmp="like"))
    hub = make_hub(tokens=Tokens({"good": PRINCIPAL.model_copy(update={"rules": (wrong,)})}))
    client = await joined(hub, "room", "free")
    publish(hub, "room", 1, a="like")
    publish(hub, "free", 2)
    client.read()
    assert client.data == {"free": [2]}


async def test_7_rules_hold_for_subscriptions_of_the_server_too(make_hub: MakeHub) -> None:
    who = A_S.model_copy(update={"subscribes": ("room",)})
    hub = make_hub(tokens=Tokens({"good": who}))
    publish(hub, "room", 0, tenant="b")
    client = await joined(hub)
    assert client.positions["room"] == Position(0, "")
    assert await hub.subscribe(client.session.client, "other")
    for name in ("room", "other"):
        publish(hub, name, 1, tenant="b")
        publish(hub, name, 2, tenant="a")
    client.read()
    assert client.data == {"room": [2], "other": [2]}


async def test_7_a_refreshed_token_brings_its_rules(make_hub: MakeHub) -> None:
    wide = PRINCIPAL.model_copy(update={"rules": (rule("a", "other"),)})
    hub = make_hub(tokens=Tokens({"good": wide, "narrow": A_S}))
    client = await joined(hub, "room", "other")
    await client.do(Refresh("narrow"))
    publish(hub, "room", 1, tenant="b")
    publish(hub, "other", 2, tenant="a")
    client.read()
    assert client.pushes == [{"unsubscribed": "room", "code": 2_500}]
    assert client.data == {"other": [2]}
