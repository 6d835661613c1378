"""The traces of one host: what the wiring gives it, and its end."""

import asyncio
import importlib.util
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from callboard.actors.kernel.cell import Cell
from callboard.actors.kernel.host.extension import Extension
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.inspection.metric_sources import Name, Reading
from callboard.actors.kernel.ports import RoleHost
from callboard.messages.core.errors import UsageError

from .sending import SpanSender, resource_of
from .settings import TracingSettings
from .spans import SpanQueue

if TYPE_CHECKING:
    from .recorder import HostTracing

__all__ = ["HostSpans", "check_tracing", "make_spans"]

LOGGER: Final = logging.getLogger("callboard.tracing")
PACKAGES: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
STOPPING_S: Final = 1.5
"""How long a host waits at its end for its last spans; below the patience of the extensions."""


def check_tracing() -> None:
    """Raise `UsageError` if the packages of the extra `tracing` are not installed."""
    for package in PACKAGES:
        try:
            is_there = importlib.util.find_spec(package) is not None
        except ImportError:
            is_there = False
        if not is_there:
            raise UsageError(
                f"traces need the package {package}, which is not installed.",
                advice="Install the extra: pip install 'callboard[tracing]'.",
            )


class HostSpans(Extension):
    """Sends the spans of a host while it runs, and the last ones at its end."""

    def __init__(self, tracing: "HostTracing", sender: SpanSender) -> None:
        self.tracing: Final = tracing
        self._sender: Final = sender
        self._has_stopped = False

    def begin(self, host: Host) -> None:
        """Begin to send, and to count."""
        host.meters.instruments.add(self.reading)
        self._sender.start()

    def reading(self) -> Reading:
        """The spans of this host, as metrics."""
        queue, sender = self.tracing.queue, self._sender
        outcomes = {"sent": sender.sent, "failed": sender.failed}
        outcomes |= {"dropped": queue.dropped, "lost": queue.lost}
        counts = {
            Name("callboard_trace_spans", outcome): float(n) for outcome, n in outcomes.items()
        }
        return Reading(counts, {Name("callboard_trace_spans_waiting"): float(len(queue))})

    async def stopping(self) -> None:
        """Send the last spans, for a bounded time."""
        self._has_stopped = True
        await asyncio.to_thread(self._sender.stop, STOPPING_S)

    def close(self) -> None:
        """See `Extension`; a host that closes without a stop waits for nothing."""
        if not self._has_stopped:
            self._sender.stop(0.0)


def make_spans(
    settings: TracingSettings, *, system: str, slot: int, epoch: int, host: str
) -> tuple["HostTracing", Callable[[RoleHost[Cell]], HostSpans]] | None:
    """The recorder of a host, and the maker of its extension.

    None on a node without the packages: a host there works without spans, and says so.
    """
    try:
        check_tracing()
    except UsageError as error:
        LOGGER.warning("host %s records no traces: %s", host, error)
        return None
    from .recorder import HostTracing

    queue = SpanQueue(settings.queue_spans)
    tracing = HostTracing(system, host, settings.ratio, queue)
    instance = f"{system}/{slot}/{epoch}"
    sender = SpanSender(queue, settings, lambda: resource_of(system, host, instance))
    return tracing, lambda _: HostSpans(tracing, sender)
