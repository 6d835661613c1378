"""The attempts of one execution: their executors, and the failures of each sub-task.

A ticket names an attempt: one number holds the sub-task's index and the number of the attempt.

Invariants: a ticket is running, or cancelling, or neither, never both; each running or cancelling
ticket takes exactly one slot of its executor and one of its kind. A sub-task has at most one
running ticket, that of its last attempt.
"""

from collections.abc import Sequence
from typing import Any, Final

from callboard.messages.core.errors import CallboardError

from .executor_pool import Kind
from .executors import Executor

__all__ = ["ATTEMPT_BITS", "ATTEMPT_MASK", "Attempts"]

ATTEMPT_BITS: Final = 12
"""4,095 attempts of a sub-task: a retry policy allows 2,000 at most."""

ATTEMPT_MASK: Final = (1 << ATTEMPT_BITS) - 1


class Attempts:
    """Attempts, slots, results and failures, by index of the sub-task."""

    __slots__ = (
        "cancelling",
        "errors",
        "failures",
        "host_losses",
        "kinds",
        "results",
        "running",
        "started",
    )

    def __init__(self) -> None:
        self.running: dict[int, Executor] = {}
        self.cancelling: dict[int, Executor] = {}  # cancelled, without an answer yet
        self.kinds: list[Kind] = []
        self.started: list[int] = []  # attempts so far of each sub-task
        self.results: list[Any] = []  # opaque handles; the values stay with the shell
        # Most sub-tasks never fail: these dicts hold only those that did.
        self.failures: dict[int, int] = {}
        self.host_losses: dict[int, int] = {}
        self.errors: dict[int, CallboardError] = {}

    @property
    def occupied(self) -> int:
        """Slots taken on all executors."""
        return len(self.running) + len(self.cancelling)

    def grow(self, kinds: Sequence[Kind]) -> None:
        """Make room for new sub-tasks of these kinds."""
        self.kinds += kinds
        self.started += [0] * len(kinds)
        self.results += [None] * len(kinds)

    def release(self, ticket: int, executor: Executor) -> None:
        """Release the slot of a ticket that is no longer running or cancelling."""
        self.kinds[ticket >> ATTEMPT_BITS].running -= 1
        executor.release()

    def running_ticket(self, index: int) -> int | None:
        """The running attempt of a sub-task; None when there is none, or its executor is lost."""
        ticket = index << ATTEMPT_BITS | self.started[index]
        return ticket if ticket in self.running else None

    def drop_executor(self, executor: Executor) -> list[int]:
        """Release every slot of a lost executor; returns the tickets that ran there.

        It scans all attempts: losing an executor is rare, and an index would cost each dispatch.
        """
        lost = [ticket for ticket, at in self.running.items() if at is executor]
        for tickets in (self.running, self.cancelling):
            for ticket in [ticket for ticket, at in tickets.items() if at is executor]:
                del tickets[ticket]
                self.release(ticket, executor)
        return lost
