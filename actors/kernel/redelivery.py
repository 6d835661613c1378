"""Redelivery: a message that crashes its actor goes to the next incarnation, or is poison.

The next incarnation handles a message again until it has crashed `attempts_max`
incarnations. The count belongs to the message and not to the actor: it ends with the
message, whether that is handled, expires, or is dropped.
"""

import contextlib
import weakref
from typing import Any, Final, NamedTuple

from callboard.messages.control.dead_letters import Attempt
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError, HandlerFailed

from .asks import Ask
from .cell_port import CellPort
from .monitors.notices import is_notice

__all__ = ["Redelivery", "Verdict"]

HISTORY_ATTEMPTS_MAX: Final = 8
"""Attempts kept one by one: the first, and the newest of the others."""
HISTORY_TRACEBACK_CHARS_MAX: Final = 3_000
"""The attempts travel inside an error, and an error over 60 kB loses its details."""


class Verdict(NamedTuple):
    """The decision about a message that has crashed its actor."""

    retried: Any
    """The item that the next incarnation handles first; None when it is not retried."""
    failure: CallboardError
    """The error for its asker."""
    attempts: tuple[Attempt, ...]
    """All attempts; empty unless the message is poison."""


class _Count:
    """The attempts of one message so far."""

    __slots__ = ("attempts", "failure", "history", "message")

    def __init__(self) -> None:
        self.attempts = 0
        self.history: list[Attempt] = []
        self.message: weakref.ref[Contract] | None = None
        self.failure: CallboardError | None = None

    def add(self, attempt: Attempt, failure: CallboardError) -> None:
        self.attempts += 1
        self.failure = failure
        self.history.append(attempt)
        if len(self.history) > HISTORY_ATTEMPTS_MAX:
            del self.history[1]


class Redelivery:
    """The messages of one host that have crashed their actor and are retried."""

    __slots__ = ("_by_cell", "_host_name")

    def __init__(self, host_name: str) -> None:
        self._host_name = host_name
        self._by_cell: dict[int, list[_Count]] = {}

    def judge(self, cell: CellPort, item: Any, failure: CallboardError) -> Verdict:
        """A handler has crashed its actor: decide whether its message is retried."""
        message: Contract = item.message if type(item) is Ask else item
        if is_notice(item) or (type(item) is Ask and item.done):
            return Verdict(None, failure, ())
        count = self._find(cell.id, message) or _Count()
        count.add(_attempt(cell, self._host_name, failure), failure)
        if count.attempts >= cell.behaviour.attempts_max:
            self._forget(cell.id, count)
            return Verdict(None, _with_history(failure, count), tuple(count.history))
        # A copy, because the sender may have sent the same object twice.
        copy = message.model_copy()
        number = cell.id
        count.message = weakref.ref(copy, lambda _: self._forget(number, count))
        counts = self._by_cell.setdefault(number, [])
        if count not in counts:
            counts.append(count)
        if type(item) is Ask:
            item.message = copy
            item.has_run = True
        return Verdict(item if type(item) is Ask else copy, failure, ())

    def last_failure(self, cell: CellPort, item: Any) -> CallboardError | None:
        """The error of a waiting message's last attempt; None when it had none."""
        if not self._by_cell:
            return None
        count = self._find(cell.id, item.message if type(item) is Ask else item)
        return None if count is None else count.failure

    def __len__(self) -> int:
        return sum(len(counts) for counts in self._by_cell.values())

    def _find(self, number: int, message: Contract) -> _Count | None:
        for count in self._by_cell.get(number, ()):
            if count.message is not None and count.message() is message:
                return count
        return None

    def _forget(self, number: int, count: _Count) -> None:
        counts = self._by_cell.get(number)
        if counts is None:
            return
        with contextlib.suppress(ValueError):
            counts.remove(count)
        if not counts:
            del self._by_cell[number]


def _attempt(cell: CellPort, host_name: str, failure: CallboardError) -> Attempt:
    details = failure.details
    return Attempt(
        incarnation=cell.incarnation,
        host=host_name,
        error_type=str(details.get("remote_type", failure.code)),
        text=str(details.get("remote_text", failure.message)),
        traceback=str(details.get("remote_traceback", ""))[-HISTORY_TRACEBACK_CHARS_MAX:],
    )


def _with_history(failure: CallboardError, count: _Count) -> CallboardError:
    return HandlerFailed(
        f"{failure.message} It has crashed its actor {count.attempts} times.",
        advice="The message is a dead letter with the reason poison; `attempts` has each attempt.",
        **failure.details,
        attempts=[attempt.model_dump() for attempt in count.history],
    )
