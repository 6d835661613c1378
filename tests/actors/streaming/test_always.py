"""What always holds of a hub, whatever clients do: order, bounds, and one fate for each event."""

import json
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from callboard.actors.streaming.channel import Channel
from callboard.actors.streaming.core import HubCore
from callboard.actors.streaming.limits import HubLimits
from callboard.actors.streaming.messages import ChannelKind, RateLimitConfig
from callboard.actors.streaming.protocol import Position, Subscribe
from callboard.actors.streaming.resuming import begin, fresh, go_on, lacks, replay, resumed
from callboard.actors.streaming.subscription import Subscription
from callboard.messages.control.filters import StreamFilter

from ...thoroughness import examples
from .clients import PRINCIPAL, Line, event

LIMITS = replace(
    HubLimits(),
    queue_bytes_max=2_000,
    queue_bytes_soft=400,
    held_bytes_max=300,
    ring_events_max=5,
    rings_bytes_max=6_000,
    values_max=2,
    channels_kept_max=3,
    idle_s=5.0,
)
KINDS = {"journal": ChannelKind.JOURNAL, "values": ChannelKind.NEWEST, "lines": ChannelKind.TAIL}
NAMES = st.sampled_from(sorted(KINDS))
NARROW = StreamFilter(key="t", cmp="eq", val="1")
SLOW = RateLimitConfig(per_second=1, burst=2)


class Machine(RuleBasedStateMachine):
    """A hub's core with clients that remember where they were."""

    def __init__(self) -> None:
        super().__init__()
        self.core = HubCore("e", LIMITS)
        self.now_s = 0.0
        self.offset = 0
        self.made = 0
        self.open: list[str] = []
        self.seen: dict[tuple[str, str], Position] = {}
        """The position of each client in each channel."""

    def channel(self, name: str) -> Channel:
        return self.core.channel(name, KINDS[name], self.now_s, position=self.offset)

    @rule()
    def connect(self) -> None:
        self.made += 1
        client = f"c{self.made % 6}"
        if client not in self.core.connections:
            connection = self.core.open(client, Line(), "", self.now_s)
            self.core.connect(connection, PRINCIPAL, self.now_s)

    @rule(name=NAMES, data=st.data(), narrow=st.booleans(), limited=st.booleans())
    def subscribe(self, name: str, data: Any, narrow: bool, limited: bool) -> None:
        if not self.core.connections:
            return
        client = data.draw(st.sampled_from(sorted(self.core.connections)))
        connection = self.core.connections[client]
        if name in connection.subscriptions or not connection.is_open:
            return
        command = Subscribe(
            name,
            recover=self.seen.get((client, name)),
            filter=NARROW if narrow else None,
            rate_limit=SLOW if limited else None,
        )
        channel = self.channel(name)
        found = begin(self.core, connection, command, channel, self.now_s)
        assert isinstance(found, Subscription)
        if command.recover is None or lacks(channel, command, None) is not False:
            fresh(channel, found, self.now_s)
            self.seen[client, name] = channel.position
            return
        rest = replay(found, go_on(channel, found, command.recover.offset))
        reply = resumed(channel, found, command, rest, self.now_s)
        for each in reply.publications:
            self.got(client, name, each.offset)

    def got(self, client: str, name: str, offset: int) -> None:
        before = self.seen[client, name]
        assert offset > before.offset, (client, name, offset, before)
        self.seen[client, name] = Position(offset, before.epoch)

    @rule(name=NAMES, key=st.sampled_from(["", "a", "b", "c"]), tag=st.sampled_from("12"))
    def publish(self, name: str, key: str, tag: str) -> None:
        channel = self.channel(name)
        self.offset += 1
        found = event(name, self.offset, self.offset, "" if name == "journal" else key, t=tag)
        self.core.publish(channel, found, self.now_s)

    @rule(data=st.data(), size=st.integers(1, 300))
    def take(self, data: Any, size: int) -> None:
        if not self.core.connections:
            return
        client = data.draw(st.sampled_from(sorted(self.core.connections)))
        connection = self.core.connections[client]
        frame = connection.out.take(size)
        assert frame or not connection.out.size_bytes
        for name, offset in _publications(frame):
            if name in connection.subscriptions:
                self.got(client, name, offset)

    @rule(data=st.data(), name=NAMES)
    def unsubscribe(self, data: Any, name: str) -> None:
        if self.core.connections:
            client = data.draw(st.sampled_from(sorted(self.core.connections)))
            connection = self.core.connections[client]
            while frame := connection.out.take(10_000):
                for each, offset in _publications(frame):
                    self.got(client, each, offset)
            self.core.unsubscribe(connection, name, self.now_s)

    @rule(data=st.data())
    def drop(self, data: Any) -> None:
        if self.core.connections:
            client = data.draw(st.sampled_from(sorted(self.core.connections)))
            self.core.forget(self.core.connections[client], self.now_s)

    @rule(seconds=st.floats(-100.0, 20.0))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.core.tick(self.now_s, self.now_s)
        for out in self.core.effects.ended:
            found = self.core.connections.get(out.client)
            if found is not None:
                self.core.forget(found, self.now_s)
        self.core.effects.ended.clear()

    @invariant()
    def each_event_has_one_fate(self) -> None:
        for channel in self.core.channels.values():
            assert channel.accounts().is_balanced, (channel.name, channel.accounts())
        assert self.core.accounts().is_balanced

    @invariant()
    def everything_is_bounded(self) -> None:
        core = self.core
        sizes = sum(channel.ring.size_bytes for channel in core.channels.values())
        assert core.history_bytes == sizes <= LIMITS.rings_bytes_max
        for channel in core.channels.values():
            assert len(channel.ring.publications) <= LIMITS.ring_events_max
            assert len(channel.ring.values) <= LIMITS.values_max
        for connection in core.connections.values():
            if connection.is_open:
                assert connection.out.size_bytes <= LIMITS.queue_bytes_max
            assert connection.out._held_bytes <= LIMITS.held_bytes_max


def _publications(frame: bytes) -> list[tuple[str, int]]:
    lines = [json.loads(line) for line in frame.split(b"\n") if line]
    return [(each["pub"], each["offset"]) for each in lines if "pub" in each]


def test_a_hub_keeps_order_bounds_and_accounts() -> None:
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=examples(200), stateful_step_count=40)
    )
