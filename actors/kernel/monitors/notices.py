"""Notices: messages that the kernel itself puts into mailboxes, even full ones.

Each notice has a tag, so that it can be withdrawn until its handler begins. A notice belongs
to one incarnation and ends with it, also when the mailbox is kept.

In the mailbox a notice is an `Ask` whose outcome comes to this module. So the kernel knows
when it has been handled, at no cost to other messages.
"""

import math
from collections.abc import Callable, Hashable

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStopped,
    CallboardError,
    Cancelled,
    UsageError,
)

from ..asks import Ask
from ..cell_port import CellPort
from ..dead_letters import DeadLetters

__all__ = ["Notice", "Notices", "check_handled", "is_notice"]


class Notice:
    """One notice in a mailbox: the `ReplySink` of its ask."""

    __slots__ = ("_notices", "_on_handled", "ask", "cell", "tag")

    def __init__(
        self,
        notices: "Notices",
        cell: CellPort,
        tag: Hashable,
        message: Contract,
        on_handled: Callable[[], None] | None,
    ) -> None:
        self._notices = notices
        self._on_handled = on_handled
        self.cell = cell
        self.tag = tag
        self.ask = Ask(message, self, 0, math.inf)

    def partial(self, correlation: int, message: Contract) -> None:
        """See `ReplySink`: a notice has no partial results."""

    def reply(self, correlation: int, message: Contract | None) -> None:
        """Its handler has returned."""
        self._notices.settle(self)
        if self._on_handled is not None:
            self._on_handled()

    def fail(self, correlation: int, error: CallboardError) -> None:
        """Its handler has raised, or will never run."""
        self._notices.handle_failure(self, error)
        if self._on_handled is not None:
            self._on_handled()


class Notices:
    """The notices of one host that have not been handled yet."""

    __slots__ = ("_dead_letters", "_waiting")

    def __init__(self, dead_letters: DeadLetters) -> None:
        self._dead_letters = dead_letters
        self._waiting: dict[int, dict[Hashable, Notice]] = {}

    def put(
        self,
        cell: CellPort,
        tag: Hashable,
        message: Contract,
        on_handled: Callable[[], None] | None = None,
    ) -> None:
        """Put a message into a mailbox, full or not.

        It replaces a waiting notice with the same tag.
        """
        if self.is_waiting(cell.id, tag):
            self._waiting[cell.id][tag].ask.message = message
            return
        notice = Notice(self, cell, tag, message, on_handled)
        if cell.put_notice(notice.ask):
            self._waiting.setdefault(cell.id, {})[tag] = notice

    def is_waiting(self, number: int, tag: Hashable) -> bool:
        """Whether the notice with that tag is still in the mailbox."""
        notices = self._waiting.get(number)
        notice = None if notices is None else notices.get(tag)
        return notice is not None and notice.ask.worker is None

    def count(self, number: int) -> int:
        """How many notices a cell has yet to handle."""
        return len(self._waiting.get(number, ()))

    def withdraw(self, number: int, tag: Hashable) -> None:
        """Withdraw a notice: unless its handler has begun, it never runs."""
        notices = self._waiting.get(number)
        notice = None if notices is None else notices.get(tag)
        if notice is not None:
            self.settle(notice)
            _withdraw_ask(notice)

    def withdraw_all(self, number: int, matches: Callable[[Contract], bool]) -> None:
        """Withdraw all notices of a cell that match."""
        for tag, notice in list(self._waiting.get(number, {}).items()):
            if matches(notice.ask.message):
                self.withdraw(number, tag)

    def drop(self, number: int) -> None:
        """Withdraw all notices of an incarnation that has ended."""
        if self._waiting:
            for notice in self._waiting.pop(number, {}).values():
                _withdraw_ask(notice)

    def settle(self, notice: Notice) -> bool:
        """Forget a notice; False when it was forgotten before."""
        notices = self._waiting.get(notice.cell.id)
        if notices is None or notices.get(notice.tag) is not notice:
            return False
        del notices[notice.tag]
        if not notices:
            del self._waiting[notice.cell.id]
        return True

    def handle_failure(self, notice: Notice, error: CallboardError) -> None:
        """Forget a notice whose handler failed; like a message, it becomes a dead letter."""
        if not self.settle(notice) or isinstance(error, ActorStopped | Cancelled):
            return  # It has ended with its incarnation.
        reason = "no_handler" if isinstance(error, ActorNotFound) else "handler_failed"
        self._dead_letters.dead(reason, notice.cell.path, notice.ask.message, error)


def is_notice(item: object) -> bool:
    """Whether an item in a mailbox is a notice, which no policy may drop."""
    return type(item) is Ask and type(item.sink) is Notice


def _withdraw_ask(notice: Notice) -> None:
    if notice.ask.worker is None:  # Otherwise its handler runs already, and may still fail.
        notice.ask.done = True


def check_handled(cell: CellPort, contract: type[Contract]) -> None:
    """Raise `UsageError` when the actor has no handler for the notices that it asks for."""
    behaviour = cell.behaviour
    if contract not in behaviour.handlers and behaviour.find(contract) is None:
        raise UsageError(
            f"{cell.path} ({behaviour.actor.__qualname__}) has no handler for a "
            f"{contract.contract_name}.",
            advice=f"Write a handler whose first parameter is a {contract.__name__}.",
        )
