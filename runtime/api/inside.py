"""What is under a `System`, for the command line, the simulator, tests and benchmarks.

Users have no need of it: nothing here is public, and all of it may change.
"""

from collections.abc import Sequence
from typing import Any

from callboard.actors.kernel.host.host import Host
from callboard.messages.core.errors import UsageError

from ..control_plane.control import Connection, Control
from ..control_plane.root import Root
from .system import System

__all__ = ["host_of", "processes_of", "root_of"]


def _presence_of(system: System) -> Connection:
    return system._running()  # noqa: SLF001 - this module is the one way in


def host_of(system: System) -> Host:
    """The driver's own host."""
    return _presence_of(system).host


def root_of(system: System) -> Root:
    """The root supervisor; that of a detached system lives elsewhere (`UsageError`)."""
    connection = _presence_of(system)
    if not isinstance(connection, Control):
        raise UsageError(
            "the root of a detached system is in another process.",
            advice="Ask it through the system.",
        )
    return connection.root


def processes_of(system: System) -> Sequence[Any]:
    """The processes of the living hosts, in the order of their slots."""
    return _presence_of(system).processes()
