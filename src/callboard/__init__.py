"""Callboard: a supervised actor runtime on Ray.

The names that nearly every program needs are here; the others are in modules by topic:

    from callboard import Agent, Contract, Request, System, handler, run
    from callboard.errors import DeadlineExceeded

| topic | what for |
|---|---|
| `callboard.alerts` | rules over metrics, receivers, silences |
| `callboard.configuration` | packages and their gates, roll-outs in waves |
| `callboard.errors` | all errors |
| `callboard.events` | logs, aggregates, projections, consumers |
| `callboard.jobs` | plans, sub-tasks, retries |
| `callboard.keyed` | actors that belong to a key |
| `callboard.messaging` | notices, timers, limits, the codec |
| `callboard.metrics` | points, windows, their stores |
| `callboard.pipelines` | rows through stages, exactly once, and dead letters |
| `callboard.placement` | hosts, resources, routing |
| `callboard.reducers` | the merge of many results into one |
| `callboard.states` | states of executions and agents |
| `callboard.storage` | stores and caches by URL |
| `callboard.supervision` | trees, restarts, death notices |
| `callboard.telemetry` | metrics |
| `callboard.testing` | virtual time, probes, faults |
| `callboard.updates` | the progress of an execution |

Invariants: the import of this package imports neither Ray nor any other part of Callboard. The
first use of a name loads it from its one home. A name is public only if it is in `__all__` here or
in a topic's module.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from callboard.actors.executions.handle import ExecutionHandle
    from callboard.actors.kernel.actor import Actor, Agent, handler
    from callboard.actors.kernel.context import Context
    from callboard.actors.kernel.props import props
    from callboard.actors.kernel.spawnable import Props
    from callboard.actors.keyed.actor import KeyedActor
    from callboard.messages.core.contract import Contract, Request
    from callboard.messages.core.errors import CallboardError
    from callboard.messages.core.ref import Ref
    from callboard.messages.jobs.job import Job, JobContext
    from callboard.messages.jobs.plan import Plan, SubTask
    from callboard.runtime.api.pools import Pool
    from callboard.runtime.api.run import run
    from callboard.runtime.api.start import attach, start
    from callboard.runtime.api.system import System
    from callboard.runtime.hosting.settings import Settings, SettingsOptions
    from callboard.runtime.hosting.ui_settings import UiSettings
    from callboard.runtime.web.settings import WebSettings

    from . import alerts as alerts
    from . import configuration as configuration
    from . import errors as errors
    from . import events as events
    from . import jobs as jobs
    from . import keyed as keyed
    from . import messaging as messaging
    from . import metrics as metrics
    from . import pipelines as pipelines
    from . import placement as placement
    from . import reducers as reducers
    from . import remote as remote
    from . import states as states
    from . import storage as storage
    from . import streaming as streaming
    from . import supervision as supervision
    from . import telemetry as telemetry
    from . import testing as testing
    from . import updates as updates

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
    "UiSettings",
    "WebSettings",
    "__version__",
    "attach",
    "handler",
    "props",
    "run",
    "start",
]

__version__: Final = "0.1.0"
"""The release."""

TOPICS: Final = (
    "alerts",
    "configuration",
    "errors",
    "events",
    "jobs",
    "keyed",
    "messaging",
    "metrics",
    "pipelines",
    "placement",
    "reducers",
    "remote",
    "states",
    "storage",
    "streaming",
    "supervision",
    "telemetry",
    "testing",
    "updates",
)
"""The public modules of this package."""

# Loaded at first use, so that `callboard --help` and hosts load only the parts that they need. A
# test compares this with the imports above, which type checkers read.
_HOMES: Final = {
    "callboard.actors.kernel.actor": ("Actor", "Agent", "handler"),
    "callboard.actors.kernel.context": ("Context",),
    "callboard.actors.executions.handle": ("ExecutionHandle",),
    "callboard.actors.keyed.actor": ("KeyedActor",),
    "callboard.actors.kernel.props": ("props",),
    "callboard.actors.kernel.spawnable": ("Props",),
    "callboard.messages.core.contract": ("Contract", "Request"),
    "callboard.messages.core.errors": ("CallboardError",),
    "callboard.messages.jobs.job": ("Job", "JobContext"),
    "callboard.messages.jobs.plan": ("Plan", "SubTask"),
    "callboard.messages.core.ref": ("Ref",),
    "callboard.runtime.api.run": ("run",),
    "callboard.runtime.api.start": ("attach", "start"),
    "callboard.runtime.api.pools": ("Pool",),
    "callboard.runtime.hosting.settings": ("Settings", "SettingsOptions"),
    "callboard.runtime.hosting.ui_settings": ("UiSettings",),
    "callboard.runtime.web.settings": ("WebSettings",),
    "callboard.runtime.api.system": ("System",),
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
