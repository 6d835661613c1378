"""The scenario of keyed actors: a key has one activation in the whole system, at any time.

Mailboxes are small and one key is slow. So some keys are full, and links wait for those keys but
not for others.
"""

import asyncio
import contextlib
from typing import Any, ClassVar, Final, cast

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.host.host import Host
from callboard.actors.keyed.actor import KeyedActor, StoreActor
from callboard.actors.keyed.region import KeyRegion
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Ref
from callboard.runtime.testing.loop import SimulatedLoop

from .message_log import current_message_log
from .run import Run
from .scenario_fixture import BUSY_S, HOSTS, ScenarioFixture, open_fixture, run_under_faults

__all__ = ["keyed"]

KEYS: Final = 4
SLOW: Final = "account-0"
IDLE_S: Final = 0.3
"""Short, so that keys passivate and activate again within a run."""
MAILBOX: Final = 3


class Total(Contract, name="sim.total"):
    """The sum of a key."""

    number: int
    total: int


class Add(Request[Total], name="sim.add"):
    """Add one to a key."""

    account: str
    number: int


class Entry(Contract, name="sim.entry"):
    """A note for a key: add one, without a reply."""

    account: str
    sender: int
    number: int


class Entered(Contract, name="sim.entered"):
    """All entries are sent."""


class Enter(Request[Entered], name="sim.enter"):
    """Send `count` entries to each of these keys."""

    accounts: tuple[str, ...]
    count: int
    waits: bool


class Account(KeyedActor):
    """Adds up; no other actor of its key may run meanwhile."""

    key: ClassVar[str] = "account"
    mailbox_messages: ClassVar[int] = MAILBOX

    def __init__(self) -> None:
        self._total = 0

    def restore(self, state: Total | None) -> None:
        """Restore the total."""
        self._total = 0 if state is None else state.total

    def snapshot(self) -> Total:
        """The state to keep."""
        return Total(number=0, total=self._total)

    @handler
    async def add(self, request: Add) -> Total:
        """Add one, and take a while."""
        current_message_log().began(request.number)
        await self._add(request.account)
        return Total(number=request.number, total=self._total)

    @handler
    async def entry(self, entry: Entry) -> None:
        """Add one; the entries of one sender come in order."""
        current_message_log().took(entry.sender, entry.account, entry.number)
        await self._add(entry.account)

    async def _add(self, account: str) -> None:
        log = current_message_log()
        loop: Any = asyncio.get_running_loop()
        self._enter(log, account, loop)
        self._total += 1
        try:
            await asyncio.sleep((0.2 if account == SLOW else 0.02) * log.random())
        finally:
            log.active.pop(account, None)

    def _enter(self, log: Any, account: str, loop: SimulatedLoop) -> None:
        other = log.active.get(account)
        if other is not None and not other[1].is_dead:
            log.complain("one_activation", f"key {account!r} is active twice")
        log.active[account] = (self, loop)


class Clerk(Actor):
    """Sends entries from a host."""

    concurrency: ClassVar[int] = 4

    @handler
    async def enter(self, request: Enter, ctx: Context) -> Entered:
        """Send entries; a refused entry counts as not sent."""
        log = current_message_log()
        host = cast("Host", ctx._host)
        sender = log.new_sender(host.slot, host.epoch)
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
    """Keys that are used, passivated, and moved by dying hosts."""
    async with open_fixture(run) as fixture:
        store = await fixture.system.spawn(StoreActor, host=1)
        await fixture.system.keyed(Account, store=store, idle_s=IDLE_S, save_every=1)
        clerks = [await fixture.system.spawn(Clerk, host=1 + place) for place in range(HOSTS)]
        asks = [_add(fixture) for _ in range(20)]
        entries = [_enter(fixture, clerks) for _ in range(8)]
        await run_under_faults(fixture, *asks, *entries, is_idle=_all_passivated)


async def _add(fixture: ScenarioFixture) -> None:
    log, draw = fixture.run.message_log, fixture.draw
    await fixture.later(BUSY_S)
    timeout_s = 0.1 + 3.0 * draw()
    record = log.new_ask(timeout_s)
    request = Add(account=_some_account(fixture), number=record.number)
    reply = fixture.system.ask(request, timeout_s=timeout_s)
    await log.outcome_of(record, reply, lambda answer: answer.number == record.number)


def _all_passivated(host: Host) -> bool:
    """Whether no key is active on a host: an active key would save its state later."""
    regions = [cell for cell in host.cells.values() if isinstance(cell, KeyRegion)]
    return not any(region.keys_active for region in regions)


async def _enter(fixture: ScenarioFixture, clerks: list[Ref[Any]]) -> None:
    draw = fixture.draw
    await fixture.later(BUSY_S)
    accounts = tuple(dict.fromkeys(_some_account(fixture) for _ in range(2)))
    request = Enter(accounts=accounts, count=1 + int(12 * draw()), waits=draw() < 0.3)
    with contextlib.suppress(CallboardError):
        await fixture.system.ask(request, fixture.some(clerks), timeout_s=4.0)


def _some_account(fixture: ScenarioFixture) -> str:
    return f"account-{int(fixture.draw() * KEYS)}"
