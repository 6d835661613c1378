"""The executors of one execution: the addresses that run its sub-tasks, and their figures.

An executor is an address that offers at least one kind of the plan. Executors come and go with
the directory. An executor whose host is lost is dropped at once, with its attempts, and added
again when the link to its slot is connected again.

Invariant: the core has exactly the executors in `open`, under the same ids.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from callboard.messages.core.ref import Address

from ..kernel.host.host import Host
from ..scheduler.core import SchedulerCore
from .concurrency import ConcurrencyControl

__all__ = ["Executor", "ExecutorFigures", "Executors"]


@dataclass(frozen=True, slots=True)
class ExecutorFigures:
    """The figures of one executor; times in seconds."""

    executor: str
    """Its address: slot and cell."""
    agents: int
    """Agents behind it."""
    credit: int
    """Attempts that it may have at once."""
    under_way: int
    """Attempts sent to it that have no outcome yet."""
    delivered: int
    """Attempts with an outcome."""
    rate_per_s: float
    """Outcomes in a second; rises at once, and sinks slowly."""
    round_trip_s: float
    """Time from the sending of an attempt to its outcome; sinks at once, and rises slowly."""


class Delivered(Protocol):
    """An attempt with an outcome."""

    @property
    def sent_s(self) -> float:
        """The time at which it was sent."""

    @property
    def under_way(self) -> int:
        """The attempts that its executor held then, itself included."""


class Executor:
    """One address that runs attempts of this execution."""

    __slots__ = (
        "address",
        "concurrency",
        "delivered",
        "id",
        "is_lost",
        "latest",
        "offers",
        "started",
    )

    def __init__(self, address: Address, agents: int, offers: frozenset[str]) -> None:
        self.id: Final = str(address)
        self.address: Final = address
        self.offers = offers
        self.concurrency: Final = ConcurrencyControl(agents)
        self.started = 0
        """Attempts that it got."""
        self.delivered = 0
        """Attempts with an outcome."""
        self.latest: Delivered | None = None
        """The last attempt with an outcome since the last `set_concurrency`."""
        self.is_lost = False

    def figures(self) -> ExecutorFigures:
        """The executor's figures now."""
        concurrency = self.concurrency
        return ExecutorFigures(
            self.id,
            concurrency.agents,
            concurrency.credit,
            self.started - self.delivered,
            self.delivered,
            concurrency.rate_per_s,
            concurrency.round_trip_s,
        )


class Executors:
    """All executors of one execution; keeps the core informed of them."""

    __slots__ = ("_down", "_host", "_kinds", "_seen", "open")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._kinds: set[str] = set()
        self._seen = (-1, 0)
        self._down: set[Address] = set()
        self.open: dict[str, Executor] = {}

    def want(self, kind: str) -> None:
        """Add a kind that the plan needs."""
        self._kinds.add(kind)

    @property
    def some_are_down(self) -> bool:
        """Whether an executor's host is lost and may be replaced."""
        return bool(self._down)

    def is_offered(self, kind: str) -> bool:
        """Whether the directory has an offer for the kind, reachable or not."""
        return bool(self._addresses(kind))

    def offered_kinds(self) -> tuple[str, ...]:
        """The kinds of the plan that the directory has offers for."""
        return tuple(sorted(kind for kind in self._kinds if self._addresses(kind)))

    def _addresses(self, kind: str) -> Iterable[Address]:
        directory = self._host.directory
        offers = directory.offers(kind)
        if offers:
            return offers
        named = directory.find(kind)
        return () if named is None else (named,)

    def refresh(self, core: SchedulerCore) -> None:
        """Update the executors from the directory, if it has changed."""
        seen = (self._host.directory.version, len(self._kinds))
        if seen == self._seen and not self._down:
            return
        self._seen = seen
        offers: dict[Address, set[str]] = {}
        for kind in self._kinds:
            for address in self._addresses(kind):
                offers.setdefault(address, set()).add(kind)
        self._down &= offers.keys()
        for address, kinds in offers.items():
            self._offer(core, address, frozenset(kinds))
        for executor in [
            executor for executor in self.open.values() if executor.address not in offers
        ]:
            if executor.concurrency.credit:
                # It gets no more attempts; those that run there may finish.
                core.executor_available(executor.id, 0)
                executor.offers = frozenset()

    def _offer(self, core: SchedulerCore, address: Address, kinds: frozenset[str]) -> None:
        if address in self._down:
            if self._host.link(address.slot).carrier is None:
                return
            self._down.discard(address)
        executor = self.open.get(str(address))
        if executor is None:
            executor = Executor(address, self._host.directory.size_of(address), kinds)
            self.open[executor.id] = executor
        elif executor.offers == kinds:
            return
        executor.offers = kinds
        core.executor_available(executor.id, executor.concurrency.credit, kinds)

    def lost(self, executor: Executor) -> None:
        """Drop an executor with a lost host; a new one follows when its slot is connected."""
        executor.is_lost = True
        self.open.pop(executor.id, None)
        self._down.add(executor.address)

    def set_concurrency(self, core: SchedulerCore, executor: Executor, now: float) -> None:
        """Set the credit of an executor by its outcomes since the last call."""
        latest, executor.latest = executor.latest, None
        if latest is None or executor.is_lost or not executor.offers:
            return
        before = executor.concurrency.credit
        credit = executor.concurrency.came_back(
            now,
            sent_s=latest.sent_s,
            delivered=executor.delivered,
            was_busy=latest.under_way >= executor.concurrency.agents,
        )
        if credit != before:
            core.executor_available(executor.id, credit)
