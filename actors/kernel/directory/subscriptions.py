"""Subscriptions to the directory: the offers of a contract, or the actor of a name, over time.

Every host has a copy of the directory, so a subscription costs no message: when the copy is
replaced, the host looks its subjects up again, and sends a notice of each change to the
local subscribers.
"""

from collections.abc import Callable
from typing import Any, Final

from callboard.messages.control.notices import NameChanged, Offers
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import UsageError
from callboard.messages.core.ref import Address, Ref

from ..cell_port import CellPort
from ..monitors.notices import Notices, check_handled
from .registry import Directory

__all__ = ["SUBSCRIPTIONS_MAX", "Subject", "Subscriptions", "contract_name_of"]

SUBSCRIPTIONS_MAX: Final = 1_024
"""Subjects that one actor may subscribe to."""

Subject = tuple[type[Offers] | type[NameChanged], str]
"""The type of its notices, and the name of the contract or the actor."""
Listener = Callable[[Offers | NameChanged | None], None]
"""A function that gets the notices of a driver's subscription; None when the host closes."""


def contract_name_of(contract: type[Contract] | str) -> str:
    """The name of a contract given by its class or its name; raises `UsageError`."""
    if isinstance(contract, str) and contract:
        return contract
    if isinstance(contract, type) and issubclass(contract, Contract):
        return contract.contract_name
    raise UsageError(
        f"{contract!r} is not a contract.", advice="Pass a Contract class or its name."
    )


class Subscriptions:
    """The subscriptions of one host's actors and driver."""

    __slots__ = (
        "_directory",
        "_found",
        "_listeners",
        "_notices",
        "_number",
        "_of",
        "_ref",
        "_subscribers",
    )

    def __init__(
        self, directory: Directory, notices: Notices, ref: Callable[[Address], Ref[Any]]
    ) -> None:
        self._directory = directory
        self._notices = notices
        self._ref = ref
        self._subscribers: dict[Subject, dict[int, CellPort]] = {}
        self._of: dict[int, dict[Subject, None]] = {}
        self._listeners: dict[Subject, dict[int, Listener]] = {}
        self._found: dict[Subject, object] = {}
        """What the last notice of each subject said."""
        self._number = 0

    # --- actors ---------------------------------------------------------------------------

    def subscribe(self, cell: CellPort, subject: Subject) -> None:
        """Send an actor a notice at once and after each change; raises `UsageError`."""
        check_handled(cell, subject[0])
        row = self._of.setdefault(cell.id, {})
        if subject not in row and len(row) >= SUBSCRIPTIONS_MAX:
            raise UsageError(
                f"{cell.path} has {SUBSCRIPTIONS_MAX} subscriptions.",
                advice="End those it no longer needs.",
            )
        row[subject] = None
        self._subscribers.setdefault(subject, {})[cell.id] = cell
        self._found.setdefault(subject, self._lookup(subject))
        self._notices.put(cell, subject, self._notice(subject))

    def unsubscribe(self, cell: CellPort, subject: Subject) -> None:
        """End a subscription; no handler gets a notice of it after this."""
        row = self._of.get(cell.id)
        if row is not None and subject in row:
            del row[subject]
            if not row:
                del self._of[cell.id]
            del self._subscribers[subject][cell.id]
            self._forget_unused(subject)
            self._notices.withdraw(cell.id, subject)

    def drop(self, number: int) -> None:
        """End all subscriptions of an incarnation that has ended."""
        if self._of:
            for subject in self._of.pop(number, ()):
                del self._subscribers[subject][number]
                self._forget_unused(subject)

    # --- drivers ----------------------------------------------------------------------------

    def listen(self, subject: Subject, listener: Listener) -> Callable[[], None]:
        """Call a function at once and after each change; returns a function that ends this."""
        self._number += 1
        number = self._number
        self._found.setdefault(subject, self._lookup(subject))
        self._listeners.setdefault(subject, {})[number] = listener
        listener(self._notice(subject))

        def stop_listening() -> None:
            self._listeners.get(subject, {}).pop(number, None)
            self._forget_unused(subject)

        return stop_listening

    # --- changes ----------------------------------------------------------------------------

    def changed(self) -> None:
        """The host's copy of the directory has been replaced: send notices of the changes."""
        for subject, before in list(self._found.items()):
            found = self._lookup(subject)
            if found == before:
                continue
            self._found[subject] = found
            notice = self._notice(subject)
            for cell in list(self._subscribers.get(subject, {}).values()):
                self._notices.put(cell, subject, notice)
            for listener in list(self._listeners.get(subject, {}).values()):
                listener(notice)

    def _lookup(self, subject: Subject) -> object:
        kind, name = subject
        directory = self._directory
        return tuple(directory.offers(name)) if kind is Offers else directory.find(name)

    def _notice(self, subject: Subject) -> Offers | NameChanged:
        kind, name = subject
        directory = self._directory
        if kind is Offers:
            refs = tuple(self._ref(address) for address in directory.offers(name))
            return Offers(contract=name, refs=refs, version=directory.version)
        address = directory.find(name)
        ref = None if address is None else self._ref(address)
        return NameChanged(name=name, ref=ref, version=directory.version)

    def _forget_unused(self, subject: Subject) -> None:
        for row in (self._subscribers, self._listeners):
            if subject in row and not row[subject]:
                del row[subject]
        if subject not in self._subscribers and subject not in self._listeners:
            self._found.pop(subject, None)

    def close(self) -> None:
        """The host closes: end all subscriptions."""
        self._subscribers.clear()
        self._of.clear()
        self._found.clear()
        listeners, self._listeners = self._listeners, {}
        for row in listeners.values():
            for listener in row.values():
                listener(None)
