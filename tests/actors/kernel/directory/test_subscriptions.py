"""Subscriptions: notices of offers and of names, at once and after each change."""

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

from ..monitors.fixture_actors import (
    Block,
    Crash,
    Deaf,
    Do,
    GetNotices,
    Listener,
    Participant,
    Received,
)

GET_NOTICES = GetNotices.contract_name


@pytest_asyncio.fixture
async def system() -> AsyncIterator[System]:
    async with start(engine="inline", hosts=2, name="subscribed") as running:
        yield running


async def received_by(ref: Ref[Any], count: int) -> Received:
    async with asyncio.timeout(10.0):
        answer: Received = await ref.ask(GetNotices(count=count))
    return answer


async def test_a_subscriber_without_a_handler_is_refused(system: System) -> None:
    deaf = await system.spawn(Deaf)
    with pytest.raises(CallboardError, match=r"has no handler for a callboard\.offers"):
        await deaf.ask(Do(what="subscribe"))


async def test_a_subject_that_is_not_a_contract_is_refused(system: System) -> None:
    participant = await system.spawn(Participant)
    with pytest.raises(CallboardError, match="'' is not a contract"):
        await participant.ask(Do(what="subscribe"))


async def test_more_subscriptions_than_the_limit_are_refused(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SUBSCRIPTIONS_MAX", 1)
    participant = await system.spawn(Participant)
    await participant.ask(Do(what="subscribe", text="a", times=2))
    with pytest.raises(CallboardError, match="has 1 subscriptions"):
        await participant.ask(Do(what="subscribe", text="b"))


async def test_no_offer_gives_a_notice_too(system: System) -> None:
    listener = await system.spawn(Listener, host=1)
    await listener.ask(Do(what="subscribe", text="nobody.offers"))
    [offers] = (await received_by(listener, 1)).offers
    assert (offers.contract, offers.refs) == ("nobody.offers", ())


@pytest.mark.parametrize("host", [1, 2])
async def test_offers_come_and_go(system: System, host: int) -> None:
    listener = await system.spawn(Listener, host=host)
    await listener.ask(Do(what="subscribe", text=GET_NOTICES))
    await received_by(listener, 1)
    first = await system.spawn(Participant, host=1, offer=True)
    await received_by(listener, 2)
    second = await system.spawn(Participant, host=2, offer=True)
    await received_by(listener, 3)
    await system.stop(first)
    answer = await received_by(listener, 4)
    assert [offers.refs for offers in answer.offers] == [(), (first,), (first, second), (second,)]
    versions = [offers.version for offers in answer.offers]
    assert versions == sorted(set(versions))


async def test_a_change_of_something_else_gives_no_notice(system: System) -> None:
    listener = await system.spawn(Listener, host=1)
    await listener.ask(Do(what="subscribe", text=GET_NOTICES))
    await received_by(listener, 1)
    await system.spawn(Participant, host=1, name="somebody")
    await system.spawn(Deaf, host=1, offer=True)
    await system.view(actors_max=0)
    assert len((await received_by(listener, 1)).offers) == 1


async def test_a_slow_subscriber_gets_only_the_newest(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    monkeypatch.setattr(Participant, "gate", gate)
    participant = await system.spawn(Participant, host=1)
    await participant.ask(Do(what="subscribe", text=GET_NOTICES))
    await received_by(participant, 1)
    blocked = participant.ask(Block())
    offering = [await system.spawn(Participant, host=1, offer=True) for _ in range(5)]
    await system.view(actors_max=0)
    gate.set()
    await blocked
    offers = (await received_by(participant, 2)).offers
    assert [len(change.refs) for change in offers] == [0, 5]
    assert offers[-1].refs == tuple(offering)


async def test_no_notice_comes_after_unsubscribe(system: System) -> None:
    listener = await system.spawn(Listener, host=1)
    await listener.ask(Do(what="subscribe", text=GET_NOTICES))
    await received_by(listener, 1)
    await listener.ask(Do(what="unsubscribe", text=GET_NOTICES))
    await listener.ask(Do(what="unsubscribe", text=GET_NOTICES))
    await system.spawn(Participant, host=1, offer=True)
    await system.view(actors_max=0)
    assert len((await received_by(listener, 1)).offers) == 1


async def test_a_restart_ends_the_subscription(system: System) -> None:
    listener = await system.spawn(Listener, host=1)
    await listener.ask(Do(what="subscribe", text=GET_NOTICES))
    await received_by(listener, 1)
    listener.tell(Crash())
    assert (await received_by(listener, 0)).offers == ()
    await system.spawn(Participant, host=1, offer=True)
    await system.view(actors_max=0)
    assert (await received_by(listener, 0)).offers == ()


async def test_notices_follow_the_owner_of_a_name(system: System) -> None:
    listener = await system.spawn(Listener, host=2)
    await listener.ask(Do(what="subscribe name", text="somebody"))
    await received_by(listener, 1)
    named = await system.spawn(Participant, host=1, name="somebody")
    await received_by(listener, 2)
    await system.stop(named)
    answer = await received_by(listener, 3)
    assert [change.ref for change in answer.names] == [None, named, None]
    await listener.ask(Do(what="unsubscribe name", text="somebody"))
    await system.spawn(Participant, host=1, name="somebody")
    await system.view(actors_max=0)
    assert len((await received_by(listener, 3)).names) == 3


async def test_a_driver_iterates_over_changes() -> None:
    seen: list[Offers] = []
    async with start(engine="inline", hosts=1, name="iterated") as system:
        changes = system.offers(GetNotices)
        seen.append(await anext(changes))
        participant = await system.spawn(Participant, offer=True)
        seen.append(await anext(changes))

        async def rest() -> None:
            seen.extend([offers async for offers in changes])

        going_on = asyncio.ensure_future(rest())
        await system.view(actors_max=0)
    await asyncio.wait_for(going_on, 5.0)  # It ends with the system.
    assert [offers.refs for offers in seen[:2]] == [(), (participant,)]


async def test_a_closed_iteration_ends_its_subscription(system: System) -> None:
    changes = system.offers(GetNotices)
    await anext(changes)
    await changes.aclose()  # type: ignore[attr-defined] # it is a generator
    await system.spawn(Participant, offer=True)
    with pytest.raises(StopAsyncIteration):
        await anext(changes)
