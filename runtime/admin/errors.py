"""Errors of the admin API that programs tell apart by their codes."""

from typing import ClassVar

from callboard.messages.core.errors import CallboardError, UsageError

__all__ = ["AccessDenied", "NotServed", "StaleVersion", "UnknownExecution", "UnknownJob"]


class AccessDenied(CallboardError):
    """The principal does not have the scope of the request."""

    code: ClassVar[str] = "access_denied"


class NotServed(UsageError):
    """This process does not answer requests of this kind."""

    code: ClassVar[str] = "not_served"


class StaleVersion(CallboardError):
    """The resource has changed since the caller read it."""

    code: ClassVar[str] = "stale"


class UnknownExecution(UsageError):
    """The journal has no execution of this id."""

    code: ClassVar[str] = "unknown_execution"


class UnknownJob(UsageError):
    """The system offers no job of this name."""

    code: ClassVar[str] = "unknown_job"
