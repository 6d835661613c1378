"""How actors and hosts are supervised: trees, restarts, death notices."""

from callboard.actors.actor import OnError, OnRestart
from callboard.actors.tree.ref import TreeRef
from callboard.actors.tree.spec import ActorSpec, TreeSpec
from callboard.actors.watch.watching import Watch
from callboard.messages.lifecycle import Exit, ExitReason
from callboard.messages.notices import Down, Exited
from callboard.messages.spec import (
    AutoShutdown,
    Backoff,
    Intensity,
    Restart,
    StopTimeout,
    Strategy,
    SupervisorSpec,
)

__all__ = [
    "ActorSpec",
    "AutoShutdown",
    "Backoff",
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
    "TreeRef",
    "TreeSpec",
    "Watch",
]
