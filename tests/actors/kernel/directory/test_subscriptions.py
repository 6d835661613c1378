"""Subscriptions: who offers a contract, who has a name, told at once and after each change."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from callboard.actors.kernel.directory import subscriptions as module
from callboard.messages.control.notices import Offers
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Ref
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System

from ..monitors.fixture_actors import AttachedDriver, Block, Crash, Deaf, Do, Listener, Tell, Told

TELL = Tell.contract_name


@pytest_asyncio.fixture
async def system() -> AsyncIterator[System]:
    async with start(engine="inline", hosts=2, name="subscribed") as running:
        yield running


async def told(ref: Ref[Any], count: int) -> Told:
    async with asyncio.timeout(10.0):
        answer: Told = await ref.ask(Tell(count=count))
    return answer


async def test_a_subscriber_without_a_handler_is_refused(system: System) -> None:
    deaf = await system.spawn(Deaf)
    with pytest.raises(CallboardError, match=r"has no handler for a callboard\.offers"):
        await deaf.ask(Do(what="subscribe"))


async def test_what_is_no_contract_is_refused(system: System) -> None:
    attached_driver = await system.spawn(AttachedDriver)
    with pytest.raises(CallboardError, match="'' is not a contract"):
        await attached_driver.ask(Do(what="subscribe"))


async def test_more_subscriptions_than_the_limit_are_refused(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SUBSCRIPTIONS_MAX", 1)
    attached_driver = await system.spawn(AttachedDriver)
    await attached_driver.ask(Do(what="subscribe", text="a", times=2))
    with pytest.raises(CallboardError, match="has 1 subscriptions"):
        await attached_driver.ask(Do(what="subscribe", text="b"))


async def test_nobody_offers_and_that_is_told_too(system: System) -> None:
    listener = await system.spawn(Listener, host=1)
    await listener.ask(Do(what="subscribe", text="nobody.offers"))
    [offers] = (await told(listener, 1)).offers
    assert (offers.contract, offers.refs) == ("nobody.offers", ())


@pytest.mark.parametrize("host", [1, 2])
async def test_offers_come_and_go(system: System, host: int) -> None:
    listener = await system.spawn(Listener, host=host)
    await listener.ask(Do(what="subscribe", text=TELL))
    await told(listener, 1)
    first = await system.spawn(AttachedDriver, host=1, offer=True)
    await told(listener, 2)
    second = await system.spawn(AttachedDriver, host=2, offer=True)
    await told(listener, 3)
    await system.stop(first)
    answer = await told(listener, 4)
    assert [offers.refs for offers in answer.offers] == [(), (first,), (first, second), (second,)]
    versions = [offers.version for offers in answer.offers]
    assert versions == sorted(set(versions))


async def test_a_change_of_something_else_is_not_told(system: System) -> None:
    listener = await system.spawn(Listener, host=1)
    await listener.ask(Do(what="subscribe", text=TELL))
    await told(listener, 1)
    await system.spawn(AttachedDriver, host=1, name="somebody")
    await system.spawn(Deaf, host=1, offer=True)
    await system.view(actors_max=0)
    assert len((await told(listener, 1)).offers) == 1


async def test_a_slow_subscriber_sees_the_newest_only(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    monkeypatch.setattr(AttachedDriver, "gate", gate)
    attached_driver = await system.spawn(AttachedDriver, host=1)
    await attached_driver.ask(Do(what="subscribe", text=TELL))
    await told(attached_driver, 1)
    blocked = attached_driver.ask(Block())
    offering = [await system.spawn(AttachedDriver, host=1, offer=True) for _ in range(5)]
    await system.view(actors_max=0)
    gate.set()
    await blocked
    offers = (await told(attached_driver, 2)).offers
    assert [len(change.refs) for change in offers] == [0, 5]
    assert offers[-1].refs == tuple(offering)


async def test_no_change_is_told_after_unsubscribe(system: System) -> None:
    listener = await system.spawn(Listener, host=1)
    await listener.ask(Do(what="subscribe", text=TELL))
    await told(listener, 1)
    await listener.ask(Do(what="unsubscribe", text=TELL))
    await listener.ask(Do(what="unsubscribe", text=TELL))
    await system.spawn(AttachedDriver, host=1, offer=True)
    await system.view(actors_max=0)
    assert len((await told(listener, 1)).offers) == 1


async def test_a_restart_ends_the_subscription(system: System) -> None:
    listener = await system.spawn(Listener, host=1)
    await listener.ask(Do(what="subscribe", text=TELL))
    await told(listener, 1)
    listener.tell(Crash())
    assert (await told(listener, 0)).offers == ()
    await system.spawn(AttachedDriver, host=1, offer=True)
    await system.view(actors_max=0)
    assert (await told(listener, 0)).offers == ()


async def test_a_name_is_taken_and_given_back(system: System) -> None:
    listener = await system.spawn(Listener, host=2)
    await listener.ask(Do(what="subscribe name", text="somebody"))
    await told(listener, 1)
    named = await system.spawn(AttachedDriver, host=1, name="somebody")
    await told(listener, 2)
    await system.stop(named)
    answer = await told(listener, 3)
    assert [change.ref for change in answer.names] == [None, named, None]
    await listener.ask(Do(what="unsubscribe name", text="somebody"))
    await system.spawn(AttachedDriver, host=1, name="somebody")
    await system.view(actors_max=0)
    assert len((await told(listener, 3)).names) == 3


async def test_a_driver_iterates_over_changes() -> None:
    seen: list[Offers] = []
    async with start(engine="inline", hosts=1, name="iterated") as system:
        changes = system.offers(Tell)
        seen.append(await anext(changes))
        attached_driver = await system.spawn(AttachedDriver, offer=True)
        seen.append(await anext(changes))

        async def rest() -> None:
            seen.extend([offers async for offers in changes])

        going_on = asyncio.ensure_future(rest())
        await system.view(actors_max=0)
    await asyncio.wait_for(going_on, 5.0)  # It ends with the system.
    assert [offers.refs for offers in seen[:2]] == [(), (attached_driver,)]


async def test_an_iteration_that_is_left_listens_no_more(system: System) -> None:
    changes = system.offers(Tell)
    await anext(changes)
    await changes.aclose()  # type: ignore[attr-defined] # it is a generator
    await system.spawn(AttachedDriver, offer=True)
    with pytest.raises(StopAsyncIteration):
        await anext(changes)
