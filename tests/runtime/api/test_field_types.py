"""Messages of any field types arrive as they were sent, on the host of the sender and on others."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings

import callboard
from callboard import Actor, Contract, Ref, Request, System, handler, props
from callboard.placement import Placement
from tests.messages.core.drawn import differences, messages
from tests.thoroughness import examples


class Carried(Contract, name="tests.field_types.carried"):
    item: Contract


class Carry(Request[Carried], name="tests.field_types.carry"):
    item: Contract


class Mirror(Actor):
    @handler
    async def carry(self, request: Carry) -> Carried:
        return Carried(item=request.item)


class Relay(Actor):
    def __init__(self, mirror: Ref[Mirror]) -> None:
        self.mirror = mirror

    @handler
    async def carry(self, request: Carry) -> Carried:
        return await self.mirror.ask(request)


class Ways:
    """From the driver to a mirror, to a relay on the mirror's host, and to one on another host."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.started = callboard.start(engine="inline", hosts=2, standbys=0)
        self.refs = self.loop.run_until_complete(self.begin())

    async def begin(self) -> tuple[Ref[Mirror], Ref[Relay], Ref[Relay]]:
        system: System = await self.started.__aenter__()
        mirror = await system.spawn(Mirror, placement=Placement(host=1))
        relay = props(Relay, mirror)
        near = await system.spawn(relay, placement=Placement(host=1))
        return mirror, near, await system.spawn(relay, placement=Placement(host=2))

    async def carry(self, item: Contract) -> list[Contract]:
        """What comes back by each way."""
        return [(await ref.ask(Carry(item=item))).item for ref in self.refs]

    def end(self) -> None:
        self.loop.run_until_complete(self.started.__aexit__(None, None, None))
        self.loop.close()


@pytest.fixture(scope="module")
def ways() -> Iterator[Ways]:
    ways = Ways()
    yield ways
    ways.end()


@settings(max_examples=examples(200))
@given(item=messages())
def test_messages_of_any_field_types_arrive_on_each_host_as_they_were_sent(
    ways: Ways, item: Contract
) -> None:
    for back in ways.loop.run_until_complete(ways.carry(item)):
        assert not differences(item, back)
