"""What actors publish with. The wiring gives each host its own; without one events are dropped."""

from typing import Protocol

from callboard.messages.core.contract import Contract

__all__ = ["NoPublishing", "Publishing"]


class Publishing(Protocol):
    """Takes events for channels that clients outside the system subscribe to.

    It never waits and never fails for want of room: an event that nobody can get is dropped, and
    counted. Any thread may use it.
    """

    def publish(
        self,
        channel: str,
        event: Contract,
        *,
        source: str,
        key: str = "",
        of_system: bool = False,
    ) -> bool:
        """Publish an event. False if it is dropped at once.

        Raises `UsageError` for a channel that has no proper name or is the system's own, and for
        an event that is too large or no JSON. With `of_system` a part of the system publishes to a
        channel of its own: what is wrong is dropped and counted, and without a hub nothing is.
        """


class NoPublishing:
    """The publishing of a host that has none."""

    def __init__(self) -> None:
        self.dropped = 0

    def publish(
        self,
        channel: str,
        event: Contract,
        *,
        source: str,
        key: str = "",
        of_system: bool = False,
    ) -> bool:
        """See `Publishing`."""
        self.dropped += not of_system
        return False
