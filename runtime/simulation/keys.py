"""The scenario of keyed actors: one activation of a key in the whole system, at any time."""

import asyncio
from typing import Any, ClassVar, Final

from callboard.actors.actor import handler
from callboard.actors.keyed.actor import KeyedActor, StoreActor
from callboard.messages.contract import Contract, Request

from .ledger import ledger_here
from .loop import SimulatedLoop
from .run import Run
from .stage import BUSY_S, Stage, act, open_stage

__all__ = ["keyed"]

KEYS: Final = 4
IDLE_S: Final = 0.3
"""Short, so that keys are put away and come back within a run."""


class Total(Contract, name="sim.total"):
    """What has been added up for a key."""

    number: int
    total: int


class Add(Request[Total], name="sim.add"):
    """Add one to a key."""

    account: str
    number: int


class Account(KeyedActor):
    """Adds up; while it does, nobody else may do the same for its key."""

    key: ClassVar[str] = "account"

    def __init__(self) -> None:
        self._total = 0

    def restore(self, state: Total | None) -> None:
        """Go on where it was left."""
        self._total = 0 if state is None else state.total

    def snapshot(self) -> Total:
        """What is to be kept."""
        return Total(number=0, total=self._total)

    @handler
    async def add(self, request: Add) -> Total:
        """Add one, and take a while."""
        ledger = ledger_here()
        ledger.began(request.number)
        loop: Any = asyncio.get_running_loop()
        self._enter(ledger, request.account, loop)
        self._total += 1
        try:
            await asyncio.sleep(0.02 * ledger.random())
        finally:
            ledger.active.pop(request.account, None)
        return Total(number=request.number, total=self._total)

    def _enter(self, ledger: Any, account: str, loop: SimulatedLoop) -> None:
        other = ledger.active.get(account)
        if other is not None and not other[1].is_dead:
            ledger.complain("one_activation", f"key {account!r} is active twice")
        ledger.active[account] = (self, loop)


async def keyed(run: Run) -> None:
    """Keys that are used, put away, and moved by hosts that die."""
    async with open_stage(run) as stage:
        store = await stage.system.spawn(StoreActor, host=1)
        await stage.system.keyed(Account, store=store, idle_s=IDLE_S, save_every=1)
        await act(stage, *(_add(stage) for _ in range(20)))


async def _add(stage: Stage) -> None:
    ledger, draw = stage.run.ledger, stage.draw
    await stage.later(BUSY_S)
    timeout_s = 0.1 + 3.0 * draw()
    record = ledger.new_ask(timeout_s)
    request = Add(account=f"account-{int(draw() * KEYS)}", number=record.number)
    reply = stage.system.ask(request, timeout_s=timeout_s)
    await ledger.outcome_of(record, reply, lambda answer: answer.number == record.number)
