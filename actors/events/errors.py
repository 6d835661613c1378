"""The errors of reading events, of projections and of consumers."""

from callboard.messages.core.errors import CallboardError

__all__ = ["EventUnreadable", "GroupTaken", "ProjectionChanged", "ProjectionFailed"]


class EventUnreadable(CallboardError):
    """An event of a known kind and version does not decode: bad bytes, or a failing upcaster."""

    code = "event_unreadable"


class ProjectionFailed(CallboardError):
    """A projection cannot fold an event. Its read model has all events before this one."""

    code = "projection_failed"


class ProjectionChanged(CallboardError):
    """Another version of the projection made the read model: it must be rebuilt."""

    code = "projection_changed"


class GroupTaken(CallboardError):
    """Another process has taken the same group of consumers over."""

    code = "group_taken"
