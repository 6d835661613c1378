"""A steady load of asks, and a record of their outcomes."""

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from callboard.messages.core.errors import CallboardError

from .recovery import BUCKET_S, Bucket

__all__ = ["Asked", "Load", "Reply"]

TICK_S = 0.01
"""Asks are sent in small groups, because a timer for each would cost more than an ask."""
LAST_OUTCOMES_S = 60.0
ANSWERED, LOST = "answered", "host_lost"


class Reply(Protocol):
    """The reply of a worker."""

    number: int
    process_id: int
    is_repeated: bool


class Asked(NamedTuple):
    """One actor: the host that it shares, and a function that asks it."""

    slot: int
    ask: Callable[[int], Awaitable[Any]]


class Load:
    """Asks workers in turn at a fixed rate, until it is stopped.

    Invariant: ask number n has `_outcomes[n]` outcomes so far. In the end each must have one. The
    record is allocated first, for about `expected` asks, so that it does not grow during the
    measurement.
    """

    def __init__(
        self, asked: Sequence[Asked], per_s: int, lost: type[Exception], expected: int
    ) -> None:
        self.asked = 0
        """The number of asks."""
        self.kinds: Counter[str] = Counter()
        """Outcomes by kind: `answered`, or the code of an error."""
        self.processes: dict[int, int] = {}
        """For each host, the process that answered last."""
        self._workers = asked
        self._per_tick = max(1, round(per_s * TICK_S))
        self._lost = lost
        self._outcomes = bytearray(expected)
        self._answered_s = array("d", bytes(expected * array("d").itemsize))
        self._answered_count = 0
        self._open = 0
        self._wrong = self._repeated = self._contradictions = 0
        self._stopping = False
        self._closed = asyncio.Event()

    async def run(self) -> None:
        """Ask at the rate, without waiting for outcomes."""
        asyncio.get_running_loop().set_exception_handler(self._contradicted)
        next_s = time.monotonic()
        while not self._stopping:
            for _ in range(self._per_tick):
                self._ask()
            next_s += TICK_S
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))

    def _ask(self) -> None:
        number = self.asked
        self.asked += 1
        worker = self._workers[number % len(self._workers)]
        if number == len(self._outcomes):
            self._outcomes.append(0)
            self._answered_s.append(0.0)
        self._open += 1
        future: asyncio.Future[Any] = asyncio.ensure_future(worker.ask(number))
        future.add_done_callback(lambda done: self._settled(number, worker.slot, done))

    def _settled(self, number: int, slot: int, future: "asyncio.Future[Any]") -> None:
        self._outcomes[number] += 1
        self._open -= 1
        error = None if future.cancelled() else future.exception()
        if future.cancelled():
            self.kinds["cancelled"] += 1
        elif isinstance(error, self._lost):
            self.kinds[LOST] += 1
        elif error is not None:
            code = error.code if isinstance(error, CallboardError) else type(error).__name__
            self.kinds[code] += 1
        else:
            self._answered(number, slot, future.result())
        if self._stopping and not self._open:
            self._closed.set()

    def _answered(self, number: int, slot: int, reply: Reply) -> None:
        self.kinds[ANSWERED] += 1
        self._answered_s[self._answered_count] = time.monotonic()
        self._answered_count += 1
        self.processes[slot] = reply.process_id
        self._wrong += reply.number != number
        self._repeated += reply.is_repeated

    def _contradicted(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Count second outcomes of a future, which the event loop reports as errors."""
        self._contradictions += isinstance(context.get("exception"), asyncio.InvalidStateError)
        loop.default_exception_handler(context)

    async def stop(self, running: "asyncio.Task[None]") -> None:
        """Stop asking, and wait for open outcomes. Asks without an outcome by then are counted."""
        self._stopping = True
        await running
        if self._open:
            try:
                async with asyncio.timeout(LAST_OUTCOMES_S):
                    await self._closed.wait()
            except TimeoutError:
                return

    def rates(self, *, from_s: float, until_s: float) -> list[Bucket]:
        """Answers per second in each bucket. `from_s` is within the measured time."""
        first_s = self._answered_s[0]
        start_s = first_s + (from_s - first_s) // BUCKET_S * BUCKET_S - 5 * BUCKET_S
        counts = [0] * int((until_s - start_s) / BUCKET_S)
        for at_s in self._answered_s[: self._answered_count]:
            place = int((at_s - start_s) // BUCKET_S)
            if 0 <= place < len(counts):
                counts[place] += 1
        return [
            Bucket(start_s + place * BUCKET_S, count / BUCKET_S)
            for place, count in enumerate(counts)
        ]

    def faults(self) -> dict[str, int]:
        """Counts that must be zero. The check compares them."""
        others = sum(n for kind, n in self.kinds.items() if kind not in {ANSWERED, LOST})
        return {
            "without_outcome": sum(count == 0 for count in self._outcomes[: self.asked]),
            "with_more_outcomes": self._contradictions + sum(count > 1 for count in self._outcomes),
            "other_outcomes": others,
            "wrong_answers": self._wrong,
            "repeated": self._repeated,
        }
