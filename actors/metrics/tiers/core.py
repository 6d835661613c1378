"""Which windows move next: a pure function of rules, hot stretches, segments and the time.

| what | when | where to |
|---|---|---|
| a hot stretch | its last window is older than `hot_s` | into a segment |
| segments of one span | there are 4 of them, or 8 while more come | into one segment |
| a segment, or a hot stretch | its last window is older than `expires_s` | away |

An expired one only goes when the coarser windows hold it; the mover checks that on the rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from callboard.messages.core.errors import SpecError

from ...storage.lifecycle import LifecycleRule
from ...storage.moves import Move, MoveKind
from ...storage.segments import Block, Segment, SegmentState
from ..rows import SECOND_NS
from .ports import HotStretch

__all__ = ["PlanLimits", "plan_lines", "plan_moves"]

SPANS: Final = {60: 86_400, 300: 4 * 86_400, 3_600: 32 * 86_400, 86_400: 512 * 86_400}
"""For the widths in seconds, the time that one merged segment spans: some 500 to 1,500 windows of
each series."""
SPAN_WINDOWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What one round plans at most."""

    moves: int = 64
    """New moves; the oldest windows come first."""
    merged_rows: int = 200_000
    """A merge makes no larger segment; its rows are in memory meanwhile, some 500 bytes each."""
    merged_segments: int = 32
    """The most segments that one merge takes."""
    small_segments: int = 4
    """So many segments of a span are merged into one; twice as many while its time goes on."""

    def __post_init__(self) -> None:
        if min(self.moves, self.merged_rows, self.merged_segments, self.small_segments) < 2:
            raise SpecError(f"{self} has a number below 2.", advice="Give numbers of 2 or more.")


def plan_moves(
    rules: Sequence[LifecycleRule],
    hot: Mapping[str, Sequence[HotStretch]],
    segments: Mapping[str, Sequence[Segment]],
    now_ns: int,
    limits: PlanLimits,
    *,
    widths_ns: Mapping[str, int],
) -> list[Move]:
    """The moves of this round, the oldest rows first. `hot`, `segments` and widths by dataset."""
    moves: list[Move] = []
    for rule in rules:
        if rule.is_enabled:
            span_ns = span_of(widths_ns[rule.dataset])
            moves += _hot_moves(rule, hot.get(rule.dataset, ()), now_ns)
            moves += _segment_moves(rule, segments.get(rule.dataset, ()), now_ns, span_ns, limits)
    moves.sort(key=lambda move: (move.block.to_ns, move.block, move.kind.value))
    return moves[: limits.moves]


def span_of(width_ns: int) -> int:
    """The time that one merged segment of windows of this width spans."""
    return SPANS.get(width_ns // SECOND_NS, SPAN_WINDOWS * width_ns // SECOND_NS) * SECOND_NS


def _before(now_ns: int, age_s: float | None) -> int:
    """The time before which a window must have ended to have this age; none has the age None."""
    return -(2**63) if age_s is None else now_ns - int(age_s * SECOND_NS)


def _hot_moves(rule: LifecycleRule, stretches: Sequence[HotStretch], now_ns: int) -> Iterable[Move]:
    cold, expired = _before(now_ns, rule.hot_s), _before(now_ns, rule.expires_s)
    for each in stretches:
        block = Block(rule.dataset, each.shard, each.from_ns, each.to_ns)
        if each.to_ns <= expired:
            yield Move(MoveKind.EXPIRE, block, reason=f"{rule.id}: expired")
        elif each.to_ns <= cold and rule.location:
            yield Move(
                MoveKind.STORE, block, location=rule.location, reason=f"{rule.id}: no longer hot"
            )


def _segment_moves(
    rule: LifecycleRule,
    segments: Sequence[Segment],
    now_ns: int,
    span_ns: int,
    limits: PlanLimits,
) -> Iterable[Move]:
    expired = _before(now_ns, rule.expires_s)
    live = [each for each in segments if each.state is SegmentState.LIVE]
    for segment in live:
        if segment.block.to_ns <= expired:
            yield Move(
                MoveKind.EXPIRE, segment.block, (segment.name,), reason=f"{rule.id}: expired"
            )
    cold = _before(now_ns, rule.hot_s)

    def place(segment: Segment) -> tuple[int, int]:
        return segment.block.part, segment.block.from_ns // span_ns

    staying = [each for each in live if each.block.to_ns > expired]
    for (_, span), group in groupby(sorted(staying, key=place), key=place):
        is_over = (span + 1) * span_ns <= cold
        least = limits.small_segments * (1 if is_over else 2)
        chosen = _to_merge(sorted(group, key=lambda each: each.rows), least, limits)
        if chosen:
            yield _merge(rule, chosen)


def _to_merge(group: Sequence[Segment], least: int, limits: PlanLimits) -> list[Segment]:
    """The smallest segments of a span, as many as fit; none when there are fewer than `least`."""
    chosen: list[Segment] = []
    rows = 0
    for segment in group:
        rows += segment.rows
        if rows > limits.merged_rows or len(chosen) == limits.merged_segments:
            break
        chosen.append(segment)
    return chosen if len(chosen) >= least else []


def _merge(rule: LifecycleRule, chosen: Sequence[Segment]) -> Move:
    first = chosen[0].block
    block = Block(
        rule.dataset,
        first.part,
        min(each.block.from_ns for each in chosen),
        max(each.block.to_ns for each in chosen),
    )
    return Move(
        MoveKind.MERGE,
        block,
        tuple(sorted(each.name for each in chosen)),
        location=rule.location or chosen[0].location,
        reason=f"{rule.id}: {len(chosen)} small segments",
    )


def plan_lines(moves: Iterable[Move]) -> list[str]:
    """What moves will do, a line each."""
    return [
        f"{move.kind.value:6} {move.block}"
        f"{f' -> {move.location}' if move.location else ''} ({move.reason})"
        for move in moves
    ]
