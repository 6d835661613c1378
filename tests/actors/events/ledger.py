"""Accounts as aggregates, and logs that are short of breath, for the tests of events."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from callboard.actors.events.aggregate import Aggregate, applies, decides
from callboard.actors.events.codec import EventCodec, Unknown
from callboard.actors.journal.core import JournalLimits
from callboard.actors.journal.journal import Journal
from callboard.messages.core.contract import Contract
from callboard.messages.storage.events import (
    ANY,
    Append,
    Appended,
    EventStore,
    NewEvent,
    RecordedEvent,
)
from callboard.runtime.stores.memory import MemoryEventStore

WAIT_S: Final = 20.0


class Deposited(Contract, name="tests.events.deposited"):
    amount: int


class Withdrawn(Contract, name="tests.events.withdrawn"):
    amount: int


class Deposit(Contract, name="tests.events.deposit"):
    amount: int
    parts: int = 1


class Withdraw(Contract, name="tests.events.withdraw"):
    amount: int


class Balance(Contract, name="tests.events.balance"):
    amount: int = 0


class Overdrawn(Exception):
    """An account is never below 0."""


class Account(Aggregate[Balance]):
    state = Balance

    @applies
    def deposited(self, state: Balance, event: Deposited) -> Balance:
        return Balance(amount=state.amount + event.amount)

    @applies
    def withdrawn(self, state: Balance, event: Withdrawn) -> Balance:
        return Balance(amount=state.amount - event.amount)

    @decides
    def deposit(self, state: Balance, command: Deposit) -> list[Deposited]:
        return [Deposited(amount=command.amount) for _ in range(command.parts)]

    @decides
    def withdraw(self, state: Balance, command: Withdraw) -> Withdrawn | None:
        if command.amount > state.amount:
            raise Overdrawn(f"{command.amount} of {state.amount}")
        return Withdrawn(amount=command.amount) if command.amount else None


def codec_of(unknown: Unknown = Unknown.STOP) -> EventCodec:
    return EventCodec([Deposited, Withdrawn], unknown=unknown)


def deposits(codec: EventCodec, count: int, first: int = 0) -> list[NewEvent]:
    return [codec.encode(Deposited(amount=first + number)) for number in range(count)]


def stranger() -> NewEvent:
    """An event that no codec here knows."""
    return NewEvent(random.randbytes(16), "tests.events.stranger", b"\x80")


@asynccontextmanager
async def journal(
    store: EventStore | None = None, limits: JournalLimits | None = None
) -> AsyncIterator[Journal]:
    """A journal over a store, or over a new one in memory."""
    made = Journal(store or MemoryEventStore(), owner="the test", limits=limits)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - conditions of many kinds have no event
            await asyncio.sleep(0.001)


class HardLog:
    """A log on a store, whose reads are short, interleaved, and fail or hang on request."""

    def __init__(self, store: MemoryEventStore | None = None, page_max: int = 1_000) -> None:
        self.store: Final = store or MemoryEventStore()
        self.store.take_over("the test")
        self.page_max = page_max
        self.faults: deque[Exception] = deque()
        """Each fails one read."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.reads = 0
        self._listeners: list[Callable[[int], None]] = []

    @property
    def head(self) -> int:
        return self.store.head()

    def add(self, stream: str, events: Sequence[NewEvent]) -> None:
        """Append at once."""
        (done,) = self.store.commit([Append(stream, tuple(events), ANY)])
        assert isinstance(done, Appended)
        for listener in tuple(self._listeners):
            listener(self.head)

    async def _read(self) -> None:
        self.reads += 1
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.faults:
            raise self.faults.popleft()

    async def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        found = self.store.read(after, min(limit, self.page_max), kinds=kinds)
        await self._read()
        return found

    async def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        size = min(limit, self.page_max)
        found = self.store.read_stream(stream, after=after, limit=size, backwards=backwards)
        await self._read()
        return found

    def on_commit(self, listener: Callable[[int], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
