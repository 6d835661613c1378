"""The tiers of metrics as an actor: a round of moves every minute, a scrub every hour.

One of them moves the windows of a metrics store. A supervisor restarts it like any actor, and its
fencing token keeps an earlier one from moving any more. All that it knows is in the catalogue:
after a kill it goes on with the moves that are under way.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import ActorStopped, CallboardError, SpecError
from callboard.messages.storage.errors import WriterFenced

from ...kernel.actor import Actor, OnError, handler
from ...kernel.context import Context
from ...kernel.inspection.metric_sources import Name, Reading
from ...kernel.threads import ThreadRunner
from .core import plan_lines
from .tiers import MetricTiers

__all__ = ["QueryTiers", "RunTiers", "TierActor", "TierTimes", "TiersView"]

LOGGER: Final = logging.getLogger("callboard.storage")
FINISH_S: Final = 10.0
LINES_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class TierTimes:
    """How often the tiers work."""

    round_s: float = 60.0
    """The time between two rounds of moves."""
    scrub_s: float = 3_600.0
    """The time between two scrubs."""

    def __post_init__(self) -> None:
        if not 0.01 <= self.round_s <= self.scrub_s:
            raise SpecError(
                f"the tiers' rounds are {self.round_s} s apart, and their scrubs {self.scrub_s} s.",
                advice="Scrub at most as often as you move; 0.01 s or more.",
            )


class TiersView(Contract, name="callboard.tiers.view"):
    """What the tiers have done since the start of this incarnation, and what stands still."""

    rounds: int
    """Rounds of moves."""
    scrubs: int
    """Comparisons of the object stores with the catalogue."""
    switched: int
    """Moves whose rows are in their new place."""
    rows: int
    """Rows that were written into segments."""
    bytes: int
    """Bytes of these segments."""
    failed: int
    """Steps that failed, and are tried again."""
    open_moves: int
    """Moves that are under way."""
    refused: int
    """Deletions that wait, because coarser windows do not hold the finer ones yet."""
    corrupt: int
    """Segments whose file is missing or changed."""
    removed: int
    """Files that nothing referred to."""
    problems: tuple[str, ...]
    """What stood still in the last round, and why."""
    plan: tuple[str, ...] = ()
    """What the next round would begin; only if it was asked for."""


class QueryTiers(Request[TiersView], name="callboard.tiers.query"):
    """Ask the tiers for their figures."""

    with_plan: bool = False
    """Whether the answer says what the next round would begin."""


class RunTiers(Request[TiersView], name="callboard.tiers.run"):
    """Do a round now, and a scrub with `scrub`."""

    scrub: bool = False
    """Whether to compare the object stores with the catalogue after the round."""


class TierTick(Contract, name="callboard.tiers.tick"):
    """It is time for a round."""


class TierActor(Actor):
    """Moves the windows of one metrics store.

    The actor calls `make_tiers` with its fencing token on its host: the stores must be reachable
    from there, and an SQLite file be on its machine.
    """

    on_error: ClassVar[OnError] = OnError.RESUME

    def __init__(
        self, make_tiers: Callable[[int], MetricTiers], times: TierTimes | None = None
    ) -> None:
        self._make_tiers = make_tiers
        self._times = times or TierTimes()
        self._threads = ThreadRunner("tiers")
        self._tiers: MetricTiers | None = None
        self._counts: Counter[str] = Counter()
        self._open_moves = 0
        self._refused = 0
        self._corrupt = 0
        self._problems: tuple[str, ...] = ()
        self._rounds_to_scrub = 0

    async def started(self, ctx: Context) -> None:
        """Open the stores. Raises what they raise."""
        tiers = self._make_tiers(ctx.fence)
        await self._threads.call(tiers.open)
        self._tiers = tiers
        ctx.measure(self.reading)
        ctx.send_every(self._times.round_s, TierTick())

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """Close the stores after the step that is under way."""
        if self._tiers is not None:
            await self._threads.finish(self._tiers.close, FINISH_S)

    @handler
    async def tick(self, tick: TierTick, ctx: Context) -> None:
        """Do a round. A failure of a store is counted; the next round tries again."""
        self._rounds_to_scrub -= 1
        is_due = self._rounds_to_scrub <= 0
        try:
            await self._work(with_scrub=is_due)
        except WriterFenced as error:
            LOGGER.error("the tiers of metrics end: %s", error)  # noqa: TRY400 - no defect of ours
            ctx.stop()
        except CallboardError as error:
            self._counts["failed"] += 1
            self._problems = (str(error),)
            LOGGER.warning("the tiers of metrics: %s", error)
        else:
            if is_due:
                self._rounds_to_scrub = round(self._times.scrub_s / self._times.round_s)

    @handler
    async def run(self, request: RunTiers) -> TiersView:
        """Do a round now. Raises the errors of the stores."""
        await self._work(with_scrub=request.scrub)
        return self._view()

    @handler
    async def query(self, request: QueryTiers) -> TiersView:
        """The figures so far."""
        view = self._view()
        if not request.with_plan:
            return view
        lines = plan_lines(await self._threads.call(self._opened().plan))
        return view.model_copy(update={"plan": tuple(lines[:LINES_MAX])})

    def _opened(self) -> MetricTiers:
        if self._tiers is None:
            raise ActorStopped("the tiers of metrics are not open.", may_have_run=False)
        return self._tiers

    async def _work(self, *, with_scrub: bool) -> None:
        tiers = self._opened()
        done = await self._threads.call(tiers.round)
        self._counts["rounds"] += 1
        self._counts["switched"] += done.switched
        self._open_moves, self._refused = done.open_moves, done.refused
        failures = tuple(f"{each.move.block}: {each.error}" for each in done.failures)
        self._problems = (*failures, *tiers.refusals.values())[:LINES_MAX]
        if with_scrub:
            found = await self._threads.call(tiers.scrub)
            self._counts["scrubs"] += 1
            self._counts["removed"] += sum(each.removed for each in found.values())
            self._corrupt = sum(each.corrupt for each in found.values())

    def _view(self) -> TiersView:
        moved: Counter[str] = Counter() if self._tiers is None else self._tiers.mover.counts
        return TiersView(
            rounds=self._counts["rounds"],
            scrubs=self._counts["scrubs"],
            switched=self._counts["switched"],
            rows=moved["rows"],
            bytes=moved["bytes"],
            failed=self._counts["failed"] + moved["failed"],
            open_moves=self._open_moves,
            refused=self._refused,
            corrupt=self._corrupt,
            removed=self._counts["removed"],
            problems=self._problems,
        )

    def reading(self) -> Reading:
        """The same figures as metrics of the host."""
        view = self._view()
        counts = {
            Name("callboard_tier_rounds"): view.rounds,
            Name("callboard_tier_moves"): view.switched,
            Name("callboard_tier_rows"): view.rows,
            Name("callboard_tier_bytes"): view.bytes,
            Name("callboard_tier_failures"): view.failed,
            Name("callboard_tier_orphans_removed"): view.removed,
        }
        gauges = {
            Name("callboard_tier_open_moves"): view.open_moves,
            Name("callboard_tier_refused"): view.refused,
            Name("callboard_tier_corrupt_segments"): view.corrupt,
            Name("callboard_tier_problems"): len(view.problems),
        }
        return Reading(counts, gauges)
