"""The control plane of one system: the control host, its root and endpoint, and the engine.

The control plane lives in the driver's process and ends with it. In a detached system it has a
process of its own.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from callboard.actors.kernel.host.host import Host
from callboard.messages.control.control_plane import CONTROL_CELL, CONTROL_SLOT
from callboard.messages.control.hosts import AutoHosts, HostSpec, host_specs
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import CallboardError, ClusterUnreachable
from callboard.messages.core.ref import Address
from callboard.messages.ports import Engine

from ..hosting.boot_time import boot_time_s
from ..hosting.environment import Environment
from ..hosting.settings import Settings
from ..hosting.wiring import make_host
from .adoption import FindProcess, UntilEnded, adopt
from .authority import Authority, DriverAuthority
from .endpoint import open_root_endpoint
from .follower import Follower
from .records import Records, Remembered
from .root import Root

__all__ = ["ROOT_ENDPOINT", "Connection", "Control"]

ReplyT = TypeVar("ReplyT")
EPOCH_BITS: Final = 32
"""Bits for the directory changes of one incarnation of a root."""
ROOT_ENDPOINT: Final = Address(CONTROL_SLOT, CONTROL_CELL)


class Connection(Protocol):
    """A driver's connection to a system: the control plane itself, or the way to it."""

    host: Host
    """The driver's own host."""

    async def ask_root(self, request: Request[ReplyT], timeout_s: float) -> ReplyT:
        """Ask the root's endpoint; see `Ref.ask`."""

    def processes(self) -> Sequence[Any]:
        """The processes of the living hosts, in the order of their slots."""

    async def stop(self, timeout_s: float) -> None:
        """End this connection, and with it everything that lives as long as the driver."""


class Control:
    """Root, endpoint and hosts of one system, on the running event loop.

    `on_failed` is called once when the root gives up. `records` keeps what the next incarnation
    of the root must know. `authority` says whether the root may act; None: it is in a driver.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        environment: Environment,
        on_failed: Callable[[CallboardError], None],
        *,
        name: str = "driver",
        records: Records | None = None,
        authority: Authority | None = None,
    ) -> None:
        self._settings = settings
        self._on_failed = on_failed
        self._watching: asyncio.Task[None] | None = None
        self._is_of_driver: Final = authority is None
        if authority is None:
            authority = DriverAuthority(engine.renews_until_s)
        self.engine: Final = engine
        self.host, self._watchdog = make_host(
            slot=CONTROL_SLOT,
            epoch=environment.epoch(),
            name=name,
            settings=settings,
            large_values=engine.large_values(),
            environment=environment,
        )
        engine.attach(self.host)
        self._records = records
        if records is not None:
            records.attach(self.host)
            records.authority = authority
        self.root: Final = Root(
            self.host,
            engine,
            settings,
            on_failed,
            environment,
            records,
            authority,
            hosts=self._hosts_max(),
        )
        if records is not None:
            # Higher than every version of an earlier root.
            self.root.registrar.directory_version = self.host.epoch << EPOCH_BITS
        open_root_endpoint(self.host, self.root, settings.name)

    async def start(self) -> None:
        """Bring up the hosts. Raises a `ClusterError` when they do not come up."""
        await self.root.start(self._specs())
        self._follow()
        if self._is_of_driver and math.isfinite(self.engine.renews_until_s()):
            self._watching = self.host.start_task(self._until_no_control_store())

    async def _until_no_control_store(self) -> None:
        """Give up when the cluster's control store is silent for longer than a lease."""
        settings, silent_s = self._settings, 0.0
        while silent_s < settings.host_lease_s:
            await asyncio.sleep(settings.heartbeat_s)
            # Not by the clock: a driver that was suspended has only now asked again.
            is_silent = boot_time_s() > self.engine.renews_until_s()
            silent_s = silent_s + settings.heartbeat_s if is_silent else 0.0
        self._on_failed(
            ClusterUnreachable(
                f"the cluster's control store has not answered for {silent_s:.0f} s, and the hosts "
                "on other nodes have ended themselves.",
                advice="Start the cluster again, then this driver. Executions with a journal can "
                "be resumed.",
            )
        )

    async def resume(
        self, find: FindProcess, until_ended: UntilEnded, remembered: Remembered
    ) -> tuple[int, ...]:
        """Adopt the hosts of an earlier incarnation instead of starting new ones.

        Returns the slots of the drivers that the hosts know.
        """
        settings = self._settings
        answer_s = settings.heartbeat_s * settings.heartbeats_missed_max
        found = await adopt(
            self.root, self.host, find, until_ended, remembered, self._specs(), answer_s=answer_s
        )
        self._follow()
        return found

    def _specs(self) -> tuple[HostSpec, ...]:
        wanted = self._settings.hosts
        if isinstance(wanted, AutoHosts):
            return host_specs(wanted.count_for(self.engine.default_hosts()))
        return host_specs(wanted or self.engine.default_hosts())

    def _hosts_max(self) -> int:
        wanted = self._settings.hosts
        most = wanted.at_most if isinstance(wanted, AutoHosts) else 0
        return max(len(self._specs()), most)

    def _follow(self) -> None:
        """Keep the hosts where the CPUs are, from now on."""
        wanted, root = self._settings.hosts, self.root
        limits = wanted if isinstance(wanted, AutoHosts) else None
        if self.engine.is_elastic:
            Follower(self.host, root, root.standbys.nodes, limits).start()

    async def ask_root(self, request: Request[ReplyT], timeout_s: float) -> ReplyT:
        """Ask the root's endpoint, which runs on this host; see `Ref.ask`."""
        return await self.host.ask(ROOT_ENDPOINT, request, timeout_s)

    def processes(self) -> Sequence[Any]:
        """The processes of the living hosts, in the order of their slots."""
        return [slot.process for slot in self.root.table.living()]

    async def stop(self, timeout_s: float) -> None:
        """Stop all actors in order, then their processes, then this host."""
        if self._watching is not None:
            self._watching.cancel()
        await self.root.stop(timeout_s)
        if self._records is not None:
            await self._records.close()
        self._watchdog.stop()
        await self.host.close()
