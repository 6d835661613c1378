"""Callboard: a supervised actor runtime on Ray.

Everything that a driver script needs is here; `callboard.errors` holds what it may catch.

    from callboard import Agent, Contract, Request, System, handler, run

Invariants: importing this package imports neither Ray nor any other part of Callboard, each
name is fetched from its one home when it is first used, and a name is public only if it is
in `__all__`.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from callboard.actors.actor import Actor, Agent, OnError, OnRestart, Overflow, handler
    from callboard.actors.aggregator import conflicts, reducers
    from callboard.actors.context import Context
    from callboard.actors.events.aggregate import Aggregate, applies, decides
    from callboard.actors.events.codec import EventCodec, Unknown
    from callboard.actors.events.commands import Commands
    from callboard.actors.events.consumers.core import ConsumersLimits
    from callboard.actors.events.consumers.group import ConsumerGroup
    from callboard.actors.events.log import FollowedLog
    from callboard.actors.events.projection.actor import ProjectorActor
    from callboard.actors.events.projection.projection import Projection, Rows, projects
    from callboard.actors.events.projection.projector import Projector
    from callboard.actors.events.projection.queries import Queries
    from callboard.actors.events.snapshots import Snapshots
    from callboard.actors.events.subscription.reader import Follower
    from callboard.actors.events.subscription.subscription import Subscription
    from callboard.actors.execution.handle import ExecutionHandle
    from callboard.actors.keyed.actor import KeyedActor, StoreActor
    from callboard.actors.timers import Timer
    from callboard.actors.tree.ref import TreeRef
    from callboard.actors.tree.spec import ActorSpec, TreeSpec
    from callboard.actors.watch.watching import Watch
    from callboard.messages import errors, updates
    from callboard.messages.codec import Array
    from callboard.messages.contract import Contract, Request
    from callboard.messages.errors import CallboardError
    from callboard.messages.execution import OnFailure
    from callboard.messages.hosts import HostSpec
    from callboard.messages.job import Job, JobContext, LargeResults, Route
    from callboard.messages.letters import DeadLetter
    from callboard.messages.lifecycle import Exit, ExitReason
    from callboard.messages.limits import Limits
    from callboard.messages.notices import Down, Exited, NameChanged, Offers
    from callboard.messages.placement import Placement, Resources
    from callboard.messages.plan import Plan, SubTask
    from callboard.messages.ref import Ref
    from callboard.messages.retry import RetryPolicy
    from callboard.messages.routing import Routing, consistent_hash
    from callboard.messages.spec import (
        AutoShutdown,
        Backoff,
        ChildSpec,
        Intensity,
        Restart,
        StopTimeout,
        Strategy,
        SupervisorSpec,
    )
    from callboard.runtime.driver import run
    from callboard.runtime.durable import open_log, open_states, projector_spec
    from callboard.runtime.opening import attach, start
    from callboard.runtime.settings import Settings
    from callboard.runtime.system import System
    from callboard.runtime.telemetry.measure import measure

__all__ = [
    "Actor",
    "ActorSpec",
    "Agent",
    "Aggregate",
    "Array",
    "AutoShutdown",
    "Backoff",
    "CallboardError",
    "ChildSpec",
    "Commands",
    "ConsumerGroup",
    "ConsumersLimits",
    "Context",
    "Contract",
    "DeadLetter",
    "Down",
    "EventCodec",
    "ExecutionHandle",
    "Exit",
    "ExitReason",
    "Exited",
    "FollowedLog",
    "Follower",
    "HostSpec",
    "Intensity",
    "Job",
    "JobContext",
    "KeyedActor",
    "LargeResults",
    "Limits",
    "NameChanged",
    "Offers",
    "OnError",
    "OnFailure",
    "OnRestart",
    "Overflow",
    "Placement",
    "Plan",
    "Projection",
    "Projector",
    "ProjectorActor",
    "Queries",
    "Ref",
    "Request",
    "Resources",
    "Restart",
    "RetryPolicy",
    "Route",
    "Routing",
    "Rows",
    "Settings",
    "Snapshots",
    "StopTimeout",
    "StoreActor",
    "Strategy",
    "SubTask",
    "Subscription",
    "SupervisorSpec",
    "System",
    "Timer",
    "TreeRef",
    "TreeSpec",
    "Unknown",
    "Watch",
    "__version__",
    "applies",
    "attach",
    "conflicts",
    "consistent_hash",
    "decides",
    "errors",
    "handler",
    "measure",
    "open_log",
    "open_states",
    "projector_spec",
    "projects",
    "reducers",
    "run",
    "start",
    "updates",
]

__version__: Final = "0.1.0"

# Fetched at first use, so that `callboard --help` and a host that needs one part of it do not
# pay for all; a test holds it against the imports above, which type checkers read.
_HOMES_OF_MODULES: Final = ("callboard.actors.aggregator", "callboard.messages")
"""Folders of which whole modules are public."""

_HOMES: Final = {
    "callboard.actors.actor": ("Actor", "Agent", "OnError", "OnRestart", "Overflow", "handler"),
    "callboard.actors.aggregator": ("conflicts", "reducers"),
    "callboard.actors.context": ("Context",),
    "callboard.actors.events.aggregate": ("Aggregate", "applies", "decides"),
    "callboard.actors.events.codec": ("EventCodec", "Unknown"),
    "callboard.actors.events.commands": ("Commands",),
    "callboard.actors.events.consumers.core": ("ConsumersLimits",),
    "callboard.actors.events.consumers.group": ("ConsumerGroup",),
    "callboard.actors.events.log": ("FollowedLog",),
    "callboard.actors.events.projection.actor": ("ProjectorActor",),
    "callboard.actors.events.projection.projection": ("Projection", "Rows", "projects"),
    "callboard.actors.events.projection.projector": ("Projector",),
    "callboard.actors.events.projection.queries": ("Queries",),
    "callboard.actors.events.snapshots": ("Snapshots",),
    "callboard.actors.events.subscription.reader": ("Follower",),
    "callboard.actors.events.subscription.subscription": ("Subscription",),
    "callboard.actors.execution.handle": ("ExecutionHandle",),
    "callboard.actors.keyed.actor": ("KeyedActor", "StoreActor"),
    "callboard.actors.timers": ("Timer",),
    "callboard.actors.tree.ref": ("TreeRef",),
    "callboard.actors.tree.spec": ("ActorSpec", "TreeSpec"),
    "callboard.actors.watch.watching": ("Watch",),
    "callboard.messages": ("errors", "updates"),
    "callboard.messages.codec": ("Array",),
    "callboard.messages.contract": ("Contract", "Request"),
    "callboard.messages.errors": ("CallboardError",),
    "callboard.messages.execution": ("OnFailure",),
    "callboard.messages.hosts": ("HostSpec",),
    "callboard.messages.job": ("Job", "JobContext", "LargeResults", "Route"),
    "callboard.messages.letters": ("DeadLetter",),
    "callboard.messages.lifecycle": ("Exit", "ExitReason"),
    "callboard.messages.limits": ("Limits",),
    "callboard.messages.notices": ("Down", "Exited", "NameChanged", "Offers"),
    "callboard.messages.placement": ("Placement", "Resources"),
    "callboard.messages.plan": ("Plan", "SubTask"),
    "callboard.messages.ref": ("Ref",),
    "callboard.messages.routing": ("Routing", "consistent_hash"),
    "callboard.messages.retry": ("RetryPolicy",),
    "callboard.messages.spec": (
        "AutoShutdown",
        "Backoff",
        "ChildSpec",
        "Intensity",
        "Restart",
        "StopTimeout",
        "Strategy",
        "SupervisorSpec",
    ),
    "callboard.runtime.driver": ("run",),
    "callboard.runtime.durable": ("open_log", "open_states", "projector_spec"),
    "callboard.runtime.settings": ("Settings",),
    "callboard.runtime.opening": ("attach", "start"),
    "callboard.runtime.system": ("System",),
    "callboard.runtime.telemetry.measure": ("measure",),
}


if not TYPE_CHECKING:  # or a type checker would take any misspelt name for an Any

    def __getattr__(name: str) -> Any:
        for home, names in _HOMES.items():
            if name in names:
                value: Any
                if home in _HOMES_OF_MODULES:
                    value = importlib.import_module(f"{home}.{name}")
                else:
                    value = getattr(importlib.import_module(home), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module 'callboard' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
