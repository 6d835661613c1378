"""What the sources of channels without a log share: no positions, no history but the hub's ring."""

from .ports import Page

__all__ = ["LiveSource"]


class LiveSource:
    """A `ChannelSource` without a log; a source derives from it, and says which channels it has."""

    @property
    def epoch(self) -> str:
        """See `ChannelSource`: the hub has one for each channel."""
        return ""

    async def open(self, channel: str) -> None:
        """See `ChannelSource`."""

    def snapshot(self, channel: str) -> bytes:
        """See `ChannelSource`."""
        return b""

    async def read(self, channel: str, after: int, limit: int) -> Page | None:
        """See `ChannelSource`."""
        return None
