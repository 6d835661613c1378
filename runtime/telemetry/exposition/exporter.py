"""The exporter of a node: takes the reports of its hosts, and serves their figures.

It runs in one of the hosts, on a thread and a loop of its own: it answers while a handler blocks
the host's loop, and no scraper takes the loop's time. It shares nothing with the host: its reports
come by the socket like those of all others.

What a scraper has seen is saved before, so a counter does not go back when this process is killed
and another one serves.
"""

import asyncio
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Final

from callboard.actors.metrics.series import MetricKind

from ...transport.connections import Listener, Refusals
from ...transport.tcp import new_socket
from ..names import METRICS
from ..node import read_node
from .core import NodeFigures, Sample, ShownMetric
from .figures import HEAD_BYTES, REPORT_BYTES_MAX, HostFigures, decode_report
from .http import REQUEST_BYTES_MAX, HttpServer, Refused, Request
from .place import Place
from .text import OPENMETRICS, Page, Registry

__all__ = ["Exporter"]

LOGGER: Final = logging.getLogger("callboard.metrics")
READ_TIMEOUT_S: Final = 30.0
"""How long the rest of a report may take."""
MEMBERS_MAX: Final = 1_024
"""Processes that report to one exporter."""
FRESH_S: Final = 0.2
"""Scrapes within this time get the same page: a flood of them costs little."""
END_TIMEOUT_S: Final = 2.0


class Exporter:
    """One exporter. The holder of the lock of `place` starts it, and hands the lock over."""

    def __init__(
        self,
        place: Place,
        lock: int,
        system: str,
        token: str,
        address: str,
        ports: range,
        *,
        yields: bool = False,
    ) -> None:
        """With `yields` it ends once a host reports, which then serves."""
        self._place: Final = place
        self._lock: Final = lock
        self._system: Final = system
        self._token: Final = token
        self._node_token: Final = f"{token}/node"
        self._address: Final = address
        self._ports: Final = ports
        self._yields: Final = yields
        self._figures: Final = NodeFigures()
        self._own: Final = HostFigures()
        """Figures of the endpoint itself."""
        self._registry: Final = Registry(self._metrics)
        self._pages: dict[tuple[bool, bool], tuple[float, Page]] = {}
        self._members: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._is_over = threading.Event()
        self.has_failed = False
        """Whether it has ended by itself, for instance because it found no port."""
        self._thread: Final = threading.Thread(
            target=self._run, name="callboard-metrics", daemon=True
        )

    def start(self) -> None:
        """Serve until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End, in order. It takes milliseconds, and never more than `END_TIMEOUT_S`."""
        loop, ending = self._loop, self._ending
        if loop is not None and ending is not None and not self._is_over.is_set():
            with contextlib.suppress(RuntimeError):  # It has just ended.
                loop.call_soon_threadsafe(ending.set)
        self._is_over.wait(END_TIMEOUT_S)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._is_over.is_set()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:  # noqa: BLE001 - metrics must not hurt the host
            self.has_failed = True
            LOGGER.warning("the metrics of this node are not served: %r", error)
        finally:
            os.close(self._lock)
            self._is_over.set()

    async def _main(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._place.clean()
        saved = self._place.saved()
        if saved is not None:
            try:
                self._figures.restore(saved, time.monotonic())
            except ValueError as error:
                LOGGER.warning("counters of this node begin again: %s", error)
        reports = self._open_reports()
        http = HttpServer(self._page, self._count)
        try:
            bound = _bind(self._address, self._ports, self._place.target())
            server = await asyncio.start_server(http.serve, sock=bound, limit=REQUEST_BYTES_MAX)
            self._place.announce(*bound.getsockname()[:2])
            try:
                await self._ending.wait()
            finally:
                server.close()
                http.close()
        finally:
            reports.stop()
            others = self._figures.connected - {self._token, self._node_token}
            for member in self._members:
                member.cancel()
            await asyncio.gather(*self._members, return_exceptions=True)
            if others:
                self._save()  # One of them serves next, on the announced port.
            else:
                self._place.remove()

    # --- reports ------------------------------------------------------------------------------

    def _open_reports(self) -> Listener:
        path = self._place.socket
        path.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bound.bind(str(path))
        listener = Listener(self._accept, Refusals("the metrics of this node"))
        listener.start(bound)
        return listener

    def _accept(self, connection: socket.socket) -> None:
        if len(self._members) >= MEMBERS_MAX:
            connection.close()
            self._count(Refused.TOO_MANY)
            return
        task = asyncio.get_running_loop().create_task(self._listen(connection))
        self._members.add(task)

        def end(done: "asyncio.Task[None]") -> None:
            self._members.discard(done)
            connection.close()  # Also when the task was cancelled before it began.

        task.add_done_callback(end)

    async def _listen(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        token = ""
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(HEAD_BYTES), "big")
                if size > REPORT_BYTES_MAX:
                    raise ValueError(f"a report has {size:,} bytes")  # noqa: TRY301
                async with asyncio.timeout(READ_TIMEOUT_S):
                    report = decode_report(await reader.readexactly(size))
                token = report.token
                self._figures.take(report, time.monotonic())
                if self._yields and not report.is_driver and self._ending is not None:
                    self._ending.set()
        except ValueError as error:
            self._count(Refused.INVALID)
            LOGGER.warning("a report of a host is refused: %s", error)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._figures.left(token, time.monotonic())
            writer.close()

    # --- the page -----------------------------------------------------------------------------

    def _page(self, request: Request) -> Page:
        now_s = time.monotonic()
        place = (OPENMETRICS in request.accept, request.takes_gzip)
        kept = self._pages.get(place)
        if kept is not None and now_s - kept[0] < FRESH_S:
            return kept[1]
        page = self._registry.page(request.accept, compressed=request.takes_gzip)
        self._pages[place] = (now_s, page)
        return page

    def _count(self, refused: Refused | None) -> None:
        if refused is None:
            self._own.count("callboard_exposition_scrapes", 1.0)
        else:
            self._own.count("callboard_exposition_refused", 1.0, refused.value)

    def _metrics(self) -> Iterable[ShownMetric]:
        now_s = time.monotonic()
        self._figures.settle(now_s)
        hosts = self._figures.connected - {self._node_token}
        self._own.gauge("callboard_exposition_hosts", len(hosts))
        self._figures.take(self._own.report("", self._node_token), now_s)
        self._save()
        return (
            *self._figures.metrics(self._system),
            *self._node_metrics(),
            *self._metrics_about_hosts(now_s),
        )

    def _node_metrics(self) -> Iterable[ShownMetric]:
        """The metrics of the node itself; its counters are those of the operating system."""
        counts, gauges = read_node()
        for kind, values in ((MetricKind.COUNTER, counts), (MetricKind.GAUGE, gauges)):
            by_metric: dict[str, dict[str, float]] = {}
            for (metric, label), value in values.items():
                by_metric.setdefault(metric, {})[label] = value
            for metric, by_label in by_metric.items():
                yield self._shown(kind, metric, METRICS[metric].label, by_label)

    def _metrics_about_hosts(self, now_s: float) -> Iterable[ShownMetric]:
        ages = {host: age_s for host, age_s in self._figures.ages_s(now_s).items() if host}
        yield self._shown(MetricKind.GAUGE, "callboard_exposition_report_age_seconds", "host", ages)
        by_hosts, by_node = self._figures.dropped
        dropped = {"host": float(by_hosts), "node": float(by_node)}
        metric = "callboard_exposition_dropped_series"
        yield self._shown(MetricKind.GAUGE, metric, METRICS[metric].label, dropped)

    def _shown(
        self, kind: MetricKind, name: str, label: str, values: Mapping[str, float]
    ) -> ShownMetric:
        system = ("system", self._system)
        samples = tuple(
            Sample((system, (label, of)) if label else (system,), (value,))
            for of, value in values.items()
        )
        return ShownMetric(kind, name, METRICS[name].text, samples)

    def _save(self) -> None:
        if self._figures.has_unsaved:
            try:
                self._place.save(self._figures.saved())
            except OSError as error:
                LOGGER.warning("counters may go back when this process ends: %s", error)


def _bind(address: str, ports: range, before: tuple[str, int] | None) -> socket.socket:
    """Bind to the port of the last server, so that its address stays, or to the first free one."""
    wanted = [*([before[1]] if before else []), *ports]
    error = OSError("there is no port to try")
    for port in wanted:
        if port not in ports and ports != range(1):
            continue  # The setting has changed.
        bound = new_socket(address)
        try:
            # Connections of a process that has just ended do not keep its port.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((address, port))
        except OSError as taken:
            bound.close()
            error = taken
        else:
            return bound
    raise OSError(f"no port of {address} is free: {error}. Set metrics_ports to others, or to any.")
