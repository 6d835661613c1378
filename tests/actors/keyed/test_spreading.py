"""Keyed actors with shares: they go on to hosts that join, with what they have saved."""

import asyncio
from collections import Counter as Tally
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel.actor import handler
from callboard.actors.kernel.context import Context
from callboard.actors.keyed.actor import KeyedActor
from callboard.messages.control.hosts import HostSpec
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import NoAgentOffers, SpecError
from callboard.runtime.api.inside import root_of
from callboard.runtime.control_plane.spreading import SPREAD_AFTER_S
from callboard.testing import Simulation, simulated

from .disk import Disk

SETTLED_S = SPREAD_AFTER_S + 0.5


@pytest.fixture(autouse=True)
def disk() -> Iterator[None]:
    Disk.wipe()
    yield
    Disk.wipe()


class Seen(Contract, name="spread.seen"):
    number: int
    host: str = ""
    fence: int = 0


class Query(Request[Seen], name="spread.query"):
    part: int
    for_s: float = 0.0


class Note(Contract, name="spread.note"):
    part: int


class Part(KeyedActor):
    """Counts for one part, and says where."""

    key: ClassVar[str] = "part"

    def __init__(self) -> None:
        self.number = 0

    def snapshot(self) -> Seen:
        return Seen(number=self.number)

    def restore(self, state: Seen | None) -> None:
        self.number = 0 if state is None else state.number

    @handler
    async def query(self, request: Query, ctx: Context) -> Seen:
        self.number += 1
        await asyncio.sleep(request.for_s)
        return Seen(number=self.number, host=ctx.host_name, fence=ctx.fence)

    @handler
    async def note(self, message: Note) -> None:
        del message
        self.number += 1


async def query(sim: Simulation, parts: int) -> list[Seen]:
    return [await sim.system.ask(Query(part=part)) for part in range(parts)]


async def join(sim: Simulation) -> Any:
    root = root_of(sim.system)
    slot = root.table.add_slot("")
    slot.name = f"host-{slot.number}"
    await root.hosts.add(slot, HostSpec(slot.name))
    return slot


def hosts_of(seen: list[Seen]) -> Tally[str]:
    return Tally(each.host for each in seen)


@simulated(hosts=2)
async def test_shares_are_even_and_the_fewest_go_to_a_host_that_joins(sim: Simulation) -> None:
    await sim.system.keyed(Part, store=Disk(), shares=6)
    before = await query(sim, 6)
    assert hosts_of(before) == {"host-1": 3, "host-2": 3}
    await join(sim)
    await sim.advance(SETTLED_S)
    after = await query(sim, 6)
    assert hosts_of(after) == {"host-1": 2, "host-2": 2, "host-3": 2}
    moved = [part for part in range(6) if before[part].host != after[part].host]
    assert len(moved) == 2
    # Nothing was saved before the move: it was saved for it.
    assert [each.number for each in after] == [2] * 6
    assert all(after[part].fence > before[part].fence for part in moved)


@simulated(hosts=1)
async def test_a_message_that_is_handled_is_answered_and_counts_where_the_key_goes(
    sim: Simulation,
) -> None:
    await sim.system.keyed(Part, store=Disk(), shares=2)
    slow = [asyncio.ensure_future(sim.system.ask(Query(part=part, for_s=2.0))) for part in (0, 1)]
    await join(sim)
    await sim.advance(SPREAD_AFTER_S + 0.2)
    sim.system.tell(Note(part=0))
    sim.system.tell(Note(part=1))
    waiting = [asyncio.ensure_future(sim.system.ask(Query(part=part))) for part in (0, 1)]
    assert [answer.host for answer in await asyncio.gather(*slow)] == ["host-1", "host-1"]
    answers = await asyncio.gather(*waiting)
    assert hosts_of(list(answers)) == {"host-1": 1, "host-2": 1}
    assert [answer.number for answer in answers] == [3, 3]


@simulated(hosts=3)
async def test_shares_leave_a_host_that_ends_in_order(sim: Simulation) -> None:
    await sim.system.keyed(Part, store=Disk(), shares=6)
    await query(sim, 6)
    root = root_of(sim.system)
    slot = root.table.slots[2]
    slot.is_leaving = True
    root.registrar.directory_changed()
    await root.registrar.spreading.leave(slot)
    await root.hosts.remove(slot)
    after = await query(sim, 6)
    assert hosts_of(after) == {"host-1": 3, "host-3": 3}
    assert [each.number for each in after] == [2] * 6


@simulated(hosts=2)
async def test_shares_of_a_host_that_comes_back_stay(sim: Simulation) -> None:
    await sim.system.keyed(Part, store=Disk(), save_every=1, shares=6)
    before = await query(sim, 6)
    sim.crash(2)
    await sim.advance(SETTLED_S)
    after = await query(sim, 6)
    assert [each.host for each in after] == [each.host for each in before]


@simulated(hosts=2)
async def test_a_kind_that_is_stopped_is_gone_on_hosts_that_have_joined_too(
    sim: Simulation,
) -> None:
    keyed = await sim.system.keyed(Part, store=Disk(), shares=4)
    await join(sim)
    await sim.advance(SETTLED_S)
    assert len(keyed.refs) == 3
    await keyed.stop()
    with pytest.raises(NoAgentOffers):
        await sim.system.ask(Query(part=1))
    await sim.system.keyed(Part, store=Disk(), shares=4)
    assert [each.number for each in await query(sim, 4)] == [1] * 4


@simulated(hosts=1)
async def test_a_wrong_number_of_shares_is_refused(sim: Simulation) -> None:
    with pytest.raises(SpecError, match="shares"):
        await sim.system.keyed(Part, shares=-1)
