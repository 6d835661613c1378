"""The meter of a host: its series, and the points that wait for the next flush.

Invariants: at most `points_max` points wait as columns, and as many in all instruments together
(with very many series half of `ITEMS_MIN` in each); every point that does not get out again is
counted with its reason; a series has one instrument.

A series that nobody uses for `idle_flushes_max` flushes takes no room: its number is free for
another one, and it gets a new one with its next point.

Points of counters are summed up for each second, and of a gauge's points the last one of a second
is kept: a counter in a tight loop costs an aggregator one point a second.
"""

import array
import asyncio
import contextlib
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from callboard.messages.core.errors import UsageError

from ...kernel.inspection.meter import Histogram, Instrument
from ..series import MetricKind, SeriesKey, series_key
from .columns import NO_POINTS, PointColumns
from .instruments import (
    ITEMS_MAX,
    ITEMS_MIN,
    KINDS,
    NO_NUMBER,
    Bound,
    BoundCounter,
    BoundGauge,
    BoundHistogram,
)
from .options import RecordingLimits
from .summing import last_of_each_second, sums_of_each_second

__all__ = ["OVERFLOW_TAG", "HostMeter"]

LOGGER: Final = logging.getLogger("callboard.metrics")
OVERFLOW_TAG: Final = "overflow"
"""The tag of the one series that gets the points of all series over a limit."""
OVERFLOWS_MAX: Final = 1_000
"""Metrics with an overflow series of their own."""
OVERFLOW_NAME: Final = "callboard_metrics_overflow"
"""The metric of the points of all others."""
SETTLE_S: Final = 1.0
"""No thread takes longer to add a point that it has begun to add, while flushes go on."""
LOOKUPS_PER_SERIES: Final = 4
"""Lookups of one series that are remembered: its tags may come in several orders."""

BoundT = TypeVar("BoundT", bound=Bound)
OnExample: TypeAlias = Callable[[SeriesKey, float, float, str, str], None]
"""What gets examples: series, value, seconds since 1970, execution and step."""


class _Chunk(NamedTuple):
    numbers: npt.NDArray[np.int32]
    times_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def at(self, places: Any) -> "_Chunk":
        return _Chunk(self.numbers[places], self.times_ns[places], self.values[places])


class HostMeter:
    """The `Meter` of one host. It begins off: points are dropped and counted until `start`."""

    def __init__(
        self,
        now: Callable[[], float],
        limits: RecordingLimits = RecordingLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._now: Final = now
        self._limits: Final = limits
        self._lock: Final = threading.Lock()
        """Held for everything but the lists of instruments, which are extended without it."""
        self._bound: Final[list[Bound]] = []
        """Instruments by their numbers; in the place of a free number is its last one."""
        self._free: Final[list[int]] = []
        self._idle: list[Bound] = []
        """Instruments that lose their numbers at a next flush, unless a point comes."""
        self._idle_since_s = now()
        self._forgotten = 0
        self._by_key: Final[dict[SeriesKey, Bound]] = {}
        self._keys: Final[list[SeriesKey]] = []
        self._counters: Final[dict[Any, BoundCounter]] = {}
        """By name and tags as they are given; the same for the other kinds."""
        self._histograms: Final[dict[Any, BoundHistogram]] = {}
        self._gauges: Final[dict[Any, BoundGauge]] = {}
        self._of_metric: Final[Counter[tuple[MetricKind, str]]] = Counter()
        self._overflows: Final[dict[tuple[MetricKind, str], Bound]] = {}
        self._is_on = False
        self._items_max = 0
        self._chunks: deque[_Chunk] = deque()
        self._waiting = 0
        self._dropped: Final[Counter[str]] = Counter()
        self._off = 0
        """Points that instruments dropped while the meter was off."""
        self._taken = 0
        self._rooms: list[asyncio.Future[None]] = []
        self._has_warned = False
        self.on_pressure: Callable[[], None] | None = None
        """Called, in any thread, when half of the room is used."""
        self.on_example: OnExample | None = None
        self.has_way: Callable[[], bool] = lambda: True
        """Whether points that are taken have room on their way."""

    # --- on and off -------------------------------------------------------------------------

    def start(self) -> None:
        """Record from now on."""
        with self._lock:
            self._is_on = True
            self._share_room()

    def stop(self) -> None:
        """Record nothing from now on, and drop what waits."""
        with self._lock:
            self._is_on = False
            self._share_room()
        left = self.take().points
        with self._lock:
            self._dropped["off"] += left
            self._taken -= left

    def _share_room(self) -> None:
        """Give each instrument its part of the room: the more there are, the less each has."""
        items = self._limits.points_max // max(1, len(self._bound))
        self._items_max = min(ITEMS_MAX, max(ITEMS_MIN, items)) if self._is_on else 0
        for bound in self._numbered():
            bound.items_max = self._items_max

    @property
    def is_on(self) -> bool:
        """See `Meter`."""
        return self._is_on

    # --- single points ----------------------------------------------------------------------

    def count(self, name: str, amount: float = 1.0, /, **tags: str) -> None:
        """See `Meter`."""
        try:
            bound = self._counters[(name, *tags.items())]
        except (KeyError, TypeError):
            bound = self._found(self._counters, MetricKind.COUNTER, name, tags)
        if bound is not None:
            bound.add(amount)

    def observe(self, name: str, value: float, /, **tags: str) -> None:
        """See `Meter`."""
        try:
            bound = self._histograms[(name, *tags.items())]
        except (KeyError, TypeError):
            bound = self._found(self._histograms, MetricKind.OBSERVATION, name, tags)
        if bound is not None:
            bound.observe(value)

    def gauge(self, name: str, value: float, /, **tags: str) -> None:
        """See `Meter`."""
        try:
            bound = self._gauges[(name, *tags.items())]
        except (KeyError, TypeError):
            bound = self._found(self._gauges, MetricKind.GAUGE, name, tags)
        if bound is not None:
            bound.set(value)

    def _found(
        self, known: dict[Any, Any], kind: MetricKind, name: str, tags: dict[str, str]
    ) -> Any:
        """Bind a series at its first use; None for one that has no proper name."""
        try:
            bound = self._bind(kind, name, tags)
        except UsageError as error:
            with self._lock:
                self._dropped["name"] += 1
            if not self._has_warned:
                self._has_warned = True
                LOGGER.warning("a point is dropped, and so are others like it: %s", error)
            return None
        with self._lock:
            if len(known) >= LOOKUPS_PER_SERIES * self._limits.series_max:
                known.clear()
            known[(name, *tags.items())] = bound
        return bound

    def bind_counter(self, name: str, /, **tags: str) -> BoundCounter:
        """See `Meter`."""
        return _checked(self._bind(MetricKind.COUNTER, name, tags), BoundCounter)

    def bind_histogram(self, name: str, /, **tags: str) -> BoundHistogram:
        """See `Meter`."""
        return _checked(self._bind(MetricKind.OBSERVATION, name, tags), BoundHistogram)

    def bind_gauge(self, name: str, /, **tags: str) -> BoundGauge:
        """See `Meter`."""
        return _checked(self._bind(MetricKind.GAUGE, name, tags), BoundGauge)

    def _bind(self, kind: MetricKind, name: str, tags: Mapping[str, str]) -> Bound:
        key = series_key(kind, name, tags)
        with self._lock:
            found = self._by_key.get(key)
            if found is not None:
                return found
            metric = (kind, name)
            if self._has_room_for(metric):
                self._of_metric[metric] += 1
                bound = self._by_key[key] = self._made(key)
                return bound
            return self._overflow(metric)

    def _has_room_for(self, metric: tuple[MetricKind, str]) -> bool:
        limits = self._limits
        return (
            len(self._by_key) < limits.series_max
            and self._of_metric[metric] < limits.series_of_metric_max
        )

    def _overflow(self, metric: tuple[MetricKind, str]) -> Bound:
        found = self._overflows.get(metric)
        if found is not None:
            return found
        kind, name = metric
        tags = {OVERFLOW_TAG: "true"}
        if len(self._overflows) >= OVERFLOWS_MAX:
            name = OVERFLOW_NAME
            shared = self._overflows.get((kind, name))
            if shared is not None:
                return shared
        made = self._overflows[kind, name] = self._made(series_key(kind, name, tags))
        LOGGER.warning(
            "metric %s has too many series for this host (%s); further ones are recorded as "
            '%s{%s="true"}. Give tags few values.',
            metric[1], self._widest_tag(metric), name, OVERFLOW_TAG,
        )  # fmt: skip
        return made

    def _made(self, key: SeriesKey) -> Bound:
        bound = KINDS[key.kind](self, NO_NUMBER, key, self._now, self._items_max)
        self._enter(bound)
        return bound

    def _enter(self, bound: Bound) -> None:
        """Give an instrument a number."""
        bound.items_max, bound.idle_flushes = self._items_max, 0
        if self._free:
            bound.number = self._free.pop()
            self._bound[bound.number], self._keys[bound.number] = bound, bound.key
            return
        bound.number = len(self._bound)
        self._bound.append(bound)
        self._keys.append(bound.key)
        if not len(self._bound) & (len(self._bound) - 1):  # At each power of two.
            self._share_room()

    def _forget_idle(self, numbered: Sequence[Bound], is_used: Sequence[bool]) -> None:
        """Take their numbers from instruments that were not used for long, in two flushes.

        From the first one on they ask for room at their next point, and stay. The second one comes
        `SETTLE_S` later, when a point that another thread was just adding has come.
        """
        limit, gone = self._limits.idle_flushes_max, self._forgotten
        for bound, was_used in zip(numbered, is_used, strict=True):
            bound.idle_flushes = 0 if was_used else bound.idle_flushes + 1
        now_s = self._now()
        if abs(now_s - self._idle_since_s) < SETTLE_S:
            return
        self._idle_since_s = now_s
        for bound in self._idle:
            if bound.idle_flushes < limit or bound.items_max:
                bound.items_max = self._items_max
                continue
            self._free.append(bound.number)
            bound.number = NO_NUMBER
            self._forgotten += 1
            metric = (bound.key.kind, bound.key.name)
            if self._by_key.pop(bound.key, None) is not None:
                self._of_metric[metric] -= 1
            else:
                self._overflows.pop(metric, None)
        self._idle = [bound for bound in self._numbered() if bound.idle_flushes >= limit]
        for bound in self._idle:
            bound.items_max = 0
        if self._forgotten > gone:
            for known in (self._counters, self._histograms, self._gauges):
                for name in [name for name, each in known.items() if each.number == NO_NUMBER]:
                    del known[name]

    def _numbered(self) -> list[Bound]:
        # By place: an instrument that came back may also stand in the place of its old number.
        return [bound for place, bound in enumerate(self._bound) if bound.number == place]

    def _used(self, bound: Bound) -> Bound:
        """The instrument that records the points of another one: nearly always itself.

        Somebody may have kept an instrument that was idle for long. It gets a number again. If
        its series has another instrument by now, or has no room, that one gets its points.
        """
        owner: Bound = bound
        if bound.number == NO_NUMBER:
            metric = (bound.key.kind, bound.key.name)
            known = self._by_key.get(bound.key)
            if known is None and self._has_room_for(metric):
                self._of_metric[metric] += 1
                self._by_key[bound.key] = bound
                self._enter(bound)
            else:
                owner = known or self._overflow(metric)
                if bound.items is not owner.items:
                    owner.items += bound.items
                    bound.items = owner.items
        owner.idle_flushes = 0
        owner.items_max = self._items_max
        return owner

    def _widest_tag(self, metric: tuple[MetricKind, str]) -> str:
        """The tag of a metric with the most values, for people."""
        values: dict[str, set[str]] = {}
        for key in self._by_key:
            if (key.kind, key.name) == metric:
                for tag, value in key.tags:
                    values.setdefault(tag, set()).add(value)
        if not values:
            return f"the host has {len(self._by_key):,} series"
        tag = max(values, key=lambda each: len(values[each]))
        return f"its tag {tag!r} has {len(values[tag]):,} values"

    def exemplify(self, of: Histogram, value: float, execution: str, step: str) -> None:
        """See `Meter`."""
        if self.on_example is not None and isinstance(of, BoundHistogram):
            self.on_example(of.key, value, self._now(), execution, step)

    # --- columns of points --------------------------------------------------------------------

    def record(
        self,
        instruments: Instrument | Sequence[Instrument],
        times_ns: Any,
        values: Any,
        which: Any = None,
    ) -> int:
        """See `Meter`."""
        try:
            chunk = self._chunk_of(instruments, times_ns, values, which)
        except Exception:  # noqa: BLE001 - anything may be given as an array
            chunk = None
        with self._lock:
            if chunk is None:
                self._dropped["malformed"] += _length(values)
                return 0
            if not self._is_on:
                self._dropped["off"] += len(chunk.numbers)
                return 0
        return self._keep(chunk)

    def _chunk_of(self, instruments: Any, times_ns: Any, values: Any, which: Any) -> _Chunk | None:
        times = np.array(times_ns, np.int64)
        taken = np.array(values, np.float64)
        if times.ndim != 1 or times.shape != taken.shape:
            return None
        if isinstance(instruments, Bound):
            instruments = (instruments,)
        if not all(isinstance(each, Bound) and each.meter is self for each in instruments):
            return None
        with self._lock:
            numbers = np.array([self._used(each).number for each in instruments], np.int32)
        if which is None:
            if len(numbers) != 1:
                return None
            return _Chunk(np.full(len(times), numbers[0], np.int32), times, taken)
        places = np.asarray(which)
        if places.shape != times.shape or not np.issubdtype(places.dtype, np.integer):
            return None
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < len(numbers):
            return None
        return _Chunk(numbers[places], times, taken)

    def _keep(self, chunk: _Chunk) -> int:
        """Keep as many points as there is room for."""
        limit = self._limits.points_max
        with self._lock:
            before = self._waiting
            kept = max(0, min(len(chunk.numbers), limit - before))
            self._dropped["full"] += len(chunk.numbers) - kept
            if kept:
                self._chunks.append(chunk.at(slice(kept)))
            self._waiting = before + kept
        if self.on_pressure is not None and before < limit // 2 <= before + kept:
            self.on_pressure()
        return kept

    # --- points out ---------------------------------------------------------------------------

    def make_room(self, bound: Bound) -> bool:
        """See `MakesRoom`."""
        if not self._is_on:
            self._off += 1  # Without the lock: nothing depends on the exact number.
            return False
        with self._lock:
            owner = self._used(bound)
            is_full = len(owner.items) >= self._items_max
            chunk = self._columns_of([owner]) if is_full else None
        if chunk is not None:
            self._keep(chunk)
        return True

    def take(self) -> PointColumns:
        """Take all points; call it on the event loop."""
        with self._lock:
            parts = [*self._chunks]
            self._chunks.clear()
            self._waiting = 0
            numbered = self._numbered()
            is_used = [bool(bound.items) for bound in numbered]
            for kind in KINDS.values():
                full = [bound for bound in numbered if type(bound) is kind and bound.items]
                if full:
                    parts.append(self._columns_of(full))
            taken = sum(len(part.numbers) for part in parts)
            self._taken += taken
            keys = tuple(self._keys)
            self._forget_idle(numbered, is_used)
        if not taken:
            return NO_POINTS
        return PointColumns(
            keys,
            np.concatenate([part.numbers for part in parts]),
            np.concatenate([part.times_ns for part in parts]),
            np.concatenate([part.values for part in parts]),
        ).compact()

    def _columns_of(self, full: Sequence[Bound]) -> _Chunk:
        """The points of instruments of one kind, as they are kept."""
        lists, counts = [], []
        for bound in full:
            count = len(bound.items)
            taken = bound.items[:count]
            del bound.items[:count]
            lists.append(taken)
            counts.append(count // 2)
        numbers = np.repeat(np.array([bound.number for bound in full], np.int32), counts)
        try:
            flat = array.array("d", lists[0] if len(lists) == 1 else _joined(lists))
        except Exception:  # noqa: BLE001 - a value may be anything
            flat, is_number = _numbers_in(_joined(lists))
            numbers = numbers[is_number]
            self._dropped["invalid"] += len(is_number) - len(numbers)
        pairs = np.frombuffer(flat, np.float64).reshape(-1, 2)
        times_ns = (pairs[:, 0] * 1e9).astype(np.int64)
        chunk = _Chunk(numbers, times_ns, pairs[:, 1].copy())
        kind = full[0].key.kind
        if kind is MetricKind.OBSERVATION:
            return chunk
        is_good = np.isfinite(chunk.values)
        if kind is MetricKind.COUNTER:
            is_good &= chunk.values >= 0.0
        if not is_good.all():
            self._dropped["invalid"] += int(np.count_nonzero(~is_good))
            chunk = chunk.at(is_good)
        reduce = sums_of_each_second if kind is MetricKind.COUNTER else last_of_each_second
        return _Chunk(*reduce(*chunk))

    # --- figures ------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether half of the room is free, here and on the way to the aggregators."""
        return self._waiting <= self._limits.points_max // 2 and self.has_way()

    async def until_room(self, timeout_s: float) -> bool:
        """See `Meter`."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        while not self.has_room:
            left_s = until_s - loop.time()
            if left_s <= 0.0:
                return False
            room: asyncio.Future[None] = loop.create_future()
            self._rooms.append(room)
            if self.on_pressure is not None:
                self.on_pressure()
            await asyncio.wait((room,), timeout=left_s)
        return True

    def room_changed(self) -> None:
        """Wake those that wait for room. The collector calls it, on the event loop."""
        if self._rooms and self.has_room:
            waiting, self._rooms = self._rooms, []
            for room in waiting:
                if not room.done():
                    room.set_result(None)

    def statistics(self) -> Mapping[str, float]:
        """See `Meter`: `series`, `waiting`, `taken`, and `dropped_REASON`."""
        with self._lock:
            return {
                "series": float(len(self._bound) - len(self._free)),
                "series_forgotten": float(self._forgotten),
                "waiting": float(
                    self._waiting + sum(len(bound.items) // 2 for bound in self._numbered())
                ),
                "taken": float(self._taken),
                **{
                    f"dropped_{reason}": float(count)
                    for reason, count in (self._dropped + Counter(off=self._off)).items()
                },
            }


def _checked(bound: Bound, kind: type[BoundT]) -> BoundT:
    assert isinstance(bound, kind)
    return bound


def _length(values: Any) -> int:
    try:
        return len(values)
    except Exception:  # noqa: BLE001 - anything may be given as an array
        return 1


def _joined(lists: Sequence[list[float]]) -> list[float]:
    """One list of the items of all."""
    return [item for each in lists for item in each]


def _numbers_in(items: Sequence[Any]) -> tuple["array.array[float]", npt.NDArray[np.bool_]]:
    """The pairs of items whose value is a number, and for each pair whether it is one."""
    flat = array.array("d")
    is_number = np.zeros(len(items) // 2, np.bool_)
    for pair in range(len(is_number)):
        with contextlib.suppress(Exception):
            flat.extend(array.array("d", items[2 * pair : 2 * pair + 2]))
            is_number[pair] = True
    return flat, is_number
