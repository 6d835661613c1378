"""The tiers of one metrics store: plans, moves, scrubs and reads its windows.

Everything blocks, but for the reader. `worker.py` calls it in a thread.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ...storage.catalogue import Catalogue
from ...storage.core import MoveLimits
from ...storage.lifecycle import LifecycleRule, check_rules
from ...storage.mover import Failure, Mover
from ...storage.moves import Move, MoveKind
from ...storage.objects import ObjectStore
from ...storage.scrubber import Scrubbed, scrub
from ..rows import SECOND_NS
from .content import WindowContent
from .core import PlanLimits, plan_moves
from .ports import HotWindows, WindowFormat
from .reader import SegmentReader
from .rules import DEFAULT_RULES, check_datasets, width_of

__all__ = ["MetricTiers", "TierRound"]

LOGGER: Final = logging.getLogger("callboard.storage")
REFUSED_AGAIN_S: Final = 900.0
"""A deletion that was refused is planned again after this time."""
REFUSED_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class TierRound:
    """What one round has done, and what stands still."""

    planned: int
    """New moves."""
    switched: int
    """Moves whose rows are in their new place."""
    deleted: int
    """Moves that have come to their end."""
    refused: int
    """Deletions that wait, because coarser windows do not hold the finer ones yet."""
    failures: tuple[Failure, ...]
    """Moves that could not go on; they are tried again in the next round."""
    open_moves: int
    """Moves that are under way."""


class MetricTiers:
    """Moves windows from the hot store into segments, merges segments, and deletes old ones."""

    def __init__(
        self,
        hot: HotWindows,
        catalogue: Catalogue,
        stores: Mapping[str, ObjectStore],
        form: WindowFormat,
        *,
        rules: Sequence[LifecycleRule] = DEFAULT_RULES,
        fence: int = 0,
        plan_limits: PlanLimits | None = None,
        move_limits: MoveLimits | None = None,
        wall_time: Callable[[], float] = time.time,
    ) -> None:
        """Raises `SpecError` with every problem of the rules."""
        check_rules(rules)
        check_datasets(tuple(rules))
        self.rules: Final = tuple(rules)
        self.catalogue: Final = catalogue
        self._hot = hot
        self._stores = stores
        self._format = form
        self._widths_ns = {rule.dataset: width_of(rule.dataset) for rule in rules}
        self._fence = fence
        self._plan_limits = plan_limits or PlanLimits()
        self._move_limits = move_limits or MoveLimits()
        self._wall_time = wall_time
        content = WindowContent(hot, catalogue, stores, form, rules)
        self.mover: Final = Mover(
            catalogue,
            stores,
            content,
            fence=fence,
            limits=self._move_limits,
            wall_time=wall_time,
        )
        self._refused: dict[tuple[object, ...], float] = {}
        self.refusals: Final[dict[int, str]] = {}
        """Why deletions wait, by the number of the move that was refused last."""

    def open(self) -> None:
        """Open all stores, and refuse the moves of earlier processes."""
        self._hot.open()
        self.catalogue.open()
        for store in self._stores.values():
            store.open()
        self.catalogue.claim(self._fence)

    def close(self) -> None:
        """Close what `open` has opened."""
        self._format.close()
        for store in self._stores.values():
            store.close()
        self.catalogue.close()
        self._hot.close()

    def plan(self) -> list[Move]:
        """The moves that are due now; nothing is recorded. `core.plan_lines` shows them."""
        now = self._wall_time()
        now_ns = int(now * SECOND_NS)
        hot = {}
        for rule in self.rules:
            before_ns = now_ns - int(rule.hot_s * SECOND_NS)
            hot[rule.dataset] = self._hot.closed_before(self._widths_ns[rule.dataset], before_ns)
        segments = {rule.dataset: self.catalogue.segments(rule.dataset) for rule in self.rules}
        moves = plan_moves(
            self.rules, hot, segments, now_ns, self._plan_limits, widths_ns=self._widths_ns
        )
        self._refused = {key: at for key, at in self._refused.items() if at > now}
        return [move for move in moves if _key(move) not in self._refused]

    def round(self) -> TierRound:
        """Plan what is due, and let all moves go on. Raises `WriterFenced` and a store's errors."""
        before = self.mover.counts.copy()
        planned = self.catalogue.plan(self._fence, self.plan())
        failures = self.mover.round()
        self._remember_refusals(planned)
        counts = self.mover.counts - before
        return TierRound(
            planned=len(planned),
            switched=counts["switched"],
            deleted=counts["deleted"],
            refused=len(self._refused),
            failures=tuple(failures),
            open_moves=len(self.catalogue.open_moves()),
        )

    def _remember_refusals(self, planned: Sequence[Move]) -> None:
        at = self._wall_time() + REFUSED_AGAIN_S
        self.refusals.clear()
        for move in planned:
            reason = self.mover.refused.pop(move.number, "")
            if reason and move.kind is MoveKind.EXPIRE and len(self._refused) < REFUSED_MAX:
                self._refused[_key(move)] = at
                self.refusals[move.number] = reason

    def scrub(self) -> Mapping[str, Scrubbed]:
        """Scrub all object stores, also those that no rule names any more, by their locations."""
        locations = {segment.location for segment in self.catalogue.all_segments()}
        return {
            location: scrub(
                self.catalogue,
                location,
                self._stores[location],
                fence=self._fence,
                limits=self._move_limits,
                wall_time=self._wall_time,
            )
            for location in sorted(locations.union(self._stores))
        }

    def reader(self) -> SegmentReader:
        """A reader of the segments, for the running event loop."""
        return SegmentReader(
            self.catalogue,
            self._stores,
            self._format,
            widths_ns=sorted(set(self._widths_ns.values())),
        )


def _key(move: Move) -> tuple[object, ...]:
    return (move.kind, move.block, move.sources)
