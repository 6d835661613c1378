"""The scenario of keyed actors: one activation of a key in the whole system, at any time.

Their mailboxes are small and one key is slow, so that keys are full and the links between
hosts are told to wait for some and not for others.
"""

import asyncio
import contextlib
from typing import Any, ClassVar, Final, cast

from callboard.actors.actor import Actor, handler
from callboard.actors.context import Context
from callboard.actors.host.host import Host
from callboard.actors.keyed.actor import KeyedActor, StoreActor
from callboard.actors.keyed.keeper import Keeper
from callboard.messages.contract import Contract, Request
from callboard.messages.errors import CallboardError
from callboard.messages.ref import Ref

from .ledger import ledger_here
from .loop import SimulatedLoop
from .run import Run
from .stage import BUSY_S, HOSTS, Stage, act, open_stage

__all__ = ["keyed"]

KEYS: Final = 4
SLOW: Final = "account-0"
IDLE_S: Final = 0.3
"""Short, so that keys are put away and come back within a run."""
MAILBOX: Final = 3


class Total(Contract, name="sim.total"):
    """What has been added up for a key."""

    number: int
    total: int


class Add(Request[Total], name="sim.add"):
    """Add one to a key."""

    account: str
    number: int


class Entry(Contract, name="sim.entry"):
    """A note for a key: add one, and tell nobody."""

    account: str
    sender: int
    number: int


class Entered(Contract, name="sim.entered"):
    """All entries are sent."""


class Enter(Request[Entered], name="sim.enter"):
    """Send so many entries to each of these keys."""

    accounts: tuple[str, ...]
    count: int
    waits: bool


class Account(KeyedActor):
    """Adds up; while it does, nobody else may do the same for its key."""

    key: ClassVar[str] = "account"
    mailbox_messages: ClassVar[int] = MAILBOX

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
        ledger_here().began(request.number)
        await self._add(request.account)
        return Total(number=request.number, total=self._total)

    @handler
    async def entry(self, entry: Entry) -> None:
        """Add one: those of one sender in their order."""
        ledger_here().took(entry.sender, entry.account, entry.number)
        await self._add(entry.account)

    async def _add(self, account: str) -> None:
        ledger = ledger_here()
        loop: Any = asyncio.get_running_loop()
        self._enter(ledger, account, loop)
        self._total += 1
        try:
            await asyncio.sleep((0.2 if account == SLOW else 0.02) * ledger.random())
        finally:
            ledger.active.pop(account, None)

    def _enter(self, ledger: Any, account: str, loop: SimulatedLoop) -> None:
        other = ledger.active.get(account)
        if other is not None and not other[1].is_dead:
            ledger.complain("one_activation", f"key {account!r} is active twice")
        ledger.active[account] = (self, loop)


class Clerk(Actor):
    """Sends entries from a host."""

    concurrency: ClassVar[int] = 4

    @handler
    async def enter(self, request: Enter, ctx: Context) -> Entered:
        """Send them; what is refused has not been sent."""
        ledger = ledger_here()
        host = cast("Host", ctx._host)  # noqa: SLF001 - which incarnation sends is nobody else's business
        sender = ledger.new_sender(host.slot, host.epoch)
        for number in range(1, request.count + 1):
            for account in request.accounts:
                entry = Entry(account=account, sender=sender, number=number)
                with contextlib.suppress(CallboardError):
                    if request.waits:
                        await ctx.send(entry)
                    else:
                        ctx.tell(entry)
        return Entered()


async def keyed(run: Run) -> None:
    """Keys that are used, put away, and moved by hosts that die."""
    async with open_stage(run) as stage:
        store = await stage.system.spawn(StoreActor, host=1)
        await stage.system.keyed(Account, store=store, idle_s=IDLE_S, save_every=1)
        clerks = [await stage.system.spawn(Clerk, host=1 + place) for place in range(HOSTS)]
        asks = [_add(stage) for _ in range(20)]
        entries = [_enter(stage, clerks) for _ in range(8)]
        await act(stage, *asks, *entries, is_idle=_all_put_away)


async def _add(stage: Stage) -> None:
    ledger, draw = stage.run.ledger, stage.draw
    await stage.later(BUSY_S)
    timeout_s = 0.1 + 3.0 * draw()
    record = ledger.new_ask(timeout_s)
    request = Add(account=_some_account(stage), number=record.number)
    reply = stage.system.ask(request, timeout_s=timeout_s)
    await ledger.outcome_of(record, reply, lambda answer: answer.number == record.number)


def _all_put_away(host: Host) -> bool:
    """Whether no key is active on a host: one that is would save its state at some time."""
    keepers = [cell for cell in host.cells.values() if isinstance(cell, Keeper)]
    return not any(keeper.keys_active for keeper in keepers)


async def _enter(stage: Stage, clerks: list[Ref[Any]]) -> None:
    draw = stage.draw
    await stage.later(BUSY_S)
    accounts = tuple(dict.fromkeys(_some_account(stage) for _ in range(2)))
    request = Enter(accounts=accounts, count=1 + int(12 * draw()), waits=draw() < 0.3)
    with contextlib.suppress(CallboardError):
        await stage.system.ask(request, stage.some(clerks), timeout_s=4.0)


def _some_account(stage: Stage) -> str:
    return f"account-{int(stage.draw() * KEYS)}"
