"""The meter: what actors and drivers measure with. The wiring gives each host its own.

    class Reviewer(Agent):
        async def started(self, ctx: Context) -> None:
            self.took = ctx.meter.bind_histogram("review_seconds", kind="python")

        @handler
        async def review(self, request: Review, ctx: Context) -> Findings:
            ctx.meter.count("reviews_total")
            ...
            self.took.observe(seconds)

A bound instrument is a series that was looked up once, for paths where that counts.

Binding raises `UsageError` for a wrong name or tag. Nothing else raises: what is wrong is dropped
and counted, because a measurement must not harm what is measured. Any thread may use a meter and
its instruments.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

__all__ = ["Counter", "Gauge", "Histogram", "Instrument", "Meter", "NoMeter"]


class Counter(Protocol):
    """A bound series that counts."""

    def add(self, amount: float = 1.0) -> None:
        """Count so many more; a negative amount is dropped."""


class Gauge(Protocol):
    """A bound series of a value that goes up and down."""

    def set(self, value: float) -> None:
        """Note the present value. Of several within a second, the last one counts."""


class Histogram(Protocol):
    """A bound series of measurements, such as durations in seconds."""

    def observe(self, value: float) -> None:
        """Note one measurement."""


Instrument: TypeAlias = Counter | Gauge | Histogram


class Meter(Protocol):
    """Records points of any number of series."""

    @property
    def is_on(self) -> bool:
        """Whether points are recorded: False saves a measurement that costs something."""

    def count(self, name: str, amount: float = 1.0, /, **tags: str) -> None:
        """Count so many more. By convention the name ends with `_total`."""

    def observe(self, name: str, value: float, /, **tags: str) -> None:
        """Note one measurement, for sums, averages and quantiles."""

    def gauge(self, name: str, value: float, /, **tags: str) -> None:
        """Note the present value of something that goes up and down."""

    def bind_counter(self, name: str, /, **tags: str) -> Counter:
        """The series of `count`, looked up once. Raises `UsageError`."""

    def bind_histogram(self, name: str, /, **tags: str) -> Histogram:
        """The series of `observe`, looked up once. Raises `UsageError`."""

    def bind_gauge(self, name: str, /, **tags: str) -> Gauge:
        """The series of `gauge`, looked up once. Raises `UsageError`."""

    def record(
        self,
        instruments: Instrument | Sequence[Instrument],
        times_ns: Any,
        values: Any,
        which: Any = None,
    ) -> int:
        """Record columns of points of bound series; gives how many of them had room.

        `times_ns` and `values` are arrays of the same length. With several instruments, `which`
        has for each point the place of its own. Counters get increases. The arrays are copied.
        """

    async def until_room(self, timeout_s: float) -> bool:
        """Wait until at least half of the room for points is free; False if it is not in time."""

    def statistics(self) -> Mapping[str, float]:
        """The points so far: recorded, dropped by reason, and waiting."""


class _Nothing:
    __slots__ = ("_meter",)

    def __init__(self, meter: "NoMeter") -> None:
        self._meter = meter

    def add(self, amount: float = 1.0) -> None:
        self._meter.unrecorded += 1

    def set(self, value: float) -> None:
        self._meter.unrecorded += 1

    def observe(self, value: float) -> None:
        self._meter.unrecorded += 1


class NoMeter:
    """The meter of a host that has none: it drops all points, and counts them."""

    def __init__(self) -> None:
        self.unrecorded = 0
        self._nothing = _Nothing(self)

    @property
    def is_on(self) -> bool:
        """See `Meter`."""
        return False

    def count(self, name: str, amount: float = 1.0, /, **tags: str) -> None:
        """See `Meter`."""
        self.unrecorded += 1

    def observe(self, name: str, value: float, /, **tags: str) -> None:
        """See `Meter`."""
        self.unrecorded += 1

    def gauge(self, name: str, value: float, /, **tags: str) -> None:
        """See `Meter`."""
        self.unrecorded += 1

    def bind_counter(self, name: str, /, **tags: str) -> Counter:
        """See `Meter`."""
        return self._nothing

    def bind_histogram(self, name: str, /, **tags: str) -> Histogram:
        """See `Meter`."""
        return self._nothing

    def bind_gauge(self, name: str, /, **tags: str) -> Gauge:
        """See `Meter`."""
        return self._nothing

    def record(
        self,
        instruments: Instrument | Sequence[Instrument],
        times_ns: Any,
        values: Any,
        which: Any = None,
    ) -> int:
        """See `Meter`."""
        self.unrecorded += len(values)
        return 0

    async def until_room(self, timeout_s: float) -> bool:
        """See `Meter`."""
        return True

    def statistics(self) -> Mapping[str, float]:
        """See `Meter`."""
        return {"dropped_off": float(self.unrecorded)}
