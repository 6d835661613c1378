"""Roles of games of many actors: mall, big, dictionary, buffer, philosophers, barber, smokers."""

import random
from collections import deque
from collections.abc import Mapping
from typing import Any

from bench.peers.savina.role import Role
from bench.savina.games import is_write, key_of, smoker_of

__all__ = [
    "COLOURS",
    "Arbiter",
    "Barber",
    "Buffer",
    "Consumer",
    "Creature",
    "Customer",
    "Dictionary",
    "Factory",
    "Mall",
    "Member",
    "Philosopher",
    "Producer",
    "Reader",
    "SmokeArbiter",
    "Smoker",
    "WaitingRoom",
]

COLOURS = 3


class Mall(Role):
    """Pairs creatures."""

    def __init__(self, meetings: int) -> None:
        self._meetings_left = meetings
        self._waiting: Any = None

    def meet(self, colour: int, creature: Any) -> None:
        """Let the creature wait, or meet the waiting one."""
        if not self._meetings_left:
            self.tell(creature, ("close",))
        elif self._waiting is None:
            self._waiting = creature
        else:
            waiting, self._waiting = self._waiting, None
            self._meetings_left -= 1
            self.tell(waiting, ("meet", colour, creature))


class Creature(Role):
    """Meets others and changes its colour."""

    def __init__(self, collector: Any, mall: Any, colour: int) -> None:
        self._collector = collector
        self._mall = mall
        self._colour = colour
        self._met = 0

    def begin(self) -> None:
        """Go to the mall."""
        self.tell(self._mall, ("meet", self._colour, self.me))

    def meet(self, colour: int, creature: Any) -> None:
        """Change both to the third colour, if their colours differ."""
        if self._colour != colour:
            self._colour = COLOURS - self._colour - colour
        self._met += 1
        self.tell(creature, ("change", self._colour))
        self.tell(self._mall, ("meet", self._colour, self.me))

    def change(self, colour: int) -> None:
        """Take the colour that the other creature computed."""
        self._colour = colour
        self._met += 1
        self.tell(self._mall, ("meet", self._colour, self.me))

    def close(self) -> None:
        """Report."""
        self.tell(self._collector, ("report", {"met": self._met}))


class Member(Role):
    """Pings others, one at a time, and answers their pings."""

    def __init__(self, collector: Any, number: int, pings: int) -> None:
        self._collector = collector
        self._random = random.Random(number)
        self._pings_left = pings
        self._pongs = 0
        self._answered = 0
        self._members: list[Any] = []

    def join(self, members: list[Any]) -> None:
        """Learn who there is."""
        self._members = members

    def begin(self) -> None:
        """Send a ping."""
        self._pings_left -= 1
        member = self._members[int(self._random.random() * len(self._members))]
        self.tell(member, ("ping", self.me))

    def pong(self) -> None:
        """Send the next, or report."""
        self._pongs += 1
        if self._pings_left:
            self.begin()
        else:
            self.tell(self._collector, ("report", {"pongs": self._pongs}))

    def ping(self, sender: Any) -> None:
        """Answer it."""
        self._answered += 1
        self.tell(sender, ("pong",))

    def read(self, reader: Any) -> None:
        """Report the number of answered pings."""
        self.tell(reader, ("report", {"pings": self._answered}))


class Dictionary(Role):
    """Keeps values by key."""

    def __init__(self) -> None:
        self._values: dict[int, int] = {}
        self._reads = self._writes = 0

    def lookup(self, sender: Any, key: int) -> None:
        """The value at a key."""
        self._reads += 1
        self.tell(sender, ("result", self._values.get(key)))

    def write(self, sender: Any, key: int, value: int) -> None:
        """Set another value."""
        self._writes += 1
        before = self._values.get(key)
        self._values[key] = value
        self.tell(sender, ("result", before))

    def read(self, reader: Any) -> None:
        """Report the contents."""
        counts = {
            "reads": self._reads,
            "writes": self._writes,
            "entries": len(self._values),
            "values": sum(self._values.values()),
        }
        self.tell(reader, ("report", counts))


class Reader(Role):
    """Reads and writes, one operation after another."""

    def __init__(self, collector: Any, dictionary: Any, number: int, operations: int) -> None:
        self._collector = collector
        self._dictionary = dictionary
        self._number = number
        self._operations = operations
        self._operation = 0

    def begin(self) -> None:
        """Do the next operation."""
        key = key_of(self._number, self._operation)
        if is_write(self._operation):
            self.tell(self._dictionary, ("write", self.me, key, key))
        else:
            self.tell(self._dictionary, ("lookup", self.me, key))

    def result(self, value: int | None) -> None:
        """Go on, or report."""
        self._operation += 1
        if self._operation < self._operations:
            self.begin()
        else:
            self.tell(self._collector, ("report", {}))


class Buffer(Role):
    """Holds at most `capacity` items."""

    def __init__(self, collector: Any, sizes: Mapping[str, int]) -> None:
        self._collector = collector
        self._capacity = sizes["capacity"]
        self._full_at = sizes["capacity"] - sizes["producers"]
        self._items_left = sizes["producers"] * sizes["items"]
        self._consumers = sizes["consumers"]
        self._values: deque[int] = deque()
        self._largest = 0
        self._waiting: deque[Any] = deque()
        self._idle: deque[Any] = deque()

    def item(self, value: int, producer: Any) -> None:
        """Pass the item on or keep it. Let its producer continue while there is room."""
        if self._idle:
            self._hand_out(self._idle.popleft(), value)
        else:
            self._values.append(value)
            self._largest = max(self._largest, len(self._values))
        if len(self._values) >= self._full_at:
            self._waiting.append(producer)
        else:
            self.tell(producer, ("produce",))

    def available(self, consumer: Any) -> None:
        """Give the consumer an item, now or when there is one."""
        if self._values:
            self._hand_out(consumer, self._values.popleft())
            if self._waiting:
                self.tell(self._waiting.popleft(), ("produce",))
            return
        self._idle.append(consumer)
        if not self._items_left and len(self._idle) == self._consumers:
            for waiting in self._idle:
                self.tell(waiting, ("close",))
            over = int(self._largest > self._capacity)
            self.tell(self._collector, ("report", {"over_capacity": over}))

    def _hand_out(self, consumer: Any, value: int) -> None:
        self._items_left -= 1
        self.tell(consumer, ("consume", value))


class Producer(Role):
    """Produces one item on each request."""

    def __init__(self, buffer: Any, number: int, items: int) -> None:
        self._buffer = buffer
        self._values = iter(range(number * items, (number + 1) * items))

    def produce(self) -> None:
        """Produce the next item, if any."""
        value = next(self._values, None)
        if value is not None:
            self.tell(self._buffer, ("item", value, self.me))


class Consumer(Role):
    """Consumes, and asks for more."""

    def __init__(self, collector: Any, buffer: Any) -> None:
        self._collector = collector
        self._buffer = buffer
        self._consumed = 0
        self._values = 0

    def begin(self) -> None:
        """Ask for the first item."""
        self.tell(self._buffer, ("available", self.me))

    def consume(self, value: int) -> None:
        """Count the item, and ask for the next."""
        self._consumed += 1
        self._values += value
        self.tell(self._buffer, ("available", self.me))

    def close(self) -> None:
        """Report."""
        counts = {"consumed": self._consumed, "values": self._values}
        self.tell(self._collector, ("report", counts))


class Arbiter(Role):
    """Knows which forks are taken."""

    def __init__(self, seats: int) -> None:
        self._taken = [False] * seats

    def hungry(self, philosopher: Any, seat: int) -> None:
        """Give both forks, or none."""
        left, right = seat, (seat + 1) % len(self._taken)
        if self._taken[left] or self._taken[right]:
            self.tell(philosopher, ("begin",))
            return
        self._taken[left] = self._taken[right] = True
        self.tell(philosopher, ("eat",))

    def sated(self, seat: int) -> None:
        """Take the forks back."""
        self._taken[seat] = self._taken[(seat + 1) % len(self._taken)] = False


class Philosopher(Role):
    """Eats a number of meals."""

    def __init__(self, collector: Any, arbiter: Any, seat: int, meals: int) -> None:
        self._collector = collector
        self._arbiter = arbiter
        self._seat = seat
        self._meals = meals
        self._eaten = 0

    def begin(self) -> None:
        """Ask for forks, for the first time or after a refusal."""
        self.tell(self._arbiter, ("hungry", self.me, self._seat))

    def eat(self) -> None:
        """Eat one meal."""
        self._eaten += 1
        self.tell(self._arbiter, ("sated", self._seat))
        if self._eaten < self._meals:
            self.begin()
        else:
            self.tell(self._collector, ("report", {"meals": self._eaten}))


class WaitingRoom(Role):
    """Has a number of chairs."""

    def __init__(self, chairs: int) -> None:
        self._chairs = chairs
        self._customers: deque[Any] = deque()
        self._barber: Any = None
        self._barber_sleeps = True

    def assign_barber(self, barber: Any) -> None:
        """Note the barber."""
        self._barber = barber

    def enter(self, customer: Any) -> None:
        """Give the customer a chair, if one is free."""
        if len(self._customers) == self._chairs:
            self.tell(customer, ("full",))
            return
        self._customers.append(customer)
        if self._barber_sleeps:
            self._barber_sleeps = False
            self.tell(self.me, ("next",))
        else:
            self.tell(customer, ("wait",))

    def next(self) -> None:
        """Send the next customer to the barber, or let the barber sleep."""
        if self._customers:
            self.tell(self._barber, ("serve", self._customers.popleft()))
        else:
            self._barber_sleeps = True
            self.tell(self._barber, ("wait",))


class Barber(Role):
    """Cuts hair, or sleeps."""

    def __init__(self, room: Any) -> None:
        self._room = room

    def serve(self, customer: Any) -> None:
        """One haircut."""
        self.tell(customer, ("wait",))
        self.tell(customer, ("done",))
        self.tell(self._room, ("next",))

    def wait(self) -> None:
        """Sleep until there is a customer."""


class Customer(Role):
    """Wants one haircut."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory

    def full(self) -> None:
        """Try again later."""
        self.tell(self._factory, ("returned", self.me))

    def wait(self) -> None:
        """Wait on a chair, or sit on the barber's chair."""

    def done(self) -> None:
        """Report, and stop."""
        self.tell(self._factory, ("served",))
        self.leave()


class Factory(Role):
    """Makes customers, at most `at_once` at the same time."""

    def __init__(self, collector: Any, room: Any, sizes: Mapping[str, int]) -> None:
        self._collector = collector
        self._room = room
        self._customers = self._unmade = sizes["customers"]
        self._at_once = min(sizes["at_once"], sizes["customers"])
        self._haircuts = 0

    def begin(self) -> None:
        """Make the first customers."""
        for _ in range(self._at_once):
            self._make()

    def _make(self) -> None:
        self._unmade -= 1
        self.spawn(Customer, self.me)

    def spawned(self, customer: Any) -> None:
        """Send the customer in."""
        self.tell(self._room, ("enter", customer))

    def returned(self, customer: Any) -> None:
        """Send the customer in again."""
        self.tell(self._room, ("enter", customer))

    def served(self) -> None:
        """Make another customer, or report."""
        self._haircuts += 1
        if self._unmade:
            self._make()
        elif self._haircuts == self._customers:
            self.tell(self._collector, ("report", {"haircuts": self._haircuts}))


class SmokeArbiter(Role):
    """Chooses who smokes next."""

    def __init__(self, collector: Any, turns: int) -> None:
        self._collector = collector
        self._turns = turns
        self._turn = 0
        self._smokers: list[Any] = []

    def meet(self, smokers: list[Any]) -> None:
        """Learn who there is."""
        self._smokers = smokers

    def begin(self) -> None:
        """Begin the next turn."""
        smoker = self._smokers[smoker_of(self._turn, len(self._smokers))]
        self.tell(smoker, ("smoke",))

    def smoking(self) -> None:
        """Go on, or report."""
        self._turn += 1
        if self._turn < self._turns:
            self.begin()
        else:
            self.tell(self._collector, ("report", {"smoked": self._turn}))


class Smoker(Role):
    """Smokes on request."""

    def __init__(self, arbiter: Any, place: int) -> None:
        self._arbiter = arbiter
        self._place = place
        self._times = 0

    def smoke(self) -> None:
        """Smoke once."""
        self._times += 1
        self.tell(self._arbiter, ("smoking",))

    def read(self, reader: Any) -> None:
        """Report the number of times."""
        self.tell(reader, ("report", {"by_smoker": (self._place + 1) * self._times}))
