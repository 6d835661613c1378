"""Conditions on the tags of events: what clients ask for, and what a token lets them see."""

from fnmatch import fnmatchcase

from ..core.contract import Contract

__all__ = ["ChannelRule", "StreamFilter"]


class StreamFilter(Contract, name="callboard.streaming.filter"):
    """A condition on the tags of events: a comparison, or a combination of conditions."""

    op: str = ""
    """`and`, `or`, `not` for a combination; empty for a comparison."""
    nodes: tuple["StreamFilter", ...] = ()
    """The conditions that are combined."""
    key: str = ""
    """The name of the tag that is compared."""
    cmp: str = ""
    """`eq`, `neq`, `in`, `nin`, `ex`, `nex`, `sw`, `ew`, `ct`, `gt`, `gte`, `lt` or `lte`."""
    val: str = ""
    """What the tag is compared with."""
    vals: tuple[str, ...] = ()
    """The same for `in` and `nin`."""


class ChannelRule(Contract, name="callboard.streaming.rule"):
    """What a client may see of the channels that a pattern covers. The server sets it."""

    channels: str
    """A pattern in the form of `fnmatch`, by case."""
    filter: StreamFilter
    """The condition that an event must fulfil."""

    def covers(self, channel: str) -> bool:
        """Whether it counts for this channel."""
        return fnmatchcase(channel, self.channels)
