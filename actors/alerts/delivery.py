"""Delivers the notifications of the core, each until it has arrived or is given up.

Each receiver has room of its own: one that hangs, or refuses everything, delays no other.
"""

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Final

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError

from ..kernel.failures import ends_task
from .grouping import Notification, Outcome
from .ports import Target, Undelivered

__all__ = ["ATTEMPTS_MAX", "ATTEMPT_S_MAX", "IN_FLIGHT_MAX", "Deliveries"]

LOGGER: Final = logging.getLogger("callboard.alerts")
ATTEMPTS_MAX: Final = 8
ATTEMPT_S_MAX: Final = 10.0
"""How long one attempt may take."""
IN_FLIGHT_MAX: Final = 4
"""Notifications of one receiver that are sent at the same time; others wait."""
RETRY: Final = Backoff(min_s=1.0, max_s=60.0)
"""With 8 attempts, a receiver may be away for about two minutes before one is given up. Alerts of
a notification that is given up are in the next one of their group."""

Settle = Callable[[str, Outcome], None]


class Deliveries:
    """The notifications under way. Belongs to one event loop."""

    def __init__(
        self,
        targets: Mapping[str, Target],
        settle: Settle,
        random: Random,
        *,
        retry: Backoff = RETRY,
    ) -> None:
        self._targets = targets
        self._settle: Final = settle
        self._random: Final = random
        self._retry: Final = retry
        self._room: dict[str, asyncio.Semaphore] = {}
        self._tasks: Final[dict[str, asyncio.Task[None]]] = {}
        self._failing: set[str] = set()
        """The receivers whose last attempt failed."""
        self.counts: Final[Counter[str]] = Counter()
        """Attempts that failed, and notifications delivered, by receiver."""
        self.attempts_failed = 0
        self.use(targets)

    def use(self, targets: Mapping[str, Target]) -> None:
        """Send to these receivers; what is under way is sent again to them, by `update`."""
        self.update(())
        self._targets = targets
        self._room = {name: asyncio.Semaphore(IN_FLIGHT_MAX) for name in targets}
        self._failing &= targets.keys()

    def update(self, outbox: Iterable[Notification]) -> None:
        """Begin to send what is new, and stop to send what was withdrawn."""
        wanted = {notification.key: notification for notification in outbox}
        for key in [key for key in self._tasks if key not in wanted]:
            self._tasks.pop(key).cancel()
        for key, notification in wanted.items():
            if key not in self._tasks:
                task = asyncio.ensure_future(self._deliver(notification))
                self._tasks[key] = task
                task.add_done_callback(functools.partial(self._ended, key))

    def _ended(self, key: str, task: "asyncio.Task[None]") -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]

    @property
    def failing(self) -> int:
        """How many receivers do not answer, as far as is known."""
        return len(self._failing)

    async def _deliver(self, notification: Notification) -> None:
        target = self._targets.get(notification.receiver)
        if target is None:  # The receivers have changed since it was stored.
            self._settle(notification.key, Outcome.GIVEN_UP)
            return
        for attempt in range(1, ATTEMPTS_MAX + 1):
            async with self._room[notification.receiver]:
                problem, is_final = await self._attempt(target, notification)
            if not problem:
                self._failing.discard(notification.receiver)
                self._settle(notification.key, Outcome.DELIVERED)
                return
            self.attempts_failed += 1
            if notification.receiver not in self._failing:
                LOGGER.warning(
                    "the receiver %s does not take a notification: %s",
                    notification.receiver,
                    problem,
                )
            self._failing.add(notification.receiver)
            if is_final or attempt == ATTEMPTS_MAX:
                LOGGER.error(
                    "a notification of %d alerts for the receiver %s is given up after %d "
                    "attempts: %s",
                    len(notification.alerts),
                    notification.receiver,
                    attempt,
                    problem,
                )
                self._settle(notification.key, Outcome.GIVEN_UP)
                return
            await asyncio.sleep(self._retry.delay_s(attempt, self._random.random()))

    async def _attempt(self, target: Target, notification: Notification) -> tuple[str, bool]:
        """Why an attempt failed, and whether for good; an empty text when it did not."""
        try:
            async with asyncio.timeout(ATTEMPT_S_MAX):
                await target.deliver(notification)
        except TimeoutError:
            return f"no answer within {ATTEMPT_S_MAX:g} s", False
        except Undelivered as error:
            return error.message, error.is_final
        except CallboardError as error:
            return error.message, False
        except BaseException as error:
            if ends_task(error):
                raise
            return f"{type(error).__name__}: {error}", False
        return "", False

    async def close(self) -> None:
        """Stop sending; what is not delivered is sent by the next incarnation."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
