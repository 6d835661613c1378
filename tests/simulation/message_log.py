"""The message log of a run: its messages and asks, and their outcomes.

The actors of a scenario record the messages that they handle, and its driver records its asks. The
log is outside all processes, so it survives them. It complains when a message comes twice, out of
order, or after its sender got an error that says that it never ran.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from callboard.messages.core.errors import AskError, CallboardError
from callboard.runtime.testing.world import World

__all__ = ["AskRecord", "MessageLog", "current_message_log"]

LATE_S: Final = 0.3
"""The most delay between a deadline and the end of its ask: timer buckets and slow steps."""

Pair = tuple[int, str]


class AskRecord:
    """One ask: its deadline, the number of its handler's starts, and its outcome."""

    __slots__ = ("asker", "began", "deadline_s", "not_run", "number", "outcome")

    def __init__(self, number: int, deadline_s: float, asker: Any) -> None:
        self.number = number
        self.asker = asker
        """The process that asks."""
        self.deadline_s = deadline_s
        self.began = 0
        self.outcome = ""
        self.not_run = False
        """Whether the asker got an error that says that the handler has not run."""


class MessageLog:
    """The messages and asks of one run."""

    def __init__(self, world: World, complain: Callable[[str, str], None]) -> None:
        self._world = world
        self.complain = complain
        self.asks: Final[list[AskRecord]] = []
        self.sent: Final[dict[Pair, int]] = {}
        """Notes that were accepted, by sender and receiver."""
        self.homes: Final[dict[int, tuple[int, int]]] = {}
        """Slot and epoch of each sender."""
        self.handled: Final[dict[Pair, int]] = {}
        self.active: Final[dict[str, Any]] = {}
        """The running actor of each key."""
        self.checker: Any = None
        """The checker of a durable execution; it outlives this log."""
        self.window_disk: Any = None
        """The disk with the windows of metrics."""
        self._newest: dict[Pair, int] = {}
        self._senders = 0

    @property
    def random(self) -> Callable[[], float]:
        """The random numbers of the seed, for actors that fail at random."""
        return self._world.random.random

    # --- notes ----------------------------------------------------------------------------

    def new_sender(self, slot: int, epoch: int) -> int:
        """A unique sender number."""
        self._senders += 1
        self.homes[self._senders] = (slot, epoch)
        return self._senders

    def took(self, sender: int, receiver: str, number: int) -> None:
        """A receiver begins to handle a note."""
        pair = (sender, receiver)
        newest = self._newest.get(pair, 0)
        self._world.trace.add(f"n{sender}>{receiver}:{number}")
        if number <= newest:
            name = "delivered_once" if number == newest else "order_kept"
            self.complain(
                name, f"{receiver} takes note {number} of sender {sender} after note {newest}"
            )
        self._newest[pair] = max(number, newest)
        self.handled[pair] = self.handled.get(pair, 0) + 1

    # --- asks -----------------------------------------------------------------------------

    def new_ask(self, timeout_s: float) -> AskRecord:
        """Record a new ask."""
        asker = asyncio.get_running_loop()
        record = AskRecord(len(self.asks), self._world.now_s + timeout_s, asker)
        self.asks.append(record)
        return record

    def began(self, number: int) -> None:
        """A handler begins with an ask."""
        record = self.asks[number]
        record.began += 1
        if record.began > 1:
            self.complain("delivered_once", f"ask {number} is handled {record.began} times")
        if record.not_run:
            self.complain(
                "may_have_run_is_true",
                f"ask {number} is handled after its asker got the error that it never ran",
            )

    async def outcome_of(
        self, record: AskRecord, reply: Awaitable[Any], check: Callable[[Any], bool]
    ) -> Any:
        """Wait for an ask; returns its reply, or None when it failed with a proper error."""
        try:
            answer = await reply
        except CallboardError as error:
            self._ended(record, error.code)
            if isinstance(error, AskError) and not error.may_have_run:
                record.not_run = True
                if record.began:
                    self.complain(
                        "may_have_run_is_true",
                        f"ask {record.number} failed with {error.code}, which says that it "
                        "never ran, but it did",
                    )
            return None
        except asyncio.CancelledError:
            self._ended(record, "given up")
            raise
        except Exception as error:  # noqa: BLE001 - a defect to report
            self._ended(record, "?")
            self.complain("one_outcome", f"ask {record.number} failed with {error!r}")
            return None
        self._ended(record, "reply")
        if not check(answer):
            self.complain("one_outcome", f"ask {record.number} got the wrong reply {answer!r}")
        if not record.began:
            self.complain("one_outcome", f"ask {record.number} was answered and no handler ran")
        return answer

    def _ended(self, record: AskRecord, outcome: str) -> None:
        world = self._world
        world.trace.add(f"a{record.number}:{outcome}")
        if record.outcome:
            self.complain("one_outcome", f"ask {record.number} ended twice")
        record.outcome = outcome
        # A paused asker cannot see the outcome earlier.
        late_s = world.now_s - max(record.deadline_s, record.asker.paused_until_s)
        if late_s > LATE_S:
            self.complain(
                "within_deadline",
                f"ask {record.number} ended with {outcome} {late_s:.3f} s after its deadline",
            )


def current_message_log() -> MessageLog:
    """The log of the world whose step this is."""
    loop: Any = asyncio.get_running_loop()
    log: MessageLog = loop.world.recorder
    return log
