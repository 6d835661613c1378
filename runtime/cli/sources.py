"""The systems that commands query, and the replies of each.

A source sends requests to one system, over any carrier. A source that does not answer is reported
with the reason. It never hides the others.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

import click
from pydantic import ValidationError

from callboard.messages.core.contract import Request
from callboard.messages.core.errors import CallboardError, UsageError

from ..admin.client import AdminClient
from ..admin.port import Ask
from ..admin.unix_socket import EXECUTIONS, SYSTEM, admin_sockets, connect, process_of
from ..api.remote import admin_exchange
from .options import SERVER
from .outcome import ExitCode, Failure

__all__ = [
    "NOTHING_RUNS",
    "Place",
    "Snapshot",
    "Source",
    "local_executors",
    "local_systems",
    "query_all",
    "server",
]

ReplyT = TypeVar("ReplyT")
COMMAND_TIMEOUT_S: Final = 10.0
"""The limit for commands, which may read a whole history. Queries are faster."""
SERVER_TIMEOUT_S: Final = 30.0
"""The limit for a web server, which asks the system in turn."""
ADDRESS_DEFAULT: Final = "auto"
SILENT_ADVICE: Final = "Its driver may be busy or stopped; try again."
NOTHING_RUNS: Final = Failure(
    ExitCode.FAILED,
    "nothing_runs",
    "you run no system on this machine.",
    "Start one, for instance with `callboard run driver.py`, and try again while it runs.",
)


@dataclass(frozen=True, slots=True)
class Source:
    """One system that answers requests."""

    pid: int
    """The process that answers; 0 for a detached system, which answers through its cluster, and
    for a system behind a web server."""
    ask: Ask
    name: str = ""
    """The name of a detached system, or the URL of a web server."""


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[ReplyT]):
    """One reply of one system, or the reason why there is none."""

    pid: int
    view: ReplyT | None
    problem: str = ""
    name: str = ""

    @property
    def source(self) -> str:
        """The source of the reply, for people."""
        if self.pid:
            return f"process {self.pid}"
        return self.name if "://" in self.name else f"detached system {self.name}"


@dataclass(frozen=True, slots=True)
class Place:
    """The systems that a command queries: of this machine, or detached ones of a cluster."""

    address: str | None = None
    name: str | None = None

    @property
    def nothing_runs(self) -> Failure:
        """The failure when there is no system."""
        if self.address is None and self.name is None:
            return NOTHING_RUNS
        return Failure(
            ExitCode.FAILED,
            "nothing_runs",
            f"no detached system runs on the cluster at {self.address or ADDRESS_DEFAULT}.",
            "Start one with detached=True, or omit --address for the systems of this machine.",
        )

    @contextlib.asynccontextmanager
    async def sources(self) -> AsyncIterator[Callable[[], Sequence[Source]]]:
        """A function that lists the systems, usable until the block ends.

        The systems of a cluster are listed once. Raises `ActorNotFound` for an unknown name; the
        error lists the running systems. Raises `ClusterUnreachable` within its deadline.
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


def server() -> Source | None:
    """The system behind the web server that `--url` or CALLBOARD_URL names; None without them.

    Raises `UsageError` for a wrong address, or without a token.
    """
    context = click.get_current_context(silent=True)
    options = {} if context is None else context.meta.get(SERVER, {})
    url = options.get("server_url")
    if not url:
        return None
    path = options.get("token_file")
    token = os.environ.get("CALLBOARD_TOKEN", "") if path is None else Path(path).read_text()
    if not token.strip():
        raise UsageError(
            f"there is no token for {url}.", advice="Give --token-file, or set CALLBOARD_TOKEN."
        )
    exchange = admin_exchange(url, token.strip())
    return Source(0, AdminClient(exchange, SERVER_TIMEOUT_S).ask, url)


def local_systems() -> list[Source]:
    """The system behind the named web server, or the systems of this user on this machine."""
    remote = server()
    if remote is not None:
        return [remote]
    return [Source(process_of(path), connect(path).ask) for path in admin_sockets(SYSTEM)]


def local_executors() -> list[Source]:
    """The processes of this user on this machine that run executions.

    These are the drivers of systems, and the execution services of detached systems; or the system
    behind the named web server.
    """
    remote = server()
    if remote is not None:
        return [remote]
    paths = [*admin_sockets(SYSTEM), *admin_sockets(EXECUTIONS)]
    return [Source(process_of(path), connect(path, COMMAND_TIMEOUT_S).ask) for path in paths]


async def query_all(sources: Sequence[Source], request: Request[ReplyT]) -> list[Snapshot[ReplyT]]:
    """Ask all systems at once. A system that has just ended is left out."""
    seen = await asyncio.gather(*(_query_one(source, request) for source in sources))
    return [snapshot for snapshot in seen if snapshot is not None]


async def _query_one(source: Source, request: Request[ReplyT]) -> Snapshot[ReplyT] | None:
    pid, name = source.pid, source.name
    try:
        return Snapshot(pid, await source.ask(request), name=name)
    except (FileNotFoundError, ConnectionRefusedError):
        return None  # It has just ended.
    except TimeoutError:
        problem = f"does not answer. {SILENT_ADVICE}"
    except CallboardError as error:
        problem = f"answers with an error: {error}"
    except ValidationError:
        problem = "gives an invalid answer. Is it another release of Callboard?"
    except (OSError, ValueError) as error:
        problem = f"cannot be asked: {error}"
    return Snapshot(pid, None, problem, name)
