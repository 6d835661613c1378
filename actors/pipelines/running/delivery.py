"""Delivers outgoing batches to a sink outside the store, in order, until the sink has them."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from callboard.messages.control.spec import Backoff

from ...kernel.failures import ends_task
from ..batch import DataBatch
from .ports import Delivery, OutsideSink

__all__ = ["Deliverer"]

LOGGER: Final = logging.getLogger("callboard.pipelines")
RETRY: Final = Backoff(min_s=0.1, max_s=10.0)


class Deliverer:
    """What is durable and on its way to the sink. Belongs to one event loop."""

    def __init__(
        self,
        sink: OutsideSink,
        pipeline: str,
        fence: int,
        timeout_s: float,
    ) -> None:
        self._sink = sink
        self._pipeline = pipeline
        self._fence = fence
        self._timeout_s = timeout_s
        self._outgoing: dict[int, DataBatch] = {}
        self.delivered: dict[int, int] = {}
        """Batches that the sink has, with their rows, until the store knows."""
        self.failures = 0
        self.moved: Final = asyncio.Event()
        """Set when the sink has taken a batch."""
        self._has_some: Final = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._outgoing)

    def start(self) -> None:
        """Begin to deliver."""
        self._task = asyncio.create_task(self._run(), name=f"deliver {self._pipeline}")

    def add(self, number: int, batch: DataBatch) -> None:
        """Deliver a batch that is durable."""
        self._outgoing[number] = batch
        self._has_some.set()

    def restore(self, outgoing: Mapping[int, DataBatch]) -> None:
        """Go on with what the store has."""
        self.delivered = {
            number: rows for number, rows in self.delivered.items() if number in outgoing
        }
        self._outgoing = {
            number: batch for number, batch in outgoing.items() if number not in self.delivered
        }
        if self._outgoing:
            self._has_some.set()

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._has_some.wait()
            if not self._outgoing:
                self._has_some.clear()
                continue
            number = min(self._outgoing)
            batch = self._outgoing[number]
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._sink.deliver(Delivery(self._pipeline, number, batch, self._fence))
            except BaseException as error:
                if ends_task(error):
                    raise
                failures += 1
                self.failures += 1
                wait_s = RETRY.delay_s(failures)
                LOGGER.warning(
                    "The sink %s of %s did not take batch %d; again in %.1f s: %r",
                    self._sink.name, self._pipeline, number, wait_s, error,
                )  # fmt: skip
                await asyncio.sleep(wait_s)
                continue
            failures = 0
            if self._outgoing.pop(number, None) is not None:
                self.delivered[number] = batch.rows
            self.moved.set()

    async def close(self) -> None:
        """End; a delivery under way may be repeated later."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None
