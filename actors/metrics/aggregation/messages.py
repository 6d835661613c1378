"""The contracts of aggregators and of the actor that keeps their windows."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from callboard.messages.core.codec import Array
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.ref import Ref

from ..ports import Extent
from ..series import Matcher, MatcherKind

__all__ = [
    "ClaimShard",
    "CloseDue",
    "CommitShard",
    "ExtentsRead",
    "FollowWindows",
    "LateRead",
    "MatcherText",
    "NewestRead",
    "PackShard",
    "ReadClaimed",
    "ReadExtents",
    "ReadLate",
    "ReadNewest",
    "ReadNewestExtents",
    "ReadNewestSeries",
    "ReadSeries",
    "ReadShard",
    "ReadShards",
    "ReadWindows",
    "SeriesRead",
    "ShardAwake",
    "ShardClaimed",
    "ShardCommitted",
    "ShardPacked",
    "ShardRead",
    "ShardsRead",
    "StageCommit",
    "WakeShard",
    "WakeShards",
    "WindowsClosed",
    "WindowsFollowed",
    "WindowsRead",
    "matchers_of",
    "matchers_text",
]

MatcherText = tuple[str, str, str]
"""A matcher: the tag, the comparison, and the value."""


def matchers_text(matchers: Sequence[Matcher]) -> tuple[MatcherText, ...]:
    """Matchers, as a message carries them."""
    return tuple((tag, kind.value, value) for tag, kind, value in matchers)


def matchers_of(texts: tuple[MatcherText, ...]) -> tuple[Matcher, ...]:
    """The matchers of a message. Raises `ValueError` for an unknown comparison."""
    return tuple(Matcher(tag, MatcherKind(kind), value) for tag, kind, value in texts)


# --- answers ------------------------------------------------------------------------------------


class WindowsRead(Contract, name="callboard.metrics.windows_read"):
    """Windows, as `packed.pack_windows` packs them."""

    data: bytes


class SeriesRead(Contract, name="callboard.metrics.series_read"):
    """Series, as `packed.series_text` writes them."""

    series: tuple[str, ...]


class ExtentsRead(Contract, name="callboard.metrics.extents_read"):
    """For each width the time that its windows cover."""

    extents: tuple[tuple[int, int, int], ...]
    """Width, first start, and end."""

    def extents_by_width(self) -> dict[int, Extent]:
        """The same as a mapping."""
        return {width: Extent(first, until) for width, first, until in self.extents}


# --- the store ----------------------------------------------------------------------------------


class ShardClaimed(Contract, name="callboard.metrics.shard_claimed"):
    """The first part of what a store has of a shard."""

    sizes: tuple[int, ...]
    """The bytes of the state, and of each entry of the log."""
    data: bytes


class ClaimShard(Request[ShardClaimed], name="callboard.metrics.claim_shard"):
    """Claim a shard; see `MetricsStorage.claim`."""

    shard: int
    fence: int


class ReadClaimed(Request[WindowsRead], name="callboard.metrics.read_claimed"):
    """Read on in what a claim has found."""

    shard: int
    fence: int
    at: int
    """The bytes that have come so far."""


class ShardCommitted(Contract, name="callboard.metrics.shard_committed"):
    """The commit is durable, or its part has come; or nothing has happened."""

    failure: dict[str, Any] | None = None
    """Why nothing has happened, so that the commit may be repeated. As an error of a handler it
    would say that something may have happened."""


class StageCommit(Request[ShardCommitted], name="callboard.metrics.stage_commit"):
    """One part of a commit that is too large for one message."""

    shard: int
    fence: int
    number: int
    """The number of the part, from 0 on; the first one replaces what was staged before."""
    data: bytes


class CommitShard(Request[ShardCommitted], name="callboard.metrics.commit_shard"):
    """Commit; see `MetricsStorage.commit`."""

    shard: int
    fence: int
    staged: int
    """The parts that have come before."""
    data: bytes
    """The last part."""
    sizes: tuple[int, ...]
    """The bytes of the log entry, of the state, and of the windows of each width."""
    has_state: bool


class ShardPacked(Contract, name="callboard.metrics.shard_packed"):
    """The number of blocks that went."""

    blocks: int


class PackShard(Request[ShardPacked], name="callboard.metrics.pack_shard"):
    """Pack stored windows; see `HotStorage.pack`."""

    shard: int
    before_ns: int
    blocks_max: int


class ReadWindows(Request[WindowsRead], name="callboard.metrics.read_windows"):
    """Read stored windows; see `WindowReader.windows`."""

    matchers: tuple[MatcherText, ...]
    width_ns: int
    from_ns: int
    to_ns: int
    limit: int


class ReadSeries(Request[SeriesRead], name="callboard.metrics.read_series"):
    """Read the series of stored windows; see `WindowReader.series`."""

    matchers: tuple[MatcherText, ...]
    from_ns: int
    to_ns: int
    limit: int


class ShardsRead(Contract, name="callboard.metrics.shards_read"):
    """The shards that a store has."""

    shards: tuple[int, ...]


class ReadShards(Request[ShardsRead], name="callboard.metrics.read_shards"):
    """Read which shards were ever claimed."""


class ReadExtents(Request[ExtentsRead], name="callboard.metrics.read_extents"):
    """Read the time that stored windows cover."""


# --- the aggregators ----------------------------------------------------------------------------


class NewestRead(Contract, name="callboard.metrics.newest_read"):
    """Windows in the memory of an aggregator."""

    data: bytes
    """See `WindowsRead`."""
    complete_from_ns: int
    """All windows of this shard and width that begin at or after this time are in memory."""


class ReadNewest(Request[NewestRead], name="callboard.metrics.read_newest"):
    """Read the newest windows of a shard, open ones among them; see `WindowReader.windows`."""

    shard: int
    matchers: tuple[MatcherText, ...]
    width_ns: int
    from_ns: int
    to_ns: int
    limit: int


class ReadNewestSeries(Request[SeriesRead], name="callboard.metrics.read_newest_series"):
    """Read the series of the newest windows of a shard; see `WindowReader.series`."""

    shard: int
    matchers: tuple[MatcherText, ...]
    from_ns: int
    to_ns: int
    limit: int


class ReadNewestExtents(Request[ExtentsRead], name="callboard.metrics.read_newest_extents"):
    """Read the time that the newest windows of a shard cover."""

    shard: int


class LateRead(Contract, name="callboard.metrics.late_read"):
    """Points that came too late for their windows, oldest first."""

    series: tuple[str, ...]
    """Series, as `packed.series_text` writes them."""
    index: Array
    """For each point the place of its series (int32)."""
    times_ns: Array
    values: Array
    discarded: int = 0
    """Late points of the shard that can no longer be read, because newer ones took their room."""


class ReadLate(Request[LateRead], name="callboard.metrics.read_late"):
    """Read the newest points of a shard that came too late."""

    shard: int
    limit: int = Field(default=1_000, ge=1)


class ShardRead(Contract, name="callboard.metrics.shard_read"):
    """The figures of an aggregator since it began."""

    shard: int
    host: str
    figures: dict[str, float]


class ReadShard(Request[ShardRead], name="callboard.metrics.read_shard"):
    """Ask an aggregator for its figures."""

    shard: int


class ShardAwake(Contract, name="callboard.metrics.shard_awake"):
    """The aggregator of a shard runs."""


class WakeShard(Request[ShardAwake], name="callboard.metrics.wake_shard"):
    """Activate the aggregator of a shard, so that its open windows close in time."""

    shard: int


class WakeShards(Contract, name="callboard.metrics.wake_shards"):
    """The timer that keeps all shards active."""


class CloseDue(Contract, name="callboard.metrics.close_due"):
    """The timer of an aggregator."""

    shard: int


class WindowsFollowed(Contract, name="callboard.metrics.windows_followed"):
    """The follower gets windows for so many seconds; it asks again before they are over."""

    for_s: float


class FollowWindows(Request[WindowsFollowed], name="callboard.metrics.follow_windows"):
    """Send each closed window of a shard to `follower`, as `WindowsClosed`."""

    shard: int
    follower: Ref[Any]


class WindowsClosed(Contract, name="callboard.metrics.windows_closed"):
    """Windows of one shard and width that have closed, or were corrected, and are durable."""

    shard: int
    width_ns: int
    data: bytes
    """See `WindowsRead`."""
