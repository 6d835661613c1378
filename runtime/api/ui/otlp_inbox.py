"""Metrics that others send to a hub, on their way to the aggregators."""

from collections import deque
from collections.abc import Callable
from typing import Final

from callboard.actors.metrics.recording.columns import PointColumns, merge_columns
from callboard.actors.metrics.recording.sources import PointSource, polled
from callboard.messages.core.errors import MailboxFull

from ...telemetry.intake.otlp import OtlpDecoder
from ..metrics import SystemMetrics

__all__ = ["OtlpInbox"]

BODIES_MAX: Final = 64
EVERY_S: Final = 1.0


class OtlpInbox:
    """Takes bodies of OpenTelemetry's protocol until `close`; without room it refuses them.

    Raises `UsageError` without the extra `otlp`.
    """

    def __init__(self, metrics: SystemMetrics) -> None:
        self._decoder: Final = OtlpDecoder()
        self._waiting: Final[deque[PointColumns]] = deque()
        source: PointSource = polled("otlp", self._poll, EVERY_S)
        self._end: Final[Callable[[], None]] = metrics.add_source(source)

    def take(self, body: bytes, source: str) -> bytes:
        """Take the points in a body; gives that of the answer. Raises `UsageError`."""
        if len(self._waiting) >= BODIES_MAX:
            raise MailboxFull(
                "too many metrics wait for the aggregators.",
                advice="Send them again later.",
                may_have_run=False,
            )
        received = self._decoder.decode(body, source)
        self._waiting.append(received.columns)
        return received.answer

    def _poll(self) -> PointColumns:
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        return merge_columns(taken)

    def close(self) -> None:
        """Take no more."""
        self._end()
