"""Errors of metrics that a user must act on."""

from callboard.messages.core.errors import UsageError

__all__ = ["QueryRefused"]


class QueryRefused(UsageError):
    """An expression or a query is wrong, or outside the subset; the text names the place."""
