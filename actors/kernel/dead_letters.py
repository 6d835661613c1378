"""Dead letters: messages that no handler got, counted by reason and sent to subscribers.

A subscriber is called with each `DeadLetter` and must be quick. One that raises is removed
with a log line, because a dead letter must not harm a running actor.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from callboard.messages.control.dead_letters import Attempt, DeadLetter
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError

from .asks import Ask
from .interrupts import is_interrupt

__all__ = ["DeadLetters"]

LOGGER: Final = logging.getLogger("callboard.dead_letters")
CAUSE_CHARS_MAX: Final = 500
HERE: Final = -1
"""In place of a slot: the subscriber serves the host itself."""
LOGGED_MAX: Final = 20
"""Dead letters logged one by one; after that each power of ten, so that no flood fills the log."""


class DeadLetters:
    """The dead letters of one host."""

    def __init__(self, host_name: str) -> None:
        self._host_name = host_name
        self._subscribers: dict[Callable[[DeadLetter], None], int] = {}
        """The subscribers, in the order they came, and the slot that each serves."""
        self.counts: Counter[str] = Counter()
        """How many there were, by reason."""
        self.causes: dict[str, str] = {}
        """The newest error of each reason, as text."""
        self._total = 0

    def subscribe(
        self, subscriber: Callable[[DeadLetter], None], slot: int = HERE
    ) -> Callable[[], None]:
        """Call `subscriber` with each new dead letter; returns a function that ends this.

        `slot` is the host or driver that it serves, and whose end also ends this.
        """
        self._subscribers[subscriber] = slot

        def unsubscribe() -> None:
            self._remove(subscriber)

        return unsubscribe

    def forget(self, slot: int) -> None:
        """Remove the subscribers that serve a driver which has left."""
        for subscriber in [one for one, of in self._subscribers.items() if of == slot]:
            self._remove(subscriber)

    def dead(
        self,
        reason: str,
        target: str,
        item: Any,
        error: CallboardError | None = None,
        attempts: Sequence[Attempt] = (),
    ) -> None:
        """Record one message that no handler got, or whose handler failed."""
        self.counts[reason] += 1
        self._total += 1
        message: Contract | None = item.message if type(item) is Ask else item
        # Another pydantic model than a contract may have come by a local reference.
        cls = type(message)
        name = "" if message is None else getattr(cls, "contract_name", cls.__qualname__)
        if error is not None:
            name = name or str(error.details.get("contract", ""))
            self.causes[reason] = f"{error}"[:CAUSE_CHARS_MAX]
        if self._total <= LOGGED_MAX or str(self._total).strip("0") == "1":
            LOGGER.warning(
                "dead letter %d on %s: %s to %s: %s%s",
                self._total,
                self._host_name,
                name or "a message",
                target,
                reason,
                f": {error}" if error is not None else "",
            )
        if not self._subscribers:
            return
        letter = DeadLetter(
            reason=reason,
            target=target,
            contract=name,
            host=self._host_name,
            error=None if error is None else error.to_data(),
            attempts=tuple(attempts),
        )
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(letter)
            except BaseException as broken:
                if is_interrupt(broken):
                    raise
                LOGGER.exception("a subscriber of dead letters failed and is removed")
                self._remove(subscriber)

    def _remove(self, subscriber: Callable[[DeadLetter], None]) -> None:
        self._subscribers.pop(subscriber, None)  # It may have unsubscribed meanwhile.
