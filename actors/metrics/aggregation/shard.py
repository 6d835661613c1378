"""One shard on an event loop: batches go into its windows, and commits are made in groups.

One commit is under way at a time. The batches that arrive meanwhile are in the next one. A batch
is answered when a commit that has it is durable, never before.

| state | event | next state | action |
|---|---|---|---|
| idle | a batch, or the timer | committing | what changed is committed |
| committing | success | idle, or committing | its batches are answered; then what came meanwhile |
| committing | a failure without an effect | backing off | the same commit later |
| committing | a failure that may have had an effect | restoring | its batches are refused |
| restoring | the store answers | idle | the windows are those of the store: sources send again |
| any | fenced, or damaged | broken | everything is refused from now on |

While the store is away, windows grow only by what is allowed to be not durable yet
(`ShardLimits.waiting_points`); further batches are refused, and sources keep them.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final, Protocol

import numpy as np

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import AskError, CallboardError, InternalError, MailboxFull
from callboard.messages.storage.errors import StoreDamaged, StoreUnavailable, WriterFenced

from ...kernel.inspection.metric_sources import Name, Reading
from ..points import MetricSource, PointBatch, PointsAccepted
from ..ports import Extent
from ..query.columns import combine_rows, take_rows
from ..rows import WINDOWS_NS, WindowFlag, WindowRows
from ..series import Matcher, SeriesKey
from ..windows.accounts import DropReason
from ..windows.core import Commit, ShardWindows
from ..windows.settings import DEFAULT_SETTINGS, WindowSettings
from .newest import NewestWindows, choose_rows
from .storage import ShardStorage

__all__ = ["Shard", "ShardLimits", "ShardStatus", "WindowSink"]

LOGGER: Final = logging.getLogger("callboard.metrics")
OUTCOMES: Final = (
    "counted",
    "repeated",
    "late",
    "lost",
    *(f"dropped_{reason.value}" for reason in DropReason),
)
PACK_EVERY_NS: Final = 60_000_000_000
RETRY: Final = Backoff(min_s=0.05, max_s=2.0)
OPEN_S: Final = 5.0
CLOSE_S: Final = 10.0
PACK_BLOCKS: Final = 256
"""The most blocks that are packed at a time, between two commits: a tenth of a second."""


class WindowSink(Protocol):
    """Learns of windows that have closed or were corrected, once they are durable."""

    def closed(self, shard: int, rows: WindowRows) -> None:
        """Take windows of one width. An error is logged, and changes nothing."""


@dataclass(frozen=True, slots=True)
class ShardLimits:
    """The limits of one aggregator."""

    waiting_points: int = 8_000_000
    """Points that are in windows and not durable. With more, batches are refused."""
    log_bytes: int = 64 * 2**10
    """With a larger log, the whole state is committed, which replaces it."""
    log_share: float = 3.0
    """The same as a multiple of the last state: states are a third of the changes."""
    log_entries: int = 256
    """With more entries in the log, the same, unless the state is larger than the log: to read an
    entry again takes 0.4 ms, which the next aggregator spends before it goes on."""
    log_entries_max: int = 2_048
    """With more entries in the log, the same, whatever the size of the state."""
    retry: Backoff = RETRY
    """The waits between attempts while the store fails."""
    newest_rows: int = 200_000
    """Closed windows that are kept in memory for queries."""


class ShardStatus(StrEnum):
    """What an aggregator does."""

    IDLE = auto()
    COMMITTING = auto()
    BACKING_OFF = auto()
    RESTORING = auto()
    BROKEN = auto()


class Shard:
    """The windows of one shard, durable in a store. It belongs to one event loop.

    `on_broken` is called once when another aggregator has the shard, or the store is damaged.
    """

    def __init__(
        self,
        number: int,
        fence: int,
        storage: ShardStorage,
        *,
        clock_ns: Callable[[], int],
        settings: WindowSettings = DEFAULT_SETTINGS,
        limits: ShardLimits | None = None,
        sinks: Sequence[WindowSink] = (),
        on_broken: Callable[[CallboardError], None] | None = None,
    ) -> None:
        self.number: Final = number
        self.status = ShardStatus.IDLE
        self.windows = ShardWindows(settings)
        self.counts: Final = dict.fromkeys(
            ("commits", "log_bytes", "states", "state_bytes", "retries", "restores", "closed",
             "late_discarded", "series_forgotten"), 0
        )  # fmt: skip
        self._fence = fence
        self._storage = storage
        self._clock_ns = clock_ns
        self._settings = settings
        self._limits = limits or ShardLimits()
        self._sinks = tuple(sinks)
        self._on_broken = on_broken
        self._waiting: list[tuple[MetricSource, asyncio.Future[PointsAccepted]]] = []
        self._group: list[tuple[MetricSource, asyncio.Future[PointsAccepted]]] = []
        """The batches of the commit under way."""
        self._waiting_points = 0
        self._committing_points = 0
        self._newest = NewestWindows(0, 0)
        self._committing: tuple[WindowRows, ...] = ()
        """Windows of the commit under way, which are neither open nor among the newest."""
        self._log_bytes = self._log_entries = 0
        self._state_bytes = 0
        self._late_discarded = 0
        """Of all incarnations, as far as this one has counted them."""
        self._began: dict[str, float] = {}
        """The accounts at the begin of this incarnation."""
        self._is_due = False
        self._is_closed = False
        self._broken: CallboardError | None = None
        self._packed_ns = 0
        self._work: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Claim the shard, and go on from what the store has.

        Tries for `OPEN_S`: the store may be on a host that is just being replaced, too. Then it
        raises the store's error.
        """
        loop = asyncio.get_running_loop()
        until_s, failures = loop.time() + OPEN_S, 0
        while True:
            try:
                await self._restore()
                break
            except (WriterFenced, StoreDamaged):
                raise
            except AskError:
                failures += 1
                wait_s = self._limits.retry.delay_s(failures)
                if loop.time() + wait_s > until_s:
                    raise
                await asyncio.sleep(wait_s)
        self._began = self.figures()

    async def _restore(self) -> None:
        state, log = await self._storage.claim(self.number, self._fence)
        windows = ShardWindows(self._settings)
        windows.restore(state, log)
        self.windows = windows
        self._late_discarded = windows.late_discarded
        self._newest = NewestWindows(self._clock_ns(), self._limits.newest_rows)
        self._committing = ()
        self._log_bytes, self._state_bytes = sum(map(len, log)), len(state)
        self._log_entries = len(log)
        self._waiting_points = self._committing_points = 0

    # --- batches ------------------------------------------------------------------------------

    async def append(self, batch: PointBatch) -> PointsAccepted:
        """Add a batch, and wait until it is durable.

        Raises `MailboxFull` when too much waits for the store, `StoreUnavailable` when it is
        not known whether the store has it, and the error that broke this aggregator. Sending the
        batch again is always safe.
        """
        if self._broken is not None:
            raise self._broken
        if self._is_closed or self.status is ShardStatus.RESTORING:
            raise self._unavailable("restores its windows", may_have_run=False)
        waiting = self._waiting_points + self._committing_points
        if waiting >= self._limits.waiting_points:
            raise MailboxFull(
                f"shard {self.number} of the metrics has {waiting:,} points that its store has "
                "not taken.",
                advice="Send them again later: the store is slow or away.",
                may_have_run=False,
            )
        # A batch that is refused is answered after a commit, too: with what is durable then.
        self._waiting_points += self.windows.apply(batch, self._clock_ns()).arrived
        outcome: asyncio.Future[PointsAccepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((batch.source, outcome))
        self._begin()
        return await outcome

    def tick(self) -> None:
        """Close what is due by now; call it every second or so."""
        self._is_due = True
        self._begin()

    def _begin(self) -> None:
        if self._work is None and self._broken is None and not self._is_closed:
            self._work = asyncio.get_running_loop().create_task(self._commit_all())

    # --- commits ------------------------------------------------------------------------------

    async def _commit_all(self) -> None:
        try:
            # The batches of this step of the loop are in one commit.
            await asyncio.sleep(0)
            has_more = True
            while self._waiting or self._is_due or has_more:
                if self._waiting or self._is_due:
                    await self._commit_once()
                if not self._waiting:
                    # What arrives meanwhile finds this task at work, and is taken afterwards.
                    has_more = await self._pack()
        except CallboardError as error:
            self._break(error)
        except Exception as error:  # noqa: BLE001 - a defect must not leave batches unanswered
            broken = InternalError(f"shard {self.number} of the metrics failed: {error!r}.")
            broken.__cause__ = error
            self._break(broken)
        finally:
            self._work = None

    async def _commit_once(self, *, with_open: bool = False) -> None:
        self._is_due = False
        waiting, self._waiting = self._waiting, []
        self._group = waiting
        commit = self.windows.take_commit(
            self._clock_ns(), whole=self._wants_state(), with_open=with_open
        )
        accepted = {source: self.windows.accepted(source) for source, _ in waiting}
        self._committing_points, self._waiting_points = self._waiting_points, 0
        self._committing = commit.windows
        if not await self._store(commit):
            error = self._unavailable("does not know whether they are stored", may_have_run=True)
            self._refuse(error)
            if not self._is_closed:
                await self._restore_when_possible()
            return
        self._committing_points = 0
        self._keep(commit)
        for source, outcome in waiting:
            if not outcome.done():
                outcome.set_result(accepted[source])
        self._tell(commit.windows)

    def _wants_state(self) -> bool:
        limits, entries = self._limits, self._log_entries
        return (
            self._log_bytes > max(limits.log_bytes, limits.log_share * self._state_bytes)
            or (entries > limits.log_entries and self._log_bytes > self._state_bytes)
            or entries > limits.log_entries_max
        )

    async def _store(self, commit: Commit) -> bool:
        """Store a commit; False when it may be stored or not."""
        if not commit.log and commit.state is None and not commit.windows:
            return True
        failures = 0
        while True:
            self.status = ShardStatus.COMMITTING
            try:
                await self._storage.commit(
                    self.number,
                    self._fence,
                    log=commit.log,
                    state=commit.state,
                    windows=commit.windows,
                )
            except (WriterFenced, StoreDamaged):
                raise
            except AskError as error:
                if error.may_have_run:
                    LOGGER.warning("shard %d of the metrics restores: %s", self.number, error)
                    return False
                failures += 1
                await self._back_off(failures, error)
            else:
                self.status = ShardStatus.IDLE
                return True

    async def _back_off(self, failures: int, error: CallboardError) -> None:
        self.status = ShardStatus.BACKING_OFF
        self.counts["retries"] += 1
        if failures == 1:
            LOGGER.warning("shard %d of the metrics tries again: %s", self.number, error)
        await asyncio.sleep(self._limits.retry.delay_s(failures))

    async def _restore_when_possible(self) -> None:
        self.status = ShardStatus.RESTORING
        self.counts["restores"] += 1
        failures = 0
        while True:
            try:
                await self._restore()
            except (WriterFenced, StoreDamaged):
                raise
            except AskError:
                failures += 1
                await asyncio.sleep(self._limits.retry.delay_s(failures))
            else:
                self.status = ShardStatus.IDLE
                return

    def _keep(self, commit: Commit) -> None:
        """Note a durable commit."""
        counts = self.counts
        counts["commits"] += 1
        if commit.state is not None:
            counts["states"] += 1
            counts["state_bytes"] += len(commit.state)
            self._state_bytes, self._log_bytes = len(commit.state), 0
            self._log_entries = 0
        else:
            counts["log_bytes"] += len(commit.log)
            self._log_bytes += len(commit.log)
            self._log_entries += bool(commit.log)
        counts["series_forgotten"] += self.windows.forgotten_series
        self.windows.forgotten_series = 0
        counts["late_discarded"] += self.windows.late_discarded - self._late_discarded
        self._late_discarded = self.windows.late_discarded
        for warning in self.windows.take_warnings():
            LOGGER.warning("metrics, shard %d: %s", self.number, warning.text)

    def _tell(self, windows: Sequence[WindowRows]) -> None:
        self._committing = ()
        for given in windows:
            # At its end a shard stores windows that are still open, too.
            rows = take_rows(given, np.flatnonzero(given.flags & WindowFlag.OPEN == 0))
            if not len(rows):
                continue
            self.counts["closed"] += len(rows)
            self._newest.add(rows)
            for sink in self._sinks:
                try:
                    sink.closed(self.number, rows)
                except Exception:
                    LOGGER.exception("a sink of windows failed; the windows are stored")

    async def _pack(self) -> bool:
        """Pack some old blocks now and then; whether there are more.

        A failure waits for the next time.
        """
        now_ns = self._clock_ns()
        if now_ns - self._packed_ns < PACK_EVERY_NS:
            return False
        before_ns = now_ns - self._settings.lateness_ns
        try:
            gone = await self._storage.pack(self.number, before_ns, PACK_BLOCKS)
        except AskError as error:
            LOGGER.warning("windows of shard %d are not packed now: %s", self.number, error)
            gone = 0
        if gone < PACK_BLOCKS:
            self._packed_ns = now_ns
        return gone >= PACK_BLOCKS

    # --- the end ------------------------------------------------------------------------------

    async def close(self, timeout_s: float = CLOSE_S) -> None:
        """Commit what has arrived, with the windows that are still open; may be called twice.

        What is not stored within `timeout_s` seconds was not accepted: its sources keep it.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            async with asyncio.timeout(timeout_s):
                if self._work is not None:
                    await asyncio.wait((self._work,))
                if self._broken is None:
                    await self._commit_once(with_open=True)
        except CallboardError as error:
            self._break(error)
        except TimeoutError:
            self._break(self._unavailable("stops, and its store is away", may_have_run=True))

    # --- queries ------------------------------------------------------------------------------

    def complete_from_ns(self, width_ns: int) -> int:
        """All windows of this width that begin at or after this time are in memory."""
        return self._newest.complete_from_ns(width_ns)

    def windows_in(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int
    ) -> WindowRows:
        """The windows in memory, open and closed, that begin in `[from_ns, to_ns)`."""
        return combine_rows(
            width_ns,
            [
                self.windows.open_rows(matchers, width_ns, from_ns, to_ns),
                *(
                    choose_rows(rows, matchers, from_ns, to_ns)
                    for rows in self._committing
                    if rows.width_ns == width_ns
                ),
                self._newest.windows(matchers, width_ns, from_ns, to_ns),
            ],
        )

    def series_in(self, matchers: Sequence[Matcher], from_ns: int, to_ns: int) -> set[SeriesKey]:
        """The series of windows in memory that have a part of this time."""
        found: set[SeriesKey] = set()
        for width_ns in self._widths():
            found.update(self.windows_in(matchers, width_ns, from_ns - width_ns + 1, to_ns).series)
        return found

    def _widths(self) -> tuple[int, ...]:
        return (*WINDOWS_NS, *(each.width_ns for each in self._settings.custom))

    def extents(self) -> dict[int, Extent]:
        """The time that the windows in memory cover, for each width."""
        found = self._newest.extents()
        for width_ns in self._widths():
            parts = [self.windows.open_rows((), width_ns)]
            parts += [rows for rows in self._committing if rows.width_ns == width_ns]
            for starts_ns in (rows.starts_ns for rows in parts if len(rows)):
                first_ns, end_ns = int(starts_ns.min()), int(starts_ns.max()) + width_ns
                known = found.get(width_ns, Extent(first_ns, end_ns))
                found[width_ns] = Extent(min(known.from_ns, first_ns), max(known.to_ns, end_ns))
        return found

    def _break(self, error: CallboardError) -> None:
        self.status, self._broken = ShardStatus.BROKEN, error
        self._refuse(error)
        if self._on_broken is not None:
            on_broken, self._on_broken = self._on_broken, None
            on_broken(error)

    def _refuse(self, error: CallboardError) -> None:
        """Refuse all batches that wait for a commit."""
        for _, outcome in (*self._group, *self._waiting):
            if not outcome.done():
                outcome.set_exception(error)
        self._group, self._waiting = [], []

    def _unavailable(self, why: str, *, may_have_run: bool) -> StoreUnavailable:
        return StoreUnavailable(
            f"shard {self.number} of the metrics {why}.",
            advice="Send the points again: those that are stored do not count twice.",
            may_have_run=may_have_run,
        )

    def figures(self) -> dict[str, float]:
        """The figures of this incarnation, and the accounts of the shard since its first point."""
        now = self.windows.statistics()
        accounts = now.accounts
        found: dict[str, float] = {
            "series": now.series,
            "sources": now.sources,
            "sources_active": now.active_sources,
            "windows_open": now.open_windows,
            "bytes": now.size_bytes,
            "waiting_points": self._waiting_points + self._committing_points,
            "arrived": accounts.arrived,
            "counted": accounts.counted,
            "repeated": accounts.repeated,
            "late": accounts.late,
            "lost": accounts.lost,
            "refused": accounts.refused,
            **self.counts,
        }
        for reason, count in accounts.dropped.items():
            found[f"dropped_{reason.value}"] = count
        return found

    def reading(self) -> Reading:
        """The figures of this incarnation as metrics of its host."""
        found, began = self.figures(), self._began
        points = {
            Name("callboard_window_points", outcome): found.get(outcome, 0) - began.get(outcome, 0)
            for outcome in OUTCOMES
        }
        counts = {
            Name(f"callboard_window_{name}"): float(count) for name, count in self.counts.items()
        }
        gauges = {
            Name("callboard_window_series"): found["series"],
            Name("callboard_window_waiting_points"): found["waiting_points"],
            Name("callboard_window_bytes"): found["bytes"],
        }
        return Reading({**points, **counts}, gauges)
