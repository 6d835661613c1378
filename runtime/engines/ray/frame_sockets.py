"""The sockets of one process of a Ray cluster for frames, and its carriers to other processes.

Inside a node frames go over Unix sockets. Between nodes they go over TCP: a sender asks the
receiver for its port by a Ray call, and only then is the port opened. So a system on one node has
none. A driver takes no Ray calls, so it tells its address to each host of another node.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any, Final

import ray
import ray.exceptions
import ray.util

from callboard.actors.kernel.inspection.metric_sources import Instruments
from callboard.messages.ports import FrameCarrier

from ...hosting.settings import Settings
from ...transport.sockets import SocketAddress, SocketServer
from ...transport.stream_carrier import Find, StreamCarrier, Streams, TcpWay, UnixWay
from ...transport.tcp import TcpAddress, Tls, ports_of, tls_of
from .carrier import describe

__all__ = ["FrameSockets", "asked_of"]

LOGGER: Final = logging.getLogger("callboard.socket")


def asked_of(handle: Any) -> Find:
    """The way to ask a Ray actor for its address."""

    async def find() -> TcpAddress | None:
        try:
            address: TcpAddress | None = await handle.frame_address.remote()
        except ray.exceptions.RayError as error:
            raise OSError(describe(error)) from None
        return address

    return find


class FrameSockets:
    """The sockets of one process, and its carriers."""

    def __init__(
        self, take: Callable[[bytes], object], settings: Settings, instruments: Instruments
    ) -> None:
        self._server: Final = SocketServer(take, settings.limits)
        self._streams: Final = Streams()
        self._listening: asyncio.Future[SocketAddress | None] | None = None
        self._own: SocketAddress | None = None
        self._tcp: TcpAddress | None = None
        self._ports = ports_of(settings.frame_ports)
        """The ports for other nodes; None to use Ray calls."""
        self._is_reported = False
        """Whether the log says that there is no port."""
        self._tls: Tls | None = None
        try:
            self._tls = tls_of(os.environ)
        except OSError as error:
            LOGGER.warning("frames to other nodes go by Ray calls, without TLS: %s", error)
            self._ports = None
        instruments.add(self._server.reading)
        instruments.add(self._streams.reading)

    async def address(self) -> SocketAddress | None:
        """The socket for processes of this node; the first call opens it."""
        if self._listening is None:
            node = ray.get_runtime_context().get_node_id()
            self._listening = asyncio.ensure_future(self._server.start(node))
        self._own = await asyncio.shield(self._listening)
        return self._own

    def tcp_address(self) -> TcpAddress | None:
        """The port for other nodes, which the first call opens; None without one."""
        if self._tcp is None and self._ports is not None:
            # The address at which Ray's own processes of this node are reached.
            host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
            try:
                self._tcp = self._server.open_port(host, self._ports, self._tls)
            except OSError as error:
                if not self._is_reported:
                    LOGGER.warning("other nodes reach this process by Ray calls only: %s", error)
                self._is_reported = True
        return self._tcp

    def carrier_to(
        self, address: SocketAddress | None, by_call: FrameCarrier, find: Find
    ) -> FrameCarrier:
        """The fastest carrier to a peer: a Unix socket on this node, TCP to another one.

        Without a socket of its own, this process uses Ray calls; see `address`.
        """
        mine = self._own
        if address is None or mine is None:
            return by_call
        if address.node == mine.node:
            return StreamCarrier(UnixWay(address), by_call)
        if self._ports is None:
            return by_call
        return StreamCarrier(TcpWay(find, self._streams, self._tls), by_call)

    async def stop(self) -> None:
        """Stop listening, and close all connections from others."""
        self._streams.close()
        await self._server.stop()
