"""The core of a shard: batches of points in, windows out. Pure; `now_ns` is an argument.

A shell uses it like this, one batch or many between two commits:

    core = ShardWindows(settings)
    core.restore(state, log)              # from `MetricsStorage.claim`
    applied = core.apply(batch, now_ns)   # any number of times
    work = core.take_commit(now_ns)       # closes what is due
    storage.commit(shard, fence, log=work.log, windows=work.windows)   # or state=work.state
    PointsAccepted = core.accepted(source)   # only now may it be sent

What `apply` took is in no window of the store before `take_commit`, and `accepted` counts what
`apply` took, durable or not: answer after the commit. A commit that fails is repeated with the
same `Commit`; a core whose commit cannot be repeated is thrown away and restored.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from callboard.messages.storage.errors import StoreDamaged

from ..points import SOURCE_ENDED_NS, MetricSource, PointBatch, PointsAccepted
from ..rows import WindowRows
from ..series import Matcher
from .accounts import (
    Accounts,
    Applied,
    DropReason,
    LatePoints,
    Refusal,
    ShardWarning,
    Warned,
)
from .closing import Piece, close, rows_of, window_piece
from .directory import SeriesDirectory
from .encoding import keys_as_data, keys_of_data, read_windows, renumber, windows_as_data
from .gathering import Gathering
from .intake import Points, TimeBounds, in_time, points_of, sort_out
from .opened import OpenWindows
from .packing import pack, unpack
from .settings import DEFAULT_SETTINGS, FINEST_NS, WindowSettings
from .sources import NO_WATERMARK, SourceState, SourceStatus

__all__ = ["Commit", "ShardWindows", "WindowStatistics"]

Ints = npt.NDArray[np.int64]
SourceId = tuple[str, str]

NONE_YET: Final = -(2**63)
"""The watermark of a shard without sources."""
NUMBERS_MAX: Final = 1 << 62
FORGET_MIN: Final = 1_000
"""Series without windows and sources that a shard keeps, whatever their share of all series is."""
COUNTS: Final = (
    "arrived",
    "counted",
    "repeated",
    "late",
    "lost",
    "refused",
    "overflow_series",
    "watermarks_ignored",
)


class Commit(NamedTuple):
    """What the store gets in one transaction."""

    log: bytes
    """What changed since the last commit; empty when nothing did, or when `state` is there."""
    state: bytes | None
    """The whole state, which replaces the log; None for a commit that only appends to it."""
    windows: tuple[WindowRows, ...]
    """Closed and corrected windows, one `WindowRows` for each width that has some."""


class WindowStatistics(NamedTuple):
    """Figures of a shard."""

    series: int
    sources: int
    active_sources: int
    open_windows: int
    bins: int
    size_bytes: int
    watermark_ns: int | None
    """Windows that end before it are closed; None as long as no source has reported."""
    accounts: Accounts


class ShardWindows:
    """The windows of one shard."""

    def __init__(self, settings: WindowSettings = DEFAULT_SETTINGS) -> None:
        self.settings: Final = settings
        self.accounts: Final = Accounts()
        self._watermark_ns = NONE_YET
        self._opened = OpenWindows(settings)
        self._directory = SeriesDirectory(settings)
        self._gathering = Gathering(self._opened, self._directory)
        self._sources: dict[SourceId, SourceState] = {}
        self._changed: set[SourceId] = set()
        """Sources that reported, or changed otherwise, since the last commit."""
        self._forgotten: list[SourceId] = []
        self._stored_series = 0
        """The series that the store has."""
        self._stored_numbers: dict[SourceId, int] = {}
        self._stored_watermark_ns = NONE_YET
        self._late: deque[Points] = deque()
        """The side output; it is part of the state."""
        self._late_fresh: list[Points] = []
        """What is new in it since the last commit."""
        self._late_count = 0
        self.late_discarded = 0
        """Late points that had no room in the side output, since the first point of the shard."""
        self._warnings: list[ShardWarning] = []
        self.forgotten_series = 0
        """Series that had no window and no source any more; since this object was made."""
        self._is_restored = False
        """Whether sources have not been heard since the core was restored."""

    @property
    def watermark_ns(self) -> int | None:
        """Windows that end before it are closed; None as long as no source has reported."""
        return None if self._watermark_ns == NONE_YET else self._watermark_ns

    # --- points in ------------------------------------------------------------------------------

    def apply(self, batch: PointBatch, now_ns: int) -> Applied:
        """Take a batch. Never raises for what is in it: each point gets its outcome.

        An empty batch reports the source's watermark; with `SOURCE_ENDED_NS` the source says
        that it sends nothing more.
        """
        applied = self._apply(batch, now_ns)
        self.accounts.add(applied)
        return applied

    def _apply(self, batch: PointBatch, now_ns: int) -> Applied:
        if not (0 <= batch.sequence < NUMBERS_MAX and 0 <= batch.first_series < NUMBERS_MAX):
            return Applied(0, refusal=Refusal.WRONG_NUMBERS)
        if self._is_restored:
            self._wait_for_sources(now_ns)
        name = _id_of(batch.source)
        source = self._source(name, batch, now_ns)
        if source is None:
            return Applied(0, refusal=Refusal.TOO_MANY_SOURCES)
        self._changed.add(name)
        columns, count = points_of(batch)
        start, end = batch.sequence, batch.sequence + count
        if not source.has_room(start, self.settings.gaps_max):
            return Applied(0, refusal=Refusal.TOO_MANY_GAPS)
        missing = source.missing(start, end)
        if missing or not count:
            if batch.first_series > len(source.numbers):
                return Applied(0, refusal=Refusal.DEFINITIONS_MISSING)
            self._define(source, batch)
        watermark = batch.watermark_ns
        if watermark > now_ns + self.settings.future_ns and watermark != SOURCE_ENDED_NS:
            self.accounts.watermarks_ignored += 1
            watermark = NO_WATERMARK
        source.take(start, end, watermark, now_ns)
        fresh = sum(last - first for first, last in missing)
        repeated = count - fresh
        if columns is None or not fresh:
            dropped = {DropReason.MALFORMED: fresh} if fresh else {}
            return Applied(count, repeated=repeated, dropped=dropped)
        if repeated:
            columns = _joined([columns.at(slice(a - start, b - start)) for a, b in missing])
        return self._count(source, columns, Applied(count, repeated=repeated), now_ns)

    def _source(self, name: SourceId, batch: PointBatch, now_ns: int) -> SourceState | None:
        source = self._sources.get(name)
        if source is None:
            if len(self._sources) >= self.settings.sources_max:
                return None
            source = SourceState(batch.source, now_ns, now_ns)
            if batch.sequence > self.settings.credit_points:
                # It began elsewhere, or with a state that is lost: it does not wait for that.
                source.prefix = batch.sequence
            self._sources[name] = source
        return source

    def _define(self, source: SourceState, batch: PointBatch) -> None:
        known = len(source.numbers) - batch.first_series
        new = [self._directory.number(key) for key in batch.new_series[known:]]
        if new:
            source.numbers = np.concatenate((source.numbers, np.array(new, np.int64)))
            self._opened.make_room(len(self._directory))
            self._warnings += self._directory.warnings
            self._directory.warnings.clear()
            self.accounts.overflow_series += self._directory.overflowed
            self._directory.overflowed = 0

    def _count(self, source: SourceState, points: Points, applied: Applied, now_ns: int) -> Applied:
        dropped: dict[DropReason, int] = {}
        late = first = 0
        points = sort_out(points, source.numbers, dropped)
        if len(points.times):
            bounds = self._bounds(now_ns)
            first, last = int(points.times.min()), int(points.times.max())
            if first // FINEST_NS < max(bounds.oldest, bounds.first) or (
                last // FINEST_NS > bounds.newest
            ):
                points, rest = in_time(points, points.times // FINEST_NS, bounds, dropped)
                late = len(rest.times)
                self._late_fresh.append(rest)
                self._keep_late(rest)
                first = int(points.times.min()) if len(points.times) else first
        if len(points.times):
            if source.begins_ns is None:
                source.begins_ns = first
            full = self._gathering.count(points, source.begins_ns)
            if full:
                dropped[DropReason.TOO_MANY_WINDOWS] = full
        counted = applied.arrived - applied.repeated - late - sum(dropped.values())
        return applied._replace(counted=counted, late=late, dropped=dropped)

    def _bounds(self, now_ns: int) -> TimeBounds:
        settings = self.settings
        first = (self._watermark_ns - settings.lateness_ns) // FINEST_NS
        return TimeBounds(
            (now_ns - settings.past_ns) // FINEST_NS,
            first,
            (now_ns + settings.future_ns) // FINEST_NS,
            now_ns,
        )

    def _keep_late(self, points: Points) -> None:
        """Put late points into the side output, which keeps the newest ones."""
        room = self.settings.late_points_max
        if not len(points.times):
            return
        self._late.append(points)
        self._late_count += len(points.times)
        while self._late_count > room:
            oldest = self._late.popleft()
            excess = min(self._late_count - room, len(oldest.times))
            self.late_discarded += excess
            self._late_count -= excess
            if excess < len(oldest.times):
                self._late.appendleft(oldest.at(slice(excess, None)))

    def accepted(self, source: MetricSource) -> PointsAccepted:
        """What the core has taken of a source; zeros for one that it does not know."""
        known = self._sources.get(_id_of(source))
        return PointsAccepted(
            sequence=known.prefix if known is not None else 0,
            series=len(known.numbers) if known is not None else 0,
            credit=self.settings.credit_points,
        )

    # --- time -----------------------------------------------------------------------------------

    def _advance(self, now_ns: int) -> None:
        """Give up gaps, leave out sources that hold the watermark back too long, and raise it."""
        if self._is_restored:
            self._wait_for_sources(now_ns)
        newest = max((each.watermark_ns for each in self._sources.values()), default=NO_WATERMARK)
        active: list[int] = []
        for name, source in list(self._sources.items()):
            self._give_up_gap(name, source, now_ns)
            self._judge(name, source, newest, now_ns)
            if source.status is SourceStatus.ACTIVE:
                active.append(source.watermark_ns)
            elif now_ns - source.heard_ns > self.settings.forget_ns:
                del self._sources[name]
                self._stored_numbers.pop(name, None)
                self._changed.discard(name)
                self._forgotten.append(name)
        if active:
            self._watermark_ns = max(self._watermark_ns, min(active))
        else:
            self._advance_alone(now_ns)

    def _wait_for_sources(self, now_ns: int) -> None:
        """Count the silence of sources from now on: it was this shard that was away."""
        self._is_restored = False
        for source in self._sources.values():
            if source.status is SourceStatus.ACTIVE:
                source.heard_ns = source.advanced_ns = max(source.heard_ns, now_ns)
            source.gap_since_ns = max(source.gap_since_ns, now_ns)

    def _advance_alone(self, now_ns: int) -> None:
        """Without active sources, windows with points close by the clock, and no others.

        So a clock that jumps a little makes no window late that has no points yet.
        """
        opened, settings = self._opened, self.settings
        end = max(opened.slots[0], default=NONE_YET) + FINEST_NS
        now_ns -= settings.idle_ns
        if end <= self._watermark_ns:
            # Coarser ones wait longer: their ends are far ahead of the last point.
            ends = (start + opened.levels[level].width_ns for level, start, _ in opened)
            end, now_ns = max(ends, default=NONE_YET), now_ns - settings.hold_ns
            end = -(-end // FINEST_NS) * FINEST_NS + settings.lateness_ns
        self._watermark_ns = max(self._watermark_ns, min(end, now_ns))

    def _give_up_gap(self, name: SourceId, source: SourceState, now_ns: int) -> None:
        if not source.ahead or now_ns - source.gap_since_ns < self.settings.gap_ns:
            return
        before = source.watermark_ns
        lost = source.give_up_gap(now_ns)
        self.accounts.lost += lost
        self._changed.add(name)
        self._opened.mark_partial(source.numbers, before, max(source.watermark_ns, before + 1))
        text = f"{lost:,} points of source {name[1]} never came: their windows are partial."
        self._warnings.append(ShardWarning(Warned.GAP_GIVEN_UP, name[1], text))

    def _judge(self, name: SourceId, source: SourceState, newest: int, now_ns: int) -> None:
        settings = self.settings
        if source.status is SourceStatus.ENDED:
            return
        if now_ns - source.heard_ns > settings.idle_ns:
            status = SourceStatus.IDLE
        elif (
            now_ns - source.advanced_ns > settings.hold_ns
            # One that has not said where it is yet is not behind.
            or (source.watermark_ns > 0 and newest - source.watermark_ns > settings.hold_ns)
        ):
            status = SourceStatus.STALLED
        else:
            status = SourceStatus.ACTIVE
        if status is source.status:
            return
        source.status = status
        self._changed.add(name)
        if status is SourceStatus.IDLE:
            self._opened.mark_partial(source.numbers, source.watermark_ns, SOURCE_ENDED_NS)
        elif status is SourceStatus.STALLED:
            text = f"source {name[1]} reports, but its watermark stands still: nobody waits for it."
            self._warnings.append(ShardWarning(Warned.SOURCE_STALLED, name[1], text))

    # --- windows out ----------------------------------------------------------------------------

    def take_commit(self, now_ns: int, *, whole: bool = False, with_open: bool = False) -> Commit:
        """Give up gaps and idle sources, close what is due, and encode what changed.

        `whole` encodes the whole state instead of the change, and forgets series that have neither
        an open window nor a source, when they are many. `with_open` also gives windows
        that are still open, with `OPEN` in their flags: for a shard that stops in order.
        """
        self._gathering.settle()
        self._advance(now_ns)
        opened = self._opened
        opened.bins.sort(opened.cells.capacity)
        fresh = opened.bins.take_fresh()
        if not fresh:
            opened.bins.let_go()
        if whole:
            self._forget_series()
            opened = self._opened
        log = b"" if whole else self._change(fresh, with_open=with_open)
        opened.cells.is_touched[:] = False
        found = close(opened, self._watermark_ns, with_open=with_open, gives=True)
        state = self._state() if whole else None
        self._mark_stored()
        windows = tuple(
            rows_of(self._directory, width, pieces) for width, pieces in found.items() if pieces
        )
        return Commit(log, state, windows)

    def open_rows(
        self,
        matchers: Sequence[Matcher],
        width_ns: int,
        from_ns: int | None = None,
        to_ns: int | None = None,
    ) -> WindowRows:
        """Windows of this width that are open, or corrected and not given out yet.

        Their revision is higher than any that was given out. They begin in `[from_ns, to_ns)`.
        """
        self._gathering.settle()
        opened = self._opened
        pieces: list[Piece] = []
        for place, level in enumerate(opened.levels):
            if level.width_ns != width_ns or not level.is_given:
                continue
            for start in opened.starts(place):
                if (from_ns is None or from_ns <= start) and (to_ns is None or start < to_ns):
                    total = opened.total(opened.within(place, start))
                    changed = np.flatnonzero(total.is_changed)
                    series = self._directory.matching(matchers, changed)
                    if len(series):
                        is_due = opened.is_due(level, start, self._watermark_ns)
                        piece = window_piece(opened, place, start, series, is_due=is_due)
                        own = opened.slots[place].get(start)
                        given = np.zeros(len(series), np.int32)
                        if own is not None:
                            cells = opened.cells.row(own)
                            given = opened.cells.columns.revisions[cells][series]
                        piece.cells.revisions = given + np.int32(1)
                        pieces.append(piece)
        return rows_of(self._directory, width_ns, pieces)

    def late(self, limit: int) -> LatePoints:
        """The newest points of the side output, which came too late, oldest first.

        It is as durable as the windows: a commit has what came since the one before it.
        """
        points = _joined([*self._late]) if self._late else Points(*_no_columns())
        points = points.at(slice(max(0, len(points.times) - limit), None))
        keys = self._directory.keys
        series = tuple(keys[number] for number in points.series.tolist())
        return LatePoints(series, points.times, points.values, self.late_discarded)

    def take_warnings(self) -> tuple[ShardWarning, ...]:
        """What happened since the last call that a person may want to know."""
        warnings = tuple(self._warnings)
        self._warnings.clear()
        return warnings

    def statistics(self) -> WindowStatistics:
        """Figures of this shard, cheap enough for every commit."""
        bins = self._opened.bins
        sources = self._sources.values()
        return WindowStatistics(
            series=len(self._directory),
            sources=len(sources),
            active_sources=sum(each.status is SourceStatus.ACTIVE for each in sources),
            open_windows=len(self._opened),
            bins=bins.bin_count(),
            size_bytes=self._opened.cells.size_bytes + bins.size_bytes,
            watermark_ns=self.watermark_ns,
            accounts=self.accounts,
        )

    # --- the durable form -----------------------------------------------------------------------

    def restore(self, state: bytes, log: Sequence[bytes]) -> None:
        """Go on from what a store has; only on a new core. Raises `StoreDamaged`."""
        for data in (*([state] if state else []), *log):
            fields = unpack(data)
            try:
                self._read(fields)
            except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
                raise StoreDamaged(
                    f"the stored windows of a shard are damaged: {type(error).__name__}: {error}.",
                    advice="Restore the store from a backup.",
                ) from error
        self._mark_stored()
        self._is_restored = True

    def _change(self, fresh: Mapping[int, Ints], *, with_open: bool) -> bytes:
        touched = self._opened.cells.is_touched
        if not (
            fresh
            or with_open
            or self._changed
            or self._forgotten
            or self._watermark_ns != self._stored_watermark_ns
            or touched.any()
        ):
            return b""
        data = windows_as_data(self._opened, touched, fresh)
        data |= self._fields(self._stored_series, sorted(self._changed), self._stored_numbers)
        data["closes"] = True
        data["with_open"] = with_open
        return pack(data | self._late_fields(self._late_fresh))

    def _forget_series(self) -> None:
        """Give the series that are still needed new numbers, when half of all are not."""
        known = len(self._directory)
        opened, columns = self._opened, self._opened.cells.columns
        is_needed = np.zeros(opened.cells.capacity, np.bool_)
        for _, _, slot in opened:  # A slot that is free has any content.
            cells = opened.cells.row(slot)
            is_needed |= columns.counts[cells] > 0
            is_needed |= (columns.revisions[cells] > 0) | columns.is_changed[cells]
        is_needed = is_needed[:known]
        for source in self._sources.values():
            is_needed[source.numbers[source.numbers >= 0]] = True
        for part in self._late:
            is_needed[part.series] = True
        gone = known - int(np.count_nonzero(is_needed))
        if gone < FORGET_MIN or 2 * gone < known:
            return
        new = np.where(is_needed, np.cumsum(is_needed) - 1, -1)
        fields = renumber(self._state_fields(), is_needed, new)
        self._opened = OpenWindows(self.settings)
        self._directory = SeriesDirectory(self.settings)
        self._gathering = Gathering(self._opened, self._directory)
        self._sources.clear()
        self._late.clear()
        self._late_count = 0
        self._read(fields)
        self.forgotten_series += gone

    def _state(self) -> bytes:
        return pack(self._state_fields())

    def _state_fields(self) -> dict[str, Any]:
        opened = self._opened
        columns = opened.cells.columns
        chosen = (columns.counts > 0) | (columns.revisions > 0) | columns.is_changed
        bins = {slot: opened.bins.settled(slot) for _, _, slot in opened}
        data = windows_as_data(
            opened, chosen, {slot: own for slot, own in bins.items() if len(own)}
        )
        data |= self._fields(0, list(self._sources), {})
        data["closes"] = data["with_open"] = False
        return data | self._late_fields([*self._late])

    def _late_fields(self, parts: Sequence[Points]) -> dict[str, Any]:
        discarded = {"late_discarded": self.late_discarded}
        if not parts:
            return discarded
        # More than all of the room need not be read again.
        points = _joined(parts).at(slice(-self.settings.late_points_max, None))
        return {"late": list(points), **discarded}

    def _fields(
        self, first_series: int, sources: Sequence[SourceId], stored: Mapping[SourceId, int]
    ) -> dict[str, Any]:
        accounts = self.accounts
        described = []
        for name in sources:
            source, done = self._sources[name], stored.get(name, 0)
            described.append([source.to_data(), done, source.numbers[done:]])
        return {
            "watermark": self._watermark_ns,
            "first_series": first_series,
            "keys": keys_as_data(self._directory.keys[first_series:]),
            "sources": described,
            "forgotten": [list(name) for name in self._forgotten],
            "accounts": [
                *(getattr(accounts, name) for name in COUNTS),
                {reason.value: count for reason, count in accounts.dropped.items()},
            ],
        }

    def _read(self, fields: Mapping[str, Any]) -> None:
        if fields["first_series"] != len(self._directory):
            raise ValueError("a part of the log is missing")
        self._directory.restore(keys_of_data(fields["keys"]))
        known = len(self._directory)
        for data, done, new in fields["sources"]:
            name = (str(data[0]), str(data[1]))
            old = self._sources[name].numbers if done else np.zeros(0, np.int64)
            numbers = np.concatenate((old, new))
            if len(old) != done or (len(numbers) and int(numbers.max()) >= known):
                raise ValueError("the series of a source")
            self._sources[name] = SourceState.of_data(data, numbers)
        for kind, name in fields["forgotten"]:
            self._sources.pop((kind, name), None)
        *counts, dropped = fields["accounts"]
        for field, count in zip(COUNTS, counts, strict=True):
            setattr(self.accounts, field, int(count))
        self.accounts.dropped.clear()
        self.accounts.dropped.update(
            {DropReason(reason): int(count) for reason, count in dropped.items()}
        )
        if "late" in fields:  # A release before this one has written none.
            series, times, values = fields["late"]
            if not len(series) == len(times) == len(values) or (
                len(series) and not 0 <= int(series.min()) <= int(series.max()) < known
            ):
                raise ValueError("late points")
            self._keep_late(Points(series, times, values.astype(np.float64)))
        self.late_discarded = int(fields.get("late_discarded", 0))
        self._watermark_ns = int(fields["watermark"])
        read_windows(self._opened, fields, known)
        if fields["closes"]:
            with_open = bool(fields["with_open"])
            close(self._opened, self._watermark_ns, with_open=with_open, gives=False)

    def _mark_stored(self) -> None:
        self._stored_series = len(self._directory)
        self._stored_numbers = {name: len(source.numbers) for name, source in self._sources.items()}
        self._stored_watermark_ns = self._watermark_ns
        self._changed.clear()
        self._forgotten.clear()
        self._late_fresh.clear()


def _id_of(source: MetricSource) -> SourceId:
    return source.kind.value, source.name


def _joined(parts: Sequence[Points]) -> Points:
    if len(parts) == 1:
        return parts[0]
    return Points(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _no_columns() -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
