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

from collections.abc import Sequence
from typing import NamedTuple

from ..points import MetricSource, PointBatch, PointsAccepted
from ..rows import WindowRows
from ..series import Matcher
from .accounts import Accounts, Applied, LatePoints, Warning
from .settings import DEFAULT_SETTINGS, WindowSettings

__all__ = ["Commit", "ShardWindows", "WindowStatistics"]


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
    accounts: Accounts


class ShardWindows:
    """The windows of one shard."""

    def __init__(self, settings: WindowSettings = DEFAULT_SETTINGS) -> None: ...

    def restore(self, state: bytes, log: Sequence[bytes]) -> None:
        """Go on from what a store has; only on a new core. Raises `StoreDamaged`."""

    def apply(self, batch: PointBatch, now_ns: int) -> Applied:
        """Take a batch. Never raises for what is in it: each point gets its outcome.

        An empty batch reports the source's watermark; with `SOURCE_ENDED_NS` the source says
        that it sends nothing more.
        """
        raise NotImplementedError

    def accepted(self, source: MetricSource) -> PointsAccepted:
        """What the core has taken of a source; zeros for one that it does not know."""
        raise NotImplementedError

    def take_commit(self, now_ns: int, *, whole: bool = False, with_open: bool = False) -> Commit:
        """Give up gaps and idle sources, close what is due, and encode what changed.

        `whole` encodes the whole state instead of the change. `with_open` also gives windows
        that are still open, with `OPEN` in their flags: for a shard that stops in order.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    def take_late(self) -> LatePoints:
        """Empty the side output: the newest points that came too late, oldest first."""
        raise NotImplementedError

    def take_warnings(self) -> tuple[Warning, ...]:
        """What happened since the last call that a person may want to know."""
        raise NotImplementedError

    def statistics(self) -> WindowStatistics:
        """Figures of this shard, cheap enough for every commit."""
        raise NotImplementedError
