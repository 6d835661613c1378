"""Pools: found by contract, over all hosts, and no work behind work that is stuck."""

import asyncio
from typing import Any

import pytest

from callboard.actors.props import props
from callboard.messages.errors import ActorStartFailed, NoAgentOffers, SpecError
from callboard.messages.ref import Ref
from callboard.runtime.system import System

from . import cast, company

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_pool_serves_from_all_hosts_and_is_gone_when_stopped(system: System) -> None:
    parts = (await system.pool(company.Runner, size=4)).refs
    assert sorted(ref.address.slot for ref in parts) == [1, 2]
    replies = await asyncio.gather(*(system.ask(company.Errand()) for _ in range(20)))
    assert {reply.text for reply in replies} == {"host-1", "host-2"}
    for part in parts:
        await system.stop(part)
    with pytest.raises(NoAgentOffers, match=r"cast\.errand"):
        await system.ask(company.Errand())


async def test_pool_whose_agents_do_not_start_says_so(system: System) -> None:
    with pytest.raises(ActorStartFailed, match="ValueError"):
        await system.pool(props(company.Runner, "plain"), size=2)
    with pytest.raises(NoAgentOffers):
        await system.ask(company.Errand())


@pytest.mark.parametrize("size", [0, -1, 2_000_000])
async def test_pool_of_a_silly_size_is_refused(system: System, size: int) -> None:
    with pytest.raises(SpecError):
        await system.pool(company.Runner, size=size)


async def test_slow_agents_do_not_block_idle_ones(system: System, witness: Ref[Any]) -> None:
    """With all agents of a part held but one, that one does the rest of the work."""
    parts = (await system.pool(company.Worker, size=8)).refs
    part = parts[0]
    held = [
        asyncio.ensure_future(
            part.ask(company.Hold(witness=witness, label=f"h{n}", go="go"), timeout_s=60.0)
        )
        for n in range(3)
    ]
    await witness.ask(cast.Expect(prefix="h", count=3))
    replies = await asyncio.gather(*(part.ask(cast.Ping(n=n), timeout_s=10.0) for n in range(500)))
    assert [reply.n for reply in replies] == list(range(500))
    assert not any(ask.done() for ask in held)
    witness.tell(cast.Event(text="go"))
    await asyncio.gather(*held)
    for ref in parts:
        await system.stop(ref)


async def test_waiting_work_goes_to_whoever_is_free_first(
    system: System, witness: Ref[Any]
) -> None:
    (part,) = (await system.pool(company.Worker, size=1)).refs
    first = asyncio.ensure_future(
        part.ask(company.Hold(witness=witness, label="a", go="go a"), timeout_s=60.0)
    )
    await witness.ask(cast.Expect(prefix="a held"))
    second = asyncio.ensure_future(
        part.ask(company.Hold(witness=witness, label="b", go="go b"), timeout_s=60.0)
    )
    witness.tell(cast.Event(text="go a"))
    await first
    await witness.ask(cast.Expect(prefix="b held"))
    witness.tell(cast.Event(text="go b"))
    await second
    await system.stop(part)


async def test_agents_with_concurrency_take_that_many_at_once(
    system: System, witness: Ref[Any]
) -> None:
    (part,) = (await system.pool(company.DoubleWorker, size=1)).refs
    held = [
        asyncio.ensure_future(
            part.ask(company.Hold(witness=witness, label=f"d{n}", go="go"), timeout_s=60.0)
        )
        for n in range(4)
    ]
    assert len((await witness.ask(cast.Expect(prefix="d", count=2), timeout_s=10.0)).events) == 2
    assert not any(ask.done() for ask in held)
    witness.tell(cast.Event(text="go"))
    await asyncio.gather(*held)
    await system.stop(part)


async def test_actors_that_offer_are_found_by_contract_from_other_hosts(system: System) -> None:
    ref = await system.spawn(company.Runner, host=2, offer=True)
    relayed = await asyncio.gather(*(system.ask(company.Errand()) for _ in range(5)))
    assert {reply.text for reply in relayed} == {"host-2"}
    await system.stop(ref)
    with pytest.raises(NoAgentOffers):
        await system.ask(company.Errand())
