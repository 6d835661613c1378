"""The lanes of one execution: which addresses can run its sub-tasks, and how they keep up.

A lane is an address that offers at least one of the kinds that the plan asks for. Lanes
come and go with the directory. A lane whose host is lost is given up at once, with what
ran there, and taken up again when the link to its slot is connected again.

Invariant: the core knows exactly the lanes that are `open` here, under the same id.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from callboard.messages.core.ref import Address

from ..kernel.host.host import Host
from ..scheduler.core import SchedulerCore
from .concurrency import Pace

__all__ = ["Lane", "LaneFigures", "Lanes"]


@dataclass(frozen=True, slots=True)
class LaneFigures:
    """One lane as it is measured."""

    lane: str
    agents: int
    credit: int
    under_way: int
    delivered: int
    rate_per_s: float
    round_trip_s: float


class Delivered(Protocol):
    """An attempt that has got its outcome."""

    @property
    def sent_s(self) -> float:
        """When it was sent."""

    @property
    def under_way(self) -> int:
        """How many attempts its lane held then, itself included."""


class Lane:
    """One address that runs attempts of this execution."""

    __slots__ = ("address", "delivered", "id", "is_lost", "latest", "offers", "pace", "started")

    def __init__(self, address: Address, agents: int, offers: frozenset[str]) -> None:
        self.id: Final = str(address)
        self.address: Final = address
        self.offers = offers
        self.pace: Final = Pace(agents)
        self.started = 0
        """Attempts given to it."""
        self.delivered = 0
        """Attempts of it that have an outcome."""
        self.latest: Delivered | None = None
        """The last call that got its outcome since the pace was looked at."""
        self.is_lost = False

    def figures(self) -> LaneFigures:
        """A frozen picture of it."""
        pace = self.pace
        return LaneFigures(
            self.id,
            pace.agents,
            pace.credit,
            self.started - self.delivered,
            self.delivered,
            pace.rate_per_s,
            pace.round_trip_s,
        )


class Lanes:
    """All lanes of one execution, and the core kept informed about them."""

    __slots__ = ("_down", "_host", "_kinds", "_seen", "open")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._kinds: set[str] = set()
        self._seen = (-1, 0)
        self._down: set[Address] = set()
        self.open: dict[str, Lane] = {}

    def want(self, kind: str) -> None:
        """The plan asks for this kind."""
        self._kinds.add(kind)

    @property
    def some_are_down(self) -> bool:
        """Whether the host of a lane is lost and may come back."""
        return bool(self._down)

    def is_offered(self, kind: str) -> bool:
        """Whether the directory knows somebody, reachable or not."""
        return bool(self._addresses(kind))

    def offered_kinds(self) -> tuple[str, ...]:
        """Which of the plan's kinds somebody offers."""
        return tuple(sorted(kind for kind in self._kinds if self._addresses(kind)))

    def _addresses(self, kind: str) -> Iterable[Address]:
        directory = self._host.directory
        offers = directory.offers(kind)
        if offers:
            return offers
        named = directory.find(kind)
        return () if named is None else (named,)

    def refresh(self, core: SchedulerCore) -> None:
        """Take over what the directory says now; nothing to do when nothing has changed."""
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
        for lane in [lane for lane in self.open.values() if lane.address not in offers]:
            if lane.pace.credit:
                # Nothing new for it; what runs there may finish.
                core.lane_available(lane.id, 0)
                lane.offers = frozenset()

    def _offer(self, core: SchedulerCore, address: Address, kinds: frozenset[str]) -> None:
        if address in self._down:
            if self._host.link(address.slot).carrier is None:
                return
            self._down.discard(address)
        lane = self.open.get(str(address))
        if lane is None:
            lane = Lane(address, self._host.directory.size_of(address), kinds)
            self.open[lane.id] = lane
        elif lane.offers == kinds:
            return
        lane.offers = kinds
        core.lane_available(lane.id, lane.pace.credit, kinds)

    def lost(self, lane: Lane) -> None:
        """The lane's host is gone; a new lane takes its place when the slot is back."""
        lane.is_lost = True
        self.open.pop(lane.id, None)
        self._down.add(lane.address)

    def set_pace(self, core: SchedulerCore, lane: Lane, now: float) -> None:
        """Fit the credit of a lane to what came back since the last look."""
        latest, lane.latest = lane.latest, None
        if latest is None or lane.is_lost or not lane.offers:
            return
        before = lane.pace.credit
        credit = lane.pace.came_back(
            now,
            sent_s=latest.sent_s,
            delivered=lane.delivered,
            was_busy=latest.under_way >= lane.pace.agents,
        )
        if credit != before:
            core.lane_available(lane.id, credit)
