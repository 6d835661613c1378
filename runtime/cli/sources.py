"""Where the commands that look at systems find them, and what they get from each.

A source is a way to ask one system, whatever carries the questions. One that does not answer
is told with the reason; it never hides the others.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import click
from pydantic import ValidationError

from callboard.messages.core.contract import Request
from callboard.messages.core.errors import CallboardError

from ..admin.port import Ask
from ..admin.unix_socket import EXECUTIONS, SYSTEM, admin_sockets, connect, process_of
from .outcome import ExitCode, Failure

__all__ = [
    "NOTHING_RUNS",
    "Place",
    "Snapshot",
    "Source",
    "cluster_options",
    "local_executors",
    "local_systems",
    "look",
]

ReplyT = TypeVar("ReplyT")
COMMAND_TIMEOUT_S: Final = 10.0
"""A command may read a whole history, where a query looks at what is at hand."""
CommandT = TypeVar("CommandT", bound=Callable[..., Any])
ADDRESS_DEFAULT: Final = "auto"
SILENT_ADVICE: Final = "Its driver may be computing, or be stopped; look again."
NOTHING_RUNS: Final = Failure(
    ExitCode.FAILED,
    "nothing_runs",
    "no system of yours runs on this machine.",
    "Start one, for instance with `callboard run driver.py`, and look while it runs.",
)


@dataclass(frozen=True, slots=True)
class Source:
    """One system that can be asked."""

    pid: int
    """The process that answers; 0 for a detached system that is asked through its cluster."""
    ask: Ask
    name: str = ""
    """The detached system's."""


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[ReplyT]):
    """One look at one system: what it answered, or why there is no answer."""

    pid: int
    view: ReplyT | None
    problem: str = ""
    name: str = ""

    @property
    def who(self) -> str:
        """Who was asked, for people."""
        return f"process {self.pid}" if self.pid else f"detached system {self.name}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command looks: at this machine, or at detached systems of a cluster."""

    address: str | None = None
    name: str | None = None

    @property
    def nothing_runs(self) -> Failure:
        """What to say when there is no system."""
        if self.address is None and self.name is None:
            return NOTHING_RUNS
        return Failure(
            ExitCode.FAILED,
            "nothing_runs",
            f"no detached system runs on the cluster at {self.address or ADDRESS_DEFAULT}.",
            "Start one with detached=True, or look at this machine's systems without --address.",
        )

    @contextlib.asynccontextmanager
    async def sources(self) -> AsyncIterator[Callable[[], Sequence[Source]]]:
        """What gives the systems to ask, for as long as somebody looks.

        Those of a cluster are found once. Raises `ActorNotFound`, which names those that run,
        when there is none of this name, and `ClusterUnreachable` within its deadline.
        """
        if self.address is None and self.name is None:
            yield local_systems
            return
        from ..api.composition import detached_systems

        detached = detached_systems()
        async with detached.visit(self.address or ADDRESS_DEFAULT):
            names = await detached.list_systems() if self.name is None else [self.name]
            found = [Source(0, (await detached.admin_client(name)).ask, name) for name in names]
            yield lambda: found


def cluster_options(command: CommandT) -> CommandT:
    """Give a command `--address` and `--name`, the fields of its `Place`."""
    address = click.option(
        "--address",
        metavar="HOST:PORT",
        help="Look at the detached systems of this cluster ('auto': the one of this machine).",
    )
    name = click.option(
        "--name",
        metavar="NAME",
        help="Look at this detached system only; without --address, on this machine's cluster.",
    )
    return address(name(command))


def local_systems() -> list[Source]:
    """The systems of this user on this machine."""
    return [Source(process_of(path), connect(path).ask) for path in admin_sockets(SYSTEM)]


def local_executors() -> list[Source]:
    """The processes of this user on this machine that run executions.

    Those are the drivers of systems, and the execution services of detached ones.
    """
    paths = [*admin_sockets(SYSTEM), *admin_sockets(EXECUTIONS)]
    return [Source(process_of(path), connect(path, COMMAND_TIMEOUT_S).ask) for path in paths]


async def look(sources: Sequence[Source], request: Request[ReplyT]) -> list[Snapshot[ReplyT]]:
    """Ask all of them at once; one that has just ended is left out."""
    seen = await asyncio.gather(*(_look_at(source, request) for source in sources))
    return [snapshot for snapshot in seen if snapshot is not None]


async def _look_at(source: Source, request: Request[ReplyT]) -> Snapshot[ReplyT] | None:
    pid, name = source.pid, source.name
    try:
        return Snapshot(pid, await source.ask(request), name=name)
    except (FileNotFoundError, ConnectionRefusedError):
        return None  # It ended just now.
    except TimeoutError:
        problem = f"does not answer. {SILENT_ADVICE}"
    except CallboardError as error:
        problem = f"answers with an error: {error}"
    except ValidationError:
        problem = "answers nonsense. Is it another release of Callboard?"
    except (OSError, ValueError) as error:
        problem = f"cannot be asked: {error}"
    return Snapshot(pid, None, problem, name)
