"""Metrics of projections, logs and caches that a program adds to those of its driver."""

from callboard.messages.control.logs import LogRow, LogsPage
from callboard.messages.control.views import (
    ActorLoad,
    ActorView,
    CallboardView,
    DriverView,
    HostView,
    LinkView,
    StandbyView,
)
from callboard.runtime.api.measure import measure

__all__ = [
    "ActorLoad",
    "ActorView",
    "CallboardView",
    "DriverView",
    "HostView",
    "LinkView",
    "LogRow",
    "LogsPage",
    "StandbyView",
    "measure",
]
