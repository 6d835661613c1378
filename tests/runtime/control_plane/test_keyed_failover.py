"""Keyed actors survive a kill -9 of their host's process."""

import os
import signal
from typing import Any

import cloudpickle
import pytest

from callboard.actors.keyed.actor import StoreActor
from callboard.messages.core.errors import AskError
from callboard.runtime.api.inside import root_of
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System

from ..engines import account_actors as accounts
from ..engines.account_actors import Account, Balance, Deposit

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]


async def deposit(system: System, account: str, **options: Any) -> int:
    while True:
        try:
            return (await system.ask(Deposit(account=account, amount=1), **options)).amount
        except AskError:
            continue


async def test_killed_hosts_keys_come_back_with_their_saved_state() -> None:
    cloudpickle.register_pickle_by_value(accounts)
    keys = [f"k{n}" for n in range(20)]
    async with start(engine="ray", name="keyed", hosts=2) as system:
        store = await system.spawn(StoreActor, host=1)
        await system.keyed(Account, store=store, save_every=1)
        replies: list[Balance] = []
        for turn in (1, 2):
            replies = [await system.ask(Deposit(account=key, amount=1)) for key in keys]
            assert [reply.amount for reply in replies] == [turn] * 20
        lost = [key for key, reply in zip(keys, replies, strict=True) if reply.host == "host-2"]
        assert lost
        process = root_of(system).table.slots[2].process
        await process.ping()
        os.kill(int(process.pid), signal.SIGKILL)
        for key in keys:
            amount = await deposit(system, key, timeout_s=30.0)
            # An answer or a save may have been under way when the host died.
            assert amount >= 2 if key in lost else amount == 3
