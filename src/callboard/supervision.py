"""The supervision of actors and hosts: trees, restarts, death notices."""

from callboard.actors.kernel.actor import OnError, OnRestart
from callboard.actors.kernel.monitors.monitors import Watch
from callboard.actors.trees.ref import TreeRef
from callboard.actors.trees.spec import ActorSpec, TreeSpec
from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.notices import Down, Exited
from callboard.messages.control.spec import (
    AutoShutdown,
    Backoff,
    Intensity,
    Restart,
    StopTimeout,
    Strategy,
    SupervisorSpec,
)
from callboard.messages.control.trees import DeclaredChild, SupervisorView

__all__ = [
    "ActorSpec",
    "AutoShutdown",
    "Backoff",
    "DeclaredChild",
    "Down",
    "Exit",
    "ExitReason",
    "Exited",
    "Intensity",
    "OnError",
    "OnRestart",
    "Restart",
    "StopTimeout",
    "Strategy",
    "SupervisorSpec",
    "SupervisorView",
    "TreeRef",
    "TreeSpec",
    "Watch",
]
