"""What a driver sees of its system: views, logs, metrics of its own; the settings of traces."""

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
from callboard.runtime.telemetry.tracing.settings import TracingSettings

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
    "TracingSettings",
    "measure",
]
