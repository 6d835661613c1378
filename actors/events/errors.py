"""The errors of reading events, of projections and of consumers."""

from callboard.messages.core.errors import CallboardError

__all__ = ["EventUnreadable", "GroupTaken", "ProjectionChanged", "ProjectionFailed"]


class EventUnreadable(CallboardError):
    """An event of a known kind and version does not decode: its bytes, or an upcaster."""

    code = "event_unreadable"


class ProjectionFailed(CallboardError):
    """A projection cannot fold an event; its read model stands right before it."""

    code = "projection_failed"


class ProjectionChanged(CallboardError):
    """The read model was made by another version of the projection: it must be rebuilt."""

    code = "projection_changed"


class GroupTaken(CallboardError):
    """Somebody else has taken over the same group of consumers."""

    code = "group_taken"
