"""The settings of a shard's windows: widths, lateness, limits. Times are in nanoseconds."""

import math
from dataclasses import dataclass
from typing import Final

from callboard.messages.core.errors import UsageError

from ..rows import WINDOWS_NS

__all__ = ["DEFAULT_SETTINGS", "CustomWindow", "Level", "WindowSettings", "levels_of"]

SECOND_NS: Final = 1_000_000_000
FINEST_NS: Final = WINDOWS_NS[0]
CUSTOM_MAX: Final = 8
PANES_MAX: Final = 1_440
"""The panes of one custom window: a day in steps of a minute."""
OVERLAP_MAX: Final = 60
"""The sliding windows that contain one moment."""
SERIES_MAX: Final = 1 << 19
"""The series of one shard, those for overflow included: their number has 19 bits in a code."""


@dataclass(frozen=True, slots=True)
class CustomWindow:
    """A window next to the four: it begins at each whole multiple of `step_ns`.

    It tumbles if its step is its width, and slides if its step is shorter.
    """

    width_ns: int
    """How long each window is, in nanoseconds."""
    step_ns: int
    """How far apart windows begin, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """How a shard treats time, and how much it takes."""

    lateness_ns: int = 120 * SECOND_NS
    """How long after its end a window takes corrections. Later points go to the side output."""
    idle_ns: int = 30 * SECOND_NS
    """A source that reports nothing for so long does not hold the watermark back any more."""
    hold_ns: int = 600 * SECOND_NS
    """A source that reports does not hold the watermark back either, if its own stands still for
    so long, or is so far behind the newest one of another source."""
    gap_ns: int = 60 * SECOND_NS
    """Points that are missing for so long between others of their source are given up."""
    future_ns: int = 300 * SECOND_NS
    """Points that are so far ahead of the clock are dropped."""
    past_ns: int = 86_400 * SECOND_NS
    """Points that are so far behind the clock are dropped."""
    forget_ns: int = 3_600 * SECOND_NS
    """A source that reports nothing for so long is forgotten, with its numbers."""
    custom: tuple[CustomWindow, ...] = ()
    """Windows next to the four."""
    tenant_tag: str = ""
    """The tag that names a tenant; without one all series are of one tenant."""
    series_per_tenant_max: int = 100_000
    """Further series of a tenant are counted in its overflow series."""
    cells_max: int = 16_000_000
    """Open windows times series, at 72 bytes each. Points that need more are dropped."""
    sources_max: int = 10_000
    """Sources of one shard. Batches of a further one are refused for now."""
    gaps_max: int = 64
    """Gaps between the points of one source. A batch that makes one more is refused for now."""
    late_points_max: int = 10_000
    """Points in the side output of a shard, some 24 bytes each in its state. With more, the oldest
    are discarded, and counted."""
    credit_points: int = 1_000_000
    """Points that a source may send beyond those that are durable."""

    def __post_init__(self) -> None:
        levels_of(self.custom)
        for name in ("lateness_ns", "idle_ns", "hold_ns", "gap_ns", "future_ns", "past_ns"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is negative.", advice="Use 0 or more.")
        if not 1 <= self.series_per_tenant_max < SERIES_MAX:
            raise UsageError(
                f"series_per_tenant_max is {self.series_per_tenant_max}.",
                advice=f"Use a number from 1 to {SERIES_MAX - 1:,}.",
            )


@dataclass(frozen=True, slots=True)
class Level:
    """Windows of one width, and the level whose windows they consist of.

    Levels form a tree: each is merged from its source level, and those without a source take
    points. Some levels are only panes, from which sliding windows are made.
    """

    width_ns: int
    step_ns: int
    source: int | None
    """The place of the finer level; None for a level that takes points."""
    is_given: bool = True
    """Whether its windows are given out; panes are not."""

    def starts_with(self, start_ns: int, width_ns: int) -> range:
        """The starts of the windows here that contain the finer one from `start_ns` on."""
        last = start_ns // self.step_ns * self.step_ns
        first = -((self.width_ns - width_ns - start_ns) // self.step_ns) * self.step_ns
        return range(first, last + 1, self.step_ns)


def levels_of(custom: tuple[CustomWindow, ...]) -> tuple[Level, ...]:
    """The four levels and those of custom windows, each after its source.

    Raises `UsageError` for windows that cannot be made of at most 1,440 equal panes.
    """
    levels = [Level(WINDOWS_NS[0], WINDOWS_NS[0], None)]
    for width in WINDOWS_NS[1:]:
        levels.append(Level(width, width, len(levels) - 1))
    if len(custom) > CUSTOM_MAX:
        raise UsageError(
            f"there are {len(custom)} custom windows.", advice=f"Use at most {CUSTOM_MAX}."
        )
    for window in custom:
        width, step = window.width_ns, window.step_ns
        _check(window, [level.width_ns for level in levels if level.is_given])
        pane = math.gcd(width, step)
        if pane % FINEST_NS == 0:
            levels.append(Level(width, step, 0))
        elif width == step:
            levels.append(Level(width, step, None))
        else:
            panes = Level(pane, pane, None, is_given=False)
            if panes not in levels:
                levels.append(panes)
            levels.append(Level(width, step, levels.index(panes)))
    return tuple(levels)


def _check(window: CustomWindow, widths: list[int]) -> None:
    width, step = window.width_ns, window.step_ns
    if not 0 < step <= width <= WINDOWS_NS[-1] or step < SECOND_NS:
        raise UsageError(
            f"a window of {width} ns has a step of {step} ns.",
            advice="Use a step of at least a second, and a width from the step to a day.",
        )
    if width // math.gcd(width, step) > PANES_MAX or width > step * OVERLAP_MAX:
        raise UsageError(
            f"a window of {width} ns in steps of {step} ns needs too many panes.",
            advice=f"Use a width and a step whose greatest common divisor is at least "
            f"1/{PANES_MAX} of the width, and a step of at least 1/{OVERLAP_MAX} of it.",
        )
    if width in widths:
        raise UsageError(
            f"there are two windows of {width} ns.", advice="Give each window its own width."
        )


DEFAULT_SETTINGS: Final = WindowSettings()
