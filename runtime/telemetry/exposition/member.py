"""A host's part in the endpoint of its node: it reports its figures, and serves where nobody does.

All hosts of a system on a node connect to one socket. The holder of a lock listens there; the
kernel releases the lock when that process ends, so the others see its end at once, and the first
that gets the lock serves from then on, on the same port. A driver serves where no host does: it
waits a while first, and ends once a host reports. Its process ends sooner than those of hosts.
"""

import asyncio
import contextlib
import logging
import os
import secrets
from typing import TYPE_CHECKING, Final

from .figures import HEAD_BYTES, HostFigures, encode_report
from .place import Place

if TYPE_CHECKING:
    from .exporter import Exporter

__all__ = ["NodeMember"]

LOGGER: Final = logging.getLogger("callboard.metrics")
RETRY_S: Final = 0.05
RETRY_S_MAX: Final = 1.0
REPORT_EVERY_S: Final = 0.1
"""The least time between two reports."""
SEND_TIMEOUT_S: Final = 10.0
END_WAIT_S: Final = 0.02
END_WAITS: Final = 40
"""Processes that were killed take some 0.1 s to end."""
FAILED_PAUSE_S: Final = 60.0
"""After a failure, for instance because no port is free."""
PATIENCE_S: Final = 3.0
"""How long a driver waits for a host to serve before it does so itself."""


class NodeMember:
    """One host of a node, and its figures."""

    def __init__(
        self,
        place: Place,
        figures: HostFigures,
        *,
        system: str,
        host: str,
        address: str,
        ports: range,
        is_driver: bool = False,
        is_control: bool = False,
    ) -> None:
        self.figures: Final = figures
        self._place: Final = place
        self._system: Final = system
        self._host: Final = host
        self._token: Final = secrets.token_hex(8)
        self._address: Final = address
        self._ports: Final = ports
        self._is_driver: Final = is_driver
        self._is_control: Final = is_control
        """Whether the system ends with this host: then it waits for the end of the others."""
        self._exporter: Exporter | None = None
        self._not_before_s = 0.0
        """When this process may serve again, after a failure."""
        self._changed: Final = asyncio.Event()
        self.figures.on_change = self._changed.set

    @property
    def is_serving(self) -> bool:
        """Whether this process serves the endpoint of its node."""
        return self._exporter is not None and not self._exporter.is_over

    async def run(self) -> None:
        """Take part until this task is cancelled."""
        wait_s, lost_s = RETRY_S, 0.0
        try:
            while True:
                try:
                    self._place.check()
                    reader, writer = await asyncio.open_unix_connection(str(self._place.socket))
                except OSError:
                    if lost_s >= (PATIENCE_S if self._is_driver else 0.0):
                        self._serve()
                    await asyncio.sleep(wait_s)
                    lost_s += wait_s
                    wait_s = min(2.0 * wait_s, RETRY_S_MAX)
                    continue
                with contextlib.suppress(OSError, TimeoutError):
                    await self._tell(reader, writer)
                wait_s, lost_s = RETRY_S, 0.0
        finally:
            await self._end()

    async def _end(self) -> None:
        if self._exporter is not None:
            self._exporter.stop()
            return
        waits = END_WAITS if self._is_control else 1
        for _ in range(waits):
            with contextlib.suppress(OSError):
                lock = self._place.lock()
                if lock is not None:  # The last host has ended.
                    self._place.remove()
                    os.close(lock)
                    return
            if waits > 1:
                await asyncio.sleep(END_WAIT_S)

    def _serve(self) -> None:
        """Serve, if nobody else does."""
        now_s = asyncio.get_running_loop().time()
        if self.is_serving or now_s < self._not_before_s:
            return
        if self._exporter is not None and self._exporter.has_failed:
            self._exporter, self._not_before_s = None, now_s + FAILED_PAUSE_S
            return
        try:
            lock = self._place.lock()
        except OSError as error:
            self._not_before_s = now_s + FAILED_PAUSE_S
            LOGGER.warning("the metrics of this node are not served: %s", error)
            return
        if lock is not None:
            from .exporter import Exporter  # Only the host that serves loads it.

            self._exporter = Exporter(
                self._place,
                lock,
                self._system,
                self._token,
                self._address,
                self._ports,
                yields=self._is_driver,
            )
            self._exporter.start()

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Report whenever something has changed, until the server ends."""
        ended = asyncio.ensure_future(reader.read(1))  # It never sends a byte.
        try:
            while not ended.done():
                self._changed.clear()
                report = self.figures.report(self._host, self._token, is_driver=self._is_driver)
                data = encode_report(report)
                writer.write(len(data).to_bytes(HEAD_BYTES, "big") + data)
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await writer.drain()
                await asyncio.wait({ended}, timeout=REPORT_EVERY_S)
                changed = asyncio.ensure_future(self._changed.wait())
                try:
                    await asyncio.wait({ended, changed}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
        finally:
            ended.cancel()
            writer.close()
