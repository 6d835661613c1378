"""Callboard: a supervised actor runtime on Ray.

What nearly every program needs is here; the rest is by topic:

    from callboard import Agent, Contract, Request, System, handler, run
    from callboard.errors import DeadlineExceeded

| topic | what for |
|---|---|
| `callboard.errors` | everything one may catch |
| `callboard.events` | logs, aggregates, projections, consumers |
| `callboard.jobs` | plans, sub-tasks, retries |
| `callboard.keyed` | actors that belong to a key |
| `callboard.messaging` | notices, timers, limits, the codec |
| `callboard.placement` | hosts, resources, routing |
| `callboard.reducers` | one result of many |
| `callboard.states` | states of executions and agents |
| `callboard.storage` | stores and caches by URL |
| `callboard.supervision` | trees, restarts, death notices |
| `callboard.telemetry` | metrics |
| `callboard.testing` | virtual time, probes, faults |
| `callboard.updates` | the progress of an execution |

Invariants: importing this package imports neither Ray nor any other part of Callboard, each
name is fetched from its one home when it is first used, and a name is public only if it is
in `__all__` here or in a topic's.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from callboard.actors.actor import Actor, Agent, handler
    from callboard.actors.context import Context
    from callboard.actors.execution.handle import ExecutionHandle
    from callboard.actors.keyed.actor import KeyedActor
    from callboard.actors.props import props
    from callboard.actors.spawnable import Props
    from callboard.messages.contract import Contract, Request
    from callboard.messages.errors import CallboardError
    from callboard.messages.job import Job, JobContext
    from callboard.messages.plan import Plan, SubTask
    from callboard.messages.ref import Ref
    from callboard.runtime.driver import run
    from callboard.runtime.opening import attach, start
    from callboard.runtime.pools import Pool
    from callboard.runtime.settings import Settings, SettingsOptions
    from callboard.runtime.system import System

    from . import (
        errors as errors,
    )
    from . import (
        events as events,
    )
    from . import (
        jobs as jobs,
    )
    from . import (
        keyed as keyed,
    )
    from . import (
        messaging as messaging,
    )
    from . import (
        placement as placement,
    )
    from . import (
        reducers as reducers,
    )
    from . import (
        states as states,
    )
    from . import (
        storage as storage,
    )
    from . import (
        supervision as supervision,
    )
    from . import (
        telemetry as telemetry,
    )
    from . import (
        testing as testing,
    )
    from . import (
        updates as updates,
    )

__all__ = [
    "Actor",
    "Agent",
    "CallboardError",
    "Context",
    "Contract",
    "ExecutionHandle",
    "Job",
    "JobContext",
    "KeyedActor",
    "Plan",
    "Pool",
    "Props",
    "Ref",
    "Request",
    "Settings",
    "SettingsOptions",
    "SubTask",
    "System",
    "__version__",
    "attach",
    "handler",
    "props",
    "run",
    "start",
]

__version__: Final = "0.1.0"

TOPICS: Final = (
    "errors",
    "events",
    "jobs",
    "keyed",
    "messaging",
    "placement",
    "reducers",
    "states",
    "storage",
    "supervision",
    "telemetry",
    "testing",
    "updates",
)
"""The modules of this package that are public: all else is by topic."""

# Fetched at first use, so that `callboard --help` and a host that needs one part of it do not
# pay for all; a test holds it against the imports above, which type checkers read.
_HOMES: Final = {
    "callboard.actors.actor": ("Actor", "Agent", "handler"),
    "callboard.actors.context": ("Context",),
    "callboard.actors.execution.handle": ("ExecutionHandle",),
    "callboard.actors.keyed.actor": ("KeyedActor",),
    "callboard.actors.props": ("props",),
    "callboard.actors.spawnable": ("Props",),
    "callboard.messages.contract": ("Contract", "Request"),
    "callboard.messages.errors": ("CallboardError",),
    "callboard.messages.job": ("Job", "JobContext"),
    "callboard.messages.plan": ("Plan", "SubTask"),
    "callboard.messages.ref": ("Ref",),
    "callboard.runtime.driver": ("run",),
    "callboard.runtime.opening": ("attach", "start"),
    "callboard.runtime.pools": ("Pool",),
    "callboard.runtime.settings": ("Settings", "SettingsOptions"),
    "callboard.runtime.system": ("System",),
}


if not TYPE_CHECKING:  # or a type checker would take any misspelt name for an Any

    def __getattr__(name: str) -> Any:
        if name in TOPICS:
            return importlib.import_module(f"callboard.{name}")
        for home, names in _HOMES.items():
            if name in names:
                value = getattr(importlib.import_module(home), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module 'callboard' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *TOPICS})
