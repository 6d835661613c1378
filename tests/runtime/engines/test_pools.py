"""Pools: found by contract, over all hosts, and idle agents take the work."""

import asyncio
from typing import Any

import pytest

from callboard.actors.kernel.props import props
from callboard.messages.control.routing import Routing
from callboard.messages.core.errors import ActorStartFailed, NoAgentOffers, SpecError
from callboard.messages.core.ref import Ref
from callboard.runtime.api.system import System

from . import engine_fixtures as fixtures
from . import fixture_actors as actors

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_pool_serves_from_all_hosts_and_is_gone_when_stopped(system: System) -> None:
    parts = (await system.pool(fixtures.Runner, size=4)).refs
    assert sorted(ref.address.slot for ref in parts) == [1, 2]
    replies = await asyncio.gather(*(system.ask(fixtures.Errand()) for _ in range(20)))
    assert {reply.text for reply in replies} == {"host-1", "host-2"}
    for part in parts:
        await system.stop(part)
    with pytest.raises(NoAgentOffers, match=r"actors\.errand"):
        await system.ask(fixtures.Errand())


async def test_pool_whose_agents_do_not_start_says_so(system: System) -> None:
    with pytest.raises(ActorStartFailed, match="ValueError"):
        await system.pool(props(fixtures.Runner, "plain"), size=2)
    with pytest.raises(NoAgentOffers):
        await system.ask(fixtures.Errand())


@pytest.mark.parametrize("size", [0, -1, 2_000_000])
async def test_pool_of_a_silly_size_is_refused(system: System, size: int) -> None:
    with pytest.raises(SpecError):
        await system.pool(fixtures.Runner, size=size)


async def test_slow_agents_do_not_block_idle_ones(system: System, recorder: Ref[Any]) -> None:
    """With all agents of a part held but one, that one does the rest of the work."""
    parts = (await system.pool(fixtures.Worker, size=8)).refs
    part = parts[0]
    held = [
        asyncio.ensure_future(
            part.ask(fixtures.Hold(recorder=recorder, label=f"h{n}", go="go"), timeout_s=60.0)
        )
        for n in range(3)
    ]
    await recorder.ask(actors.Expect(prefix="h", count=3))
    replies = await asyncio.gather(
        *(part.ask(actors.Ping(n=n), timeout_s=10.0) for n in range(500))
    )
    assert [reply.n for reply in replies] == list(range(500))
    assert not any(ask.done() for ask in held)
    recorder.tell(actors.Event(text="go"))
    await asyncio.gather(*held)
    for ref in parts:
        await system.stop(ref)


async def test_waiting_work_goes_to_whoever_is_free_first(
    system: System, recorder: Ref[Any]
) -> None:
    (part,) = (await system.pool(fixtures.Worker, size=1)).refs
    first = asyncio.ensure_future(
        part.ask(fixtures.Hold(recorder=recorder, label="a", go="go a"), timeout_s=60.0)
    )
    await recorder.ask(actors.Expect(prefix="a held"))
    second = asyncio.ensure_future(
        part.ask(fixtures.Hold(recorder=recorder, label="b", go="go b"), timeout_s=60.0)
    )
    recorder.tell(actors.Event(text="go a"))
    await first
    await recorder.ask(actors.Expect(prefix="b held"))
    recorder.tell(actors.Event(text="go b"))
    await second
    await system.stop(part)


async def test_agents_with_concurrency_take_that_many_at_once(
    system: System, recorder: Ref[Any]
) -> None:
    (part,) = (await system.pool(fixtures.DoubleWorker, size=1)).refs
    held = [
        asyncio.ensure_future(
            part.ask(fixtures.Hold(recorder=recorder, label=f"d{n}", go="go"), timeout_s=60.0)
        )
        for n in range(4)
    ]
    assert len((await recorder.ask(actors.Expect(prefix="d", count=2), timeout_s=10.0)).events) == 2
    assert not any(ask.done() for ask in held)
    recorder.tell(actors.Event(text="go"))
    await asyncio.gather(*held)
    await system.stop(part)


async def test_actors_that_offer_are_found_by_contract_from_other_hosts(system: System) -> None:
    ref = await system.spawn(fixtures.Runner, host=2, offer=True)
    relayed = await asyncio.gather(*(system.ask(fixtures.Errand()) for _ in range(5)))
    assert {reply.text for reply in relayed} == {"host-2"}
    await system.stop(ref)
    with pytest.raises(NoAgentOffers):
        await system.ask(fixtures.Errand())


async def count_actors(system: System) -> int:
    return sum(host.actors for host in (await system.view(actors_max=0)).hosts)


async def settle(system: System, wanted: int) -> None:
    """Wait until so many actors are there: agents that go end in their own time."""
    async with asyncio.timeout(30.0):
        while await count_actors(system) != wanted:
            pass


async def test_a_pool_grows_and_shrinks_over_the_hosts(system: System) -> None:
    others = await count_actors(system)
    async with await system.pool(fixtures.Worker, size=2) as pool:
        part = len(pool.refs)
        assert (pool.size, part) == (2, 2)
        for size in (9, 4, 1, 2, 7):
            await pool.resize(size)
            assert pool.size == size
            assert len(pool.refs) == min(size, 2)
            await settle(system, others + size + len(pool.refs))
            replies = await asyncio.gather(*(pool.ask(actors.Ping(n=n)) for n in range(50)))
            assert [reply.n for reply in replies] == list(range(50))
    await settle(system, others)
    assert (pool.size, pool.refs) == (0, ())
    for refused in (pool.resize(1), pool.send(actors.Ping(n=1))):
        with pytest.raises(NoAgentOffers, match="has been stopped"):
            await refused


async def test_a_pool_that_grows_takes_up_what_waits(system: System, recorder: Ref[Any]) -> None:
    async with await system.pool(fixtures.Worker, size=1) as pool:
        held = [
            asyncio.ensure_future(
                pool.ask(fixtures.Hold(recorder=recorder, label=f"h{n}", go="go"), timeout_s=60.0)
            )
            for n in range(6)
        ]
        await recorder.ask(actors.Expect(prefix="h"))
        await pool.resize(12)  # Six on the host where they wait.
        assert len((await recorder.ask(actors.Expect(prefix="h", count=6))).events) == 6
        recorder.tell(actors.Event(text="go"))
        await asyncio.gather(*held)


@pytest.mark.parametrize("worker", [fixtures.Worker, fixtures.DoubleWorker])
async def test_a_pool_that_shrinks_loses_nothing(
    system: System, recorder: Ref[Any], worker: Any
) -> None:
    others = await count_actors(system)
    async with await system.pool(worker, size=6) as pool:
        held = [
            asyncio.ensure_future(
                pool.ask(fixtures.Hold(recorder=recorder, label=f"h{n}", go="go"), timeout_s=60.0)
            )
            for n in range(12)
        ]
        await recorder.ask(actors.Expect(prefix="h", count=6 * worker.concurrency))
        waiting = [asyncio.ensure_future(pool.ask(actors.Ping(n=n))) for n in range(200)]
        pings = [ref.ask(actors.Ping(n=n), timeout_s=60.0) for ref in pool.refs for n in range(50)]
        await pool.resize(1)
        late = [asyncio.ensure_future(pool.ask(actors.Ping(n=n))) for n in range(20)]
        recorder.tell(actors.Event(text="go"))
        await asyncio.gather(*held, *waiting, *pings, *late)
        await settle(system, others + 2)


async def test_work_from_everywhere_survives_every_change_of_size(system: System) -> None:
    """Also from a host that learns of each change a little later than the driver."""
    askers = [await system.spawn(fixtures.ErrandAsker, host=host) for host in (1, 2)]
    async with await system.pool(fixtures.Runner, size=2) as pool:
        running = [
            asyncio.ensure_future(asker.ask(fixtures.RunErrands(count=300))) for asker in askers
        ]
        for size in (8, 1, 5, 2, 1, 3):
            await pool.resize(size)
        assert [(await ran).n for ran in running] == [300, 300]
    for asker in askers:
        await system.stop(asker)


async def test_a_pool_that_cannot_grow_keeps_its_size(system: System, recorder: Ref[Any]) -> None:
    others = await count_actors(system)
    async with await system.pool(props(fixtures.FussyChild, recorder, "fussy"), size=1) as pool:
        (part,) = pool.refs
        with pytest.raises(ActorStartFailed):
            await pool.resize(2)
        assert (pool.size, pool.refs) == (1, (part,))
        await settle(system, others + 2)
        with pytest.raises(SpecError):
            await pool.resize(0)


async def test_a_pool_is_asked_itself_where_another_one_offers_the_same(system: System) -> None:
    async with (
        await system.pool(props(fixtures.Labelled, "one"), size=2, name="one") as one,
        await system.pool(props(fixtures.Labelled, "two"), size=3, name="two") as two,
    ):
        for pool, label in ((one, "one"), (two, "two")):
            replies = await asyncio.gather(*(pool.ask(fixtures.AskLabel()) for _ in range(9)))
            assert {reply.text for reply in replies} == {label}
        replies = await asyncio.gather(*(system.ask(fixtures.AskLabel()) for _ in range(12)))
        assert {reply.text for reply in replies} == {"one", "two"}


async def test_a_pool_by_load_counts_what_it_has_asked(system: System) -> None:
    routing = Routing.LEAST_LOADED
    async with await system.pool(fixtures.Runner, size=4, routing=routing) as pool:
        await pool.resize(6)
        replies = await asyncio.gather(*(pool.ask(fixtures.Errand()) for _ in range(60)))
        assert {reply.text for reply in replies} == {"host-1", "host-2"}
