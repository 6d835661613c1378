"""Accounts for the tests of projections: events, a projection, a plain fold, a log."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from callboard.actors.events.codec import EventCodec
from callboard.actors.events.projection.projection import FOLD_ROW, Projection, Rows, projects
from callboard.actors.journal.journal import Journal
from callboard.messages.core.contract import Contract
from callboard.messages.storage.events import EventStore, NewEvent
from callboard.messages.storage.stores import ReadModelStore
from callboard.runtime.stores.memory import MemoryEventStore

__all__ = [
    "DEADLINE_S",
    "Accounts",
    "AccountsInCents",
    "Closed",
    "Deposited",
    "Renamed",
    "append",
    "balances",
    "checked",
    "folded",
    "open_journal",
    "some_events",
    "until",
]

DEADLINE_S: Final = 30.0


class Deposited(Contract, name="accounts.deposited"):
    account: str
    amount: int


class Closed(Contract, name="accounts.closed"):
    account: str


class Renamed(Contract, name="accounts.renamed"):
    """An event that the projection has no method for."""

    account: str


class Accounts(Projection[int]):
    """The balance of each account that is open."""

    name = "accounts"

    @projects
    def deposited(self, rows: Rows[int], event: Deposited) -> None:
        rows[event.account] = rows.get(event.account, 0) + event.amount

    @projects
    def closed(self, rows: Rows[int], event: Closed) -> None:
        if event.account in rows:
            del rows[event.account]


class AccountsInCents(Projection[int]):
    """The next version: the same accounts in cents."""

    name = "accounts"
    version = 2

    @projects
    def deposited(self, rows: Rows[int], event: Deposited) -> None:
        rows[event.account] = rows.get(event.account, 0) + 100 * event.amount

    @projects
    def closed(self, rows: Rows[int], event: Closed) -> None:
        if event.account in rows:
            del rows[event.account]


CODEC: Final = EventCodec((Deposited, Closed, Renamed))


def some_events(seed: int, count: int, accounts: int = 20) -> list[Contract]:
    chance = random.Random(seed)
    events: list[Contract] = []
    for _ in range(count):
        account = f"a{chance.randrange(accounts)}"
        if chance.random() < 0.1:
            events.append(Closed(account=account))
        else:
            events.append(Deposited(account=account, amount=chance.randrange(1, 100)))
    return events


def folded(events: Sequence[Contract], factor: int = 1) -> dict[str, int]:
    """The expected rows of the projection, computed without it."""
    rows: dict[str, int] = {}
    for event in events:
        if isinstance(event, Deposited):
            rows[event.account] = rows.get(event.account, 0) + factor * event.amount
        elif isinstance(event, Closed):
            rows.pop(event.account, None)
    return rows


async def append(journal: Journal, events: Sequence[Contract], size: int = 50) -> int:
    """Append them, `size` at a time; gives the position of the last."""
    for start in range(0, len(events), size):
        some: list[NewEvent] = [CODEC.encode(event) for event in events[start : start + size]]
        await journal.append("accounts", some)
    return journal.head


@contextlib.asynccontextmanager
async def open_journal(store: EventStore | None = None) -> AsyncIterator[Journal]:
    journal = Journal(store or MemoryEventStore(), owner="the test")
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


def balances(models: ReadModelStore, model: str) -> dict[str, Any]:
    """The rows in the store, read without the code under test."""
    import msgpack

    found = models.items(model, limit=100_000)
    return {key: msgpack.unpackb(row) for key, row in found if key != FOLD_ROW}


def checked(models: ReadModelStore, model: str, events: Sequence[Contract]) -> int:
    """The model must equal the fold of as many events as its position says; gives that."""
    position = models.position(model)
    found: Mapping[str, int] = balances(models, model)
    assert found == folded(events[:position])
    return position


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, with a deadline."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - any condition, not only events
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_S} s: {what}") from None
