"""Keyed actors over hosts: found by key, passivated, and restored with their state."""

import asyncio

import pytest

from callboard.actors.keyed.actor import StoreActor
from callboard.messages.core.errors import HandlerFailed
from callboard.runtime.api.start import start

from .account_actors import Account, Balance, Deposit, Fall, Note

LONG_S = 3_600.0


async def test_keys_are_spread_over_hosts_and_each_has_its_own_state() -> None:
    async with start(engine="inline", hosts=2) as system:
        await system.keyed(Account)
        keys = [f"k{n}" for n in range(40)]
        replies: list[Balance] = []
        for turn in (1, 2, 3):
            replies = await asyncio.gather(
                *(system.ask(Deposit(account=key, amount=1)) for key in keys)
            )
            assert [reply.amount for reply in replies] == [turn] * 40
        assert {reply.host for reply in replies} == {"host-1", "host-2"}


async def test_tells_and_asks_of_a_key_keep_their_order_while_it_is_activated() -> None:
    async with start(engine="inline", hosts=2) as system:
        await system.keyed(Account)
        for _ in range(5):
            system.tell(Note(account="a", amount=10))
        assert (await system.ask(Deposit(account="a", amount=1))).amount == 51


async def test_failing_activation_fails_its_asker_alone_and_has_its_last_saved_state() -> None:
    async with start(engine="inline", hosts=2) as system:
        await system.keyed(Account, save_every=1)
        await system.ask(Deposit(account="a", amount=5))
        await system.ask(Deposit(account="b", amount=7))
        with pytest.raises(HandlerFailed, match="fell"):
            await system.ask(Fall(account="a"))
        assert (await system.ask(Deposit(account="a", amount=1))).amount == 6
        assert (await system.ask(Deposit(account="b", amount=1))).amount == 8


async def test_more_keys_than_may_be_active_take_turns_and_keep_their_state() -> None:
    async with start(engine="inline", hosts=2) as system:
        store = await system.spawn(StoreActor, host=1)
        await system.keyed(Account, store=store, active_max=3)
        keys = [f"k{n}" for n in range(30)]
        for turn in (1, 2):
            replies = await asyncio.gather(
                *(system.ask(Deposit(account=key, amount=1)) for key in keys)
            )
            assert [reply.amount for reply in replies] == [turn] * 30
        view = await system.view()
        regions = [m for host in view.hosts for m in host.members if m.name == "Account"]
        assert len(regions) == 2
        assert all(region.children <= 3 for region in regions)


async def test_states_are_saved_when_the_key_regions_stop_in_order() -> None:
    async with start(engine="inline", hosts=2) as system:
        store = await system.spawn(StoreActor, host=1)
        accounts = await system.keyed(Account, store=store)
        await asyncio.gather(*(system.ask(Deposit(account=k, amount=3)) for k in "abcdef"))
        await accounts.stop()
        await system.keyed(Account, store=store)
        replies = [await system.ask(Deposit(account=k, amount=1)) for k in "abcdef"]
        assert [reply.amount for reply in replies] == [4] * 6


async def test_idle_activation_is_passivated_and_comes_back_with_its_state() -> None:
    async with start(engine="inline", hosts=1) as system:
        await system.keyed(Account, idle_s=0.02)
        await system.ask(Deposit(account="a", amount=3))
        while any(m.children for host in (await system.view()).hosts for m in host.members):
            pass  # Each view takes iterations of the loop.
        assert (await system.ask(Deposit(account="a", amount=3))).amount == 6
