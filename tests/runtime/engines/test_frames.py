"""Hosts survive bytes that are no frame, and frames with unknown names."""

import random
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import cloudpickle
import pytest

from callboard.actors.kernel.actor import Actor, handler
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import FrameError, UnknownContract, VersionMismatch
from callboard.messages.core.frame import FrameHeader, FrameWriter, Kind, decode_frame
from callboard.messages.core.ref import Ref
from callboard.runtime.api.inside import host_of, root_of
from callboard.runtime.api.system import System

from . import fixture_actors as actors

pytestmark = pytest.mark.asyncio(loop_scope="session")


def garbage() -> list[bytes]:
    """Bytes of every wrong kind; the same in each run."""
    chance = random.Random(7)
    writer = FrameWriter()
    writer.add(Kind.TELL, 1, 0, -1, b"\x80")
    frame = writer.finish(FrameHeader(1, 1, 2, 1, 1, 0, 100))
    cut = [frame[:length] for length in range(0, len(frame), 3)]
    changed = []
    for _ in range(50):
        copy = bytearray(frame)
        copy[chance.randrange(len(copy))] ^= 1 << chance.randrange(8)
        changed.append(bytes(copy))
    return [b"", b"x", b"CB\x01", chance.randbytes(1_000), b"\xff" * 100_000, *cut, *changed]


async def deliver(system: System, slot: int, data: bytes) -> None:
    """Deliver bytes to a host, like its engine."""
    process = root_of(system).table.slots[slot].process
    if system.settings.engine == "ray":
        assert await process.handle.deliver.remote(data) is None, "refused, and no exception"
        return
    try:
        assert await process.host.answer(data) is None
    except FrameError:
        return


async def test_garbage_is_refused_and_the_host_goes_on(system: System) -> None:
    ref = await system.spawn(actors.Counter, host=2)
    for data in garbage():
        await deliver(system, 2, data)
    assert (await ref.ask(actors.Ping(n=1))).n == 1


async def test_oversized_frame_is_refused_unread(system: System) -> None:
    ref = await system.spawn(actors.Counter, host=2)
    small = system.settings.limits.frame_bytes_max + 1
    await deliver(system, 2, b"CB\x01" + bytes(small))
    assert (await ref.ask(actors.Ping(n=1))).n == 1


async def test_frame_of_an_incarnation_that_is_over_is_ignored(system: System) -> None:
    """A host that was given up and wakes again must not be believed."""
    ref = await system.spawn(actors.Counter, host=2)
    writer = FrameWriter()
    writer.add(Kind.TELL, ref.address.cell, 0, -1, b"\x80")
    await deliver(system, 2, writer.finish(FrameHeader(1, 999, 2, 1, 1, 0, 100)))
    assert (await ref.ask(actors.AskReceived())).count == 0


async def test_frame_whose_envelopes_are_wrong_spoils_nothing(system: System) -> None:
    """Well-formed frames of the driver's link with bodies and contracts that are not."""
    ref = await system.spawn(actors.Counter, host=2)
    link = host_of(system).links[2]
    before = (await system.dead_letters()).get("undecodable", 0)
    outbox: Any = link.outbox
    cell = ref.address.cell
    for body in (b"", b"\xc1", b"\x80", b"\x81\xa1n\xa1x", b"\xdd\xff\xff\xff\xff"):
        number = outbox._writer.number_of(actors.Note)
        outbox._writer.add(Kind.TELL, cell, 0, number, body)
        outbox._writer.add(Kind.TELL, cell, 0, -1, body)
        outbox._credit_used += 2
    outbox._writer.add(Kind.REPLY, 0, 123_456_789, -1, b"")
    outbox._writer.add(Kind.ERROR, 0, 123_456_789, -1, b"\xc1")
    outbox._writer.add(Kind.CANCEL, 0, 123_456_789, -1, b"")
    outbox._writer.add(Kind.RESUME, 123_456_789, 0, -1, b"")
    link.flush_soon()
    received = await ref.ask(actors.AskReceived())
    assert received.count == 0
    assert (await system.dead_letters())["undecodable"] == before + 10


class OldQuestion(Request[actors.Number], name="actors.question", version=1):
    n: int


class Question(Request[actors.Number], name="actors.question", version=2):
    n: int
    of: str


class UpcastQuestion(Request[actors.Number], name="actors.upcast", version=2):
    n: int
    of: str
    upcasters: ClassVar[Any] = {1: lambda fields: {**fields, "of": "old"}}


class OldUpcastQuestion(Request[actors.Number], name="actors.upcast", version=1):
    n: int


class Answerer(Actor):
    @handler
    async def question(self, request: Question) -> actors.Number:
        return actors.Number(n=request.n)

    @handler
    async def upcast(self, request: UpcastQuestion) -> actors.Number:
        return actors.Number(n=len(request.of))


@pytest.fixture(scope="module", autouse=True)
def mine_by_value() -> Iterator[None]:
    """This module's classes are unknown to other processes, unless they are sent."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


async def test_unknown_contract_fails_the_ask(system: System) -> None:
    ref: Ref[Any] = await system.spawn(actors.Counter, host=2)

    class Nobody(Contract, name="actors.nobody"):
        n: int

    class NobodyKnows(Request[Nobody], name=f"actors.nobody_knows_{system.settings.engine}"):
        n: int

    if system.settings.engine == "inline":
        pytest.skip("in one process every imported contract is known")
    with pytest.raises(UnknownContract, match="nobody_knows") as caught:
        await ref.ask(NobodyKnows(n=1))
    assert caught.value.details.get("may_have_run") is False
    before = (await system.dead_letters()).get("undecodable", 0)
    ref.tell(NobodyKnows(n=1))
    assert (await ref.ask(actors.Ping(n=1))).n == 1
    assert (await system.dead_letters())["undecodable"] == before + 1


async def test_wrong_version_without_upcaster_fails_the_ask(system: System) -> None:
    ref: Ref[Any] = await system.spawn(Answerer, host=2)
    with pytest.raises(VersionMismatch, match=r"actors\.question"):
        await ref.ask(OldQuestion(n=3))
    assert (await ref.ask(Question(n=4, of="new"))).n == 4


async def test_older_version_with_an_upcaster_is_understood(system: System) -> None:
    ref: Ref[Any] = await system.spawn(Answerer, host=2)
    assert (await ref.ask(OldUpcastQuestion(n=3))).n == len("old")


async def test_a_system_on_one_node_opens_no_port_for_frames(system: System) -> None:
    refs = [await system.spawn(actors.Counter, host=number) for number in (1, 2)]
    for ref in refs:
        assert (await ref.ask(actors.Ping(n=1))).n == 1
    engine: Any = system._engine
    if system.settings.engine == "ray":
        assert engine._frames._tcp is None
        assert len(engine._frames._server._listeners) == 1
        frames = [link.carrier for link in host_of(system).links.values()]
        assert all(carrier is None or carrier.is_stream for carrier in frames)


async def test_the_garbage_is_garbage() -> None:
    """The tests above prove nothing if these were frames."""
    for data in garbage():
        with pytest.raises(FrameError):
            decode_frame(data)
