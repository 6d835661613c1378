"""The internals of a `System`, for the command line, the simulator, tests and benchmarks.

Nothing here is public, and all of it may change.
"""

from collections.abc import Sequence
from typing import Any

from callboard.actors.kernel.host.host import Host
from callboard.messages.core.errors import UsageError

from ..control_plane.control import Connection, Control
from ..control_plane.root import Root
from .system import System

__all__ = ["host_of", "processes_of", "root_of"]


def _connection_of(system: System) -> Connection:
    return system._running()  # noqa: SLF001 - this module is the one way in


def host_of(system: System) -> Host:
    """The driver's own host."""
    return _connection_of(system).host


def root_of(system: System) -> Root:
    """The root supervisor. Raises `UsageError` for a detached system, whose root is remote."""
    connection = _connection_of(system)
    if not isinstance(connection, Control):
        raise UsageError(
            "the root of a detached system is in another process.",
            advice="Ask it through the system.",
        )
    return connection.root


def processes_of(system: System) -> Sequence[Any]:
    """The processes of the living hosts, in the order of their slots."""
    return _connection_of(system).processes()
