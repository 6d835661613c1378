"""Games in which an actor waits for a reply: dictionary, philosophers, logistic map, banking."""

import asyncio
from typing import Any

from bench.savina.games import (
    BALANCE,
    first_term,
    is_write,
    key_of,
    rate_of,
    term_bits,
    transfer_of,
)
from callboard import Actor, Context, Contract, Ref, Request, handler
from callboard.actors.kernel.props import props
from callboard.messages.core.errors import MailboxFull

from .runner import GameRunner, Report, Start

__all__ = ["Banking", "ConcurrentDictionary", "DiningPhilosophers", "LogisticMap"]

ORDERS_AT_ONCE = 2_000
"""Transfers in flight at once."""


# --- the dictionary -----------------------------------------------------------------------------


class Value(Contract):
    """The value at a key, if any."""

    value: int | None


class Read(Request[Value]):
    """Ask for the value at a key."""

    key: int


class Write(Request[Value]):
    """Set the value at a key. The reply is the old value."""

    key: int
    value: int


class Contents(Contract):
    """The contents of a dictionary, and the number of its operations."""

    reads: int
    writes: int
    entries: int
    values: int


class ReadContents(Request[Contents]):
    """Ask for it."""


class Dictionary(Actor):
    """Keeps values by key."""

    def __init__(self) -> None:
        self._values: dict[int, int] = {}
        self._reads = self._writes = 0

    @handler
    async def read(self, request: Read) -> Value:
        """The value at a key."""
        self._reads += 1
        return Value(value=self._values.get(request.key))

    @handler
    async def write(self, request: Write) -> Value:
        """Set another value."""
        self._writes += 1
        before = self._values.get(request.key)
        self._values[request.key] = request.value
        return Value(value=before)

    @handler
    async def contents(self, request: ReadContents) -> Contents:
        """The contents as counts."""
        return Contents(
            reads=self._reads,
            writes=self._writes,
            entries=len(self._values),
            values=sum(self._values.values()),
        )


class Reader(Actor):
    """Reads and writes, one operation after another."""

    def __init__(
        self, runner: Ref[GameRunner], dictionary: Ref[Dictionary], number: int, operations: int
    ) -> None:
        self._runner = runner
        self._dictionary = dictionary
        self._number = number
        self._operations = operations

    @handler
    async def start(self, message: Start) -> None:
        """Do all operations."""
        for operation in range(self._operations):
            key = key_of(self._number, operation)
            if is_write(operation):
                await self._dictionary.ask(Write(key=key, value=key))
            else:
                await self._dictionary.ask(Read(key=key))
        self._runner.tell(Report(counts={}))


class ConcurrentDictionary(GameRunner):
    """Many read and write one dictionary."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn the dictionary and its readers."""
        self._dictionary = await ctx.spawn(Dictionary)
        self._readers = [
            await ctx.spawn(
                props(Reader, ctx.self_ref, self._dictionary, number, sizes["operations"])
            )
            for number in range(sizes["workers"])
        ]

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Run until each reader has done all its operations."""
        for reader in self._readers:
            reader.tell(Start())
        await self.reports(len(self._readers))
        return (await ctx.ask(ReadContents(), self._dictionary)).model_dump()


# --- the philosophers ---------------------------------------------------------------------------


class Permission(Contract):
    """Whether both forks were free. If so, the philosopher has them now."""

    granted: bool


class Hungry(Request[Permission]):
    """Ask for the two forks of a seat."""

    seat: int


class Sated(Contract):
    """Return the two forks of a seat."""

    seat: int


class Arbiter(Actor):
    """Knows which forks are taken."""

    def __init__(self, seats: int) -> None:
        self._taken = [False] * seats

    @handler
    async def hungry(self, request: Hungry) -> Permission:
        """Give both forks, or none."""
        left, right = request.seat, (request.seat + 1) % len(self._taken)
        if self._taken[left] or self._taken[right]:
            return Permission(granted=False)
        self._taken[left] = self._taken[right] = True
        return Permission(granted=True)

    @handler
    async def sated(self, message: Sated) -> None:
        """Take the forks back."""
        self._taken[message.seat] = self._taken[(message.seat + 1) % len(self._taken)] = False


class Philosopher(Actor):
    """Eats a number of meals."""

    def __init__(
        self, runner: Ref[GameRunner], arbiter: Ref[Arbiter], seat: int, meals: int
    ) -> None:
        self._runner = runner
        self._arbiter = arbiter
        self._seat = seat
        self._meals = meals

    @handler
    async def start(self, message: Start) -> None:
        """Eat all meals. Ask again after each refusal."""
        for _ in range(self._meals):
            while not (await self._arbiter.ask(Hungry(seat=self._seat))).granted:
                pass
            self._arbiter.tell(Sated(seat=self._seat))
        self._runner.tell(Report(counts={"meals": self._meals}))


class DiningPhilosophers(GameRunner):
    """Philosophers share forks."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn the arbiter and the philosophers."""
        arbiter = await ctx.spawn(props(Arbiter, sizes["philosophers"]))
        self._philosophers = [
            await ctx.spawn(props(Philosopher, ctx.self_ref, arbiter, seat, sizes["meals"]))
            for seat in range(sizes["philosophers"])
        ]

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Run until all philosophers have eaten."""
        for philosopher in self._philosophers:
            philosopher.tell(Start())
        return await self.reports(len(self._philosophers))


# --- the logistic map ---------------------------------------------------------------------------


class Term(Contract):
    """One number of a series."""

    term: float


class NextOf(Request[Term]):
    """Ask for the number after this one."""

    term: float


class NextTerm(Contract):
    """Compute the next term."""


class LastTerm(Request[Term]):
    """Ask for the last term of a series."""


class Computer(Actor):
    """Has the rate of one series."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    @handler
    async def compute(self, request: NextOf) -> Term:
        """The next number."""
        return Term(term=self._rate * request.term * (1 - request.term))


class Series(Actor):
    """Keeps the last number of one series."""

    def __init__(self, computer: Ref[Computer], term: float) -> None:
        self._computer = computer
        self._term = term

    @handler
    async def next(self, message: NextTerm) -> None:
        """Ask the computer for the next number."""
        self._term = (await self._computer.ask(NextOf(term=self._term))).term

    @handler
    async def last(self, request: LastTerm) -> Term:
        """The last one."""
        return Term(term=self._term)


class LogisticMap(GameRunner):
    """Another actor computes each term."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Spawn a computer and a series actor for each series."""
        self._series: list[Ref[Any]] = []
        for number in range(sizes["series"]):
            computer = await ctx.spawn(props(Computer, rate_of(number)))
            self._series.append(await ctx.spawn(props(Series, computer, first_term(number))))

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Compute all terms of all series, then read the last of each."""
        for _ in range(sizes["terms"]):
            for series in self._series:
                message = NextTerm()
                try:
                    series.tell(message)
                except MailboxFull:
                    await series.send(message)
        terms = [(await ctx.ask(LastTerm(), series)).term for series in self._series]
        return {"terms": len(terms) * sizes["terms"], "sum_bits": term_bits(terms)}


# --- the bank -----------------------------------------------------------------------------------


class Done(Contract):
    """A transfer, or one half of it, is booked."""


class Debit(Request[Done]):
    """Add an amount."""

    amount: int


class Credit(Request[Done]):
    """Send an amount to another account."""

    amount: int
    recipient: Ref[Any]


class Balance(Contract):
    """The balance of an account."""

    balance: int


class ReadBalance(Request[Balance]):
    """Ask for it."""


class Account(Actor):
    """Books one transfer after another."""

    def __init__(self) -> None:
        self._balance = BALANCE

    @handler
    async def debit(self, request: Debit) -> Done:
        """Add the amount."""
        self._balance += request.amount
        return Done()

    @handler
    async def credit(self, request: Credit, ctx: Context) -> Done:
        """Send the amount. The reply comes when the other account has it."""
        self._balance -= request.amount
        return await ctx.ask(Debit(amount=request.amount), request.recipient)

    @handler
    async def read(self, request: ReadBalance) -> Balance:
        """Give the balance."""
        return Balance(balance=self._balance)


class Banking(GameRunner):
    """Transfers between accounts, ordered by the runner."""

    async def prepare(self, sizes: dict[str, int], ctx: Context) -> None:
        """Open the accounts."""
        self._accounts = [await ctx.spawn(Account) for _ in range(sizes["accounts"])]

    async def perform(self, sizes: dict[str, int], ctx: Context) -> dict[str, int]:
        """Order all transfers, in windows."""
        accounts, transfers = self._accounts, 0
        for start in range(0, sizes["transfers"], ORDERS_AT_ONCE):
            orders = []
            for number in range(start, min(start + ORDERS_AT_ONCE, sizes["transfers"])):
                source, target, amount = transfer_of(number, len(accounts))
                credit = Credit(amount=amount, recipient=accounts[target])
                orders.append(ctx.ask(credit, accounts[source]))
            transfers += len(await asyncio.gather(*orders))
        balances = [(await ctx.ask(ReadBalance(), account)).balance for account in accounts]
        return {
            "transfers": transfers,
            "total": sum(balances),
            "by_account": sum((place + 1) * balance for place, balance in enumerate(balances)),
        }
