"""Roles of the small games, of the logistic map and of the bank."""

import math
from collections import deque
from typing import Any

from bench.peers.savina.role import Message, Role
from bench.savina.games import BALANCE, term_bits, transfer_of

__all__ = [
    "Account",
    "Computer",
    "Counter",
    "Dealer",
    "Master",
    "Member",
    "Pinger",
    "Ponger",
    "Producer",
    "Series",
    "ShortLived",
    "Teller",
    "Worker",
]

ANGLE = 37.2
ORDERS_AT_ONCE = 2_000


class Ponger(Role):
    """Answers pings."""

    def __init__(self) -> None:
        self._pings = 0

    def ping(self, sender: Any) -> None:
        """Answer the ping."""
        self._pings += 1
        self.tell(sender, ("pong",))

    def read(self, reader: Any) -> None:
        """Report the number of pings."""
        self.tell(reader, ("report", {"pings": self._pings}))


class Pinger(Role):
    """Sends a ping after each pong."""

    def __init__(self, collector: Any, ponger: Any, round_trips: int) -> None:
        self._collector = collector
        self._ponger = ponger
        self._round_trips = round_trips
        self._pongs = 0

    def begin(self) -> None:
        """Send the first ping."""
        self.tell(self._ponger, ("ping", self.me))

    def pong(self) -> None:
        """Send the next, or report."""
        self._pongs += 1
        if self._pongs < self._round_trips:
            self.tell(self._ponger, ("ping", self.me))
        else:
            self.tell(self._collector, ("report", {"pongs": self._pongs}))


class Counter(Role):
    """Counts."""

    def __init__(self, collector: Any) -> None:
        self._collector = collector
        self._count = 0

    def increment(self) -> None:
        """One more."""
        self._count += 1

    def finish(self) -> None:
        """Report."""
        self.tell(self._collector, ("report", {"count": self._count}))


class Producer(Role):
    """Sends all increments."""

    def __init__(self, counter: Any, messages: int) -> None:
        self._counter = counter
        self._messages = messages

    def begin(self) -> None:
        """All of them."""
        for _ in range(self._messages):
            self.tell(self._counter, ("increment",))
        self.tell(self._counter, ("finish",))


class Worker(Role):
    """Computes a number of sines."""

    def __init__(self, collector: Any, messages: int) -> None:
        self._collector = collector
        self._messages = messages
        self._handled = 0

    def work(self) -> None:
        """Compute one sine."""
        assert math.sin(ANGLE) ** 2 > 0
        self._handled += 1
        if self._handled == self._messages:
            self.tell(self._collector, ("report", {"handled": self._handled}))


class Dealer(Role):
    """Sends messages to the workers in turn."""

    def __init__(self, workers: list[Any], messages: int) -> None:
        self._workers = workers
        self._messages = messages

    def begin(self) -> None:
        """All of them."""
        for _ in range(self._messages):
            for worker in self._workers:
                self.tell(worker, ("work",))


class ShortLived(Role):
    """Computes one sine and ends."""

    def __init__(self, collector: Any) -> None:
        self._collector = collector

    def work(self) -> None:
        """Handle its only message."""
        assert math.sin(ANGLE) ** 2 > 0
        self.tell(self._collector, ("report", {"finished": 1}))
        self.leave()


class Member(Role):
    """One actor of the ring."""

    def __init__(self, collector: Any, place: int, hops: int) -> None:
        self._collector = collector
        self._place = place
        self._hops = hops
        self._next: Any = None

    def join(self, following: Any) -> None:
        """Note the next member."""
        self._next = following

    def token(self, hops_left: int) -> None:
        """Pass the token on, or report."""
        if hops_left:
            self.tell(self._next, ("token", hops_left - 1))
        else:
            self.tell(self._collector, ("report", {"last": self._place, "hops": self._hops}))


class Computer(Role):
    """Has the rate of one series."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def compute(self, sender: Any, term: float) -> None:
        """The next number."""
        self.tell(sender, ("computed", self._rate * term * (1 - term)))


class Series(Role):
    """Keeps the last number of one series. It stashes messages while it waits."""

    def __init__(self, computer: Any, term: float, number: int) -> None:
        self._computer = computer
        self._term = term
        self._number = number
        self._waits = False
        self._stash: deque[Message] = deque()

    def next(self) -> None:
        """Ask the computer for the next number."""
        if self._waits:
            self._stash.append(("next",))
            return
        self._waits = True
        self.tell(self._computer, ("compute", self.me, self._term))

    def computed(self, term: float) -> None:
        """Take the next number."""
        self._term = term
        self._waits = False
        while self._stash and not self._waits:
            self.receive(self._stash.popleft())

    def last(self, reader: Any) -> None:
        """Report the last number, in its turn."""
        if self._waits:
            self._stash.append(("last", reader))
        else:
            self.tell(reader, ("last_term", self._number, self._term))


class Master(Role):
    """Orders all terms, then takes the last of each series."""

    def __init__(self, collector: Any, series: list[Any], terms: int) -> None:
        self._collector = collector
        self._series = series
        self._terms = terms
        self._last: dict[int, float] = {}

    def begin(self) -> None:
        """Order all terms."""
        for _ in range(self._terms):
            for series in self._series:
                self.tell(series, ("next",))
        for series in self._series:
            self.tell(series, ("last", self.me))

    def last_term(self, number: int, term: float) -> None:
        """Take the last term of one series."""
        self._last[number] = term
        if len(self._last) == len(self._series):
            ordered = (self._last[place] for place in sorted(self._last))
            counts = {"terms": len(self._series) * self._terms, "sum_bits": term_bits(ordered)}
            self.tell(self._collector, ("report", counts))


class Account(Role):
    """Books one transfer after another. It stashes messages while it waits."""

    def __init__(self, place: int) -> None:
        self._place = place
        self._balance = BALANCE
        self._teller: Any = None
        self._stash: deque[Message] = deque()

    def credit(self, teller: Any, amount: int, recipient: Any) -> None:
        """Send the amount. It is done when the other account has it."""
        if self._teller is not None:
            self._stash.append(("credit", teller, amount, recipient))
            return
        self._balance -= amount
        self._teller = teller
        self.tell(recipient, ("debit", self.me, amount))

    def debit(self, sender: Any, amount: int) -> None:
        """Add the amount."""
        if self._teller is not None:
            self._stash.append(("debit", sender, amount))
            return
        self._balance += amount
        self.tell(sender, ("debited",))

    def debited(self) -> None:
        """Note that the other account has the amount."""
        teller, self._teller = self._teller, None
        self.tell(teller, ("transferred",))
        while self._stash and self._teller is None:
            self.receive(self._stash.popleft())

    def read(self, reader: Any) -> None:
        """Report the balance."""
        counts = {"total": self._balance, "by_account": (self._place + 1) * self._balance}
        self.tell(reader, ("report", counts))


class Teller(Role):
    """Orders transfers, a number of them in flight at once."""

    def __init__(self, collector: Any, accounts: list[Any], transfers: int) -> None:
        self._collector = collector
        self._accounts = accounts
        self._transfers = transfers
        self._ordered = self._done = 0

    def begin(self) -> None:
        """Order the first transfers."""
        for _ in range(min(ORDERS_AT_ONCE, self._transfers)):
            self._order()

    def _order(self) -> None:
        source, target, amount = transfer_of(self._ordered, len(self._accounts))
        self._ordered += 1
        self.tell(self._accounts[source], ("credit", self.me, amount, self._accounts[target]))

    def transferred(self) -> None:
        """Order the next transfer, or report."""
        self._done += 1
        if self._ordered < self._transfers:
            self._order()
        elif self._done == self._transfers:
            self.tell(self._collector, ("report", {"transfers": self._done}))
