"""Aggregates: a state folded from the events of one stream, and commands that add events.

    class Account(Aggregate[AccountState]):
        state = AccountState

        @applies
        def deposited(self, state: AccountState, event: Deposited) -> AccountState:
            return AccountState(balance=state.balance + event.amount)

        @decides
        def deposit(self, state: AccountState, command: Deposit) -> Deposited:
            return Deposited(amount=command.amount)

Both methods are pure, and may be called again at any time. An `applies` method must not raise:
its event has happened. A `decides` method refuses a command by raising. `Commands` loads the
state, decides and appends.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Generic, TypeVar, cast

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import SpecError

from .folds import FunctionT, contracts_of, marked, methods_of

__all__ = ["Aggregate", "applies", "decides"]

StateT = TypeVar("StateT", bound=Contract)


def applies(function: FunctionT) -> FunctionT:
    """Mark a method that folds an event into the state: (self, state, event) -> state."""
    return marked(function, "applies")


def decides(function: FunctionT) -> FunctionT:
    """Mark a method that decides on a command: (self, state, command) -> events.

    It returns one event, a sequence of events, or None for no event.
    """
    return marked(function, "decides")


class Aggregate(Generic[StateT]):
    """The state, the events and the commands of one kind of stream.

    A subclass sets `state` to the contract of the state, which must have defaults for all
    fields: they are the state of an empty stream. It raises `schema` when the fold changes, so
    that earlier snapshots are not used. Raises `SpecError` for a wrong state or wrong methods.
    """

    state: ClassVar[type[Contract]]
    schema: ClassVar[int] = 1

    def __init__(self) -> None:
        state = getattr(type(self), "state", None)
        if not (isinstance(state, type) and issubclass(state, Contract)):
            raise SpecError(
                f"{type(self).__qualname__}.state is {state!r}.",
                advice="Set it to the Contract class of the state.",
            )
        self._applies: Final = methods_of(type(self), "applies", 2, 1)
        self._decides: Final = methods_of(type(self), "decides", 2, 1)

    def empty(self) -> StateT:
        """The state of a stream without events."""
        return cast("StateT", type(self).state())

    @property
    def events(self) -> list[type[Contract]]:
        """The contracts of the `applies` methods; the aggregate's codec must know them all."""
        return contracts_of(self._applies)

    def apply(self, state: StateT, event: Contract) -> StateT:
        """The state after an event.

        Raises `SpecError` when no method applies it, or the method returns no state.
        """
        found = self._applies.get(event.contract_name)
        if found is None:
            raise self._missing("applies", event)
        after = found[0](self, state, event)
        if not isinstance(after, type(self).state):
            raise SpecError(
                f"the method of {type(self).__qualname__} that applies {event.contract_name} "
                f"returned a {type(after).__name__}.",
                advice=f"Return a {type(self).state.__qualname__}.",
            )
        return cast("StateT", after)

    def fold(self, state: StateT, events: Iterable[Contract]) -> StateT:
        """The state after some events."""
        for event in events:
            state = self.apply(state, event)
        return state

    def decide(self, state: StateT, command: Contract) -> tuple[Contract, ...]:
        """The events of a command. Raises what its `decides` method raises."""
        found = self._decides.get(command.contract_name)
        if found is None:
            raise self._missing("decides", command)
        decided = found[0](self, state, command)
        if decided is None:
            return ()
        events = (decided,) if isinstance(decided, Contract) else tuple(decided)
        for event in events:
            if not isinstance(event, Contract) or event.contract_name not in self._applies:
                raise self._missing("applies", event)
        return events

    def _missing(self, role: str, about: Any) -> SpecError:
        name = about.contract_name if isinstance(about, Contract) else repr(about)
        known: Mapping[str, Any] = self._applies if role == "applies" else self._decides
        return SpecError(
            f"{type(self).__qualname__} has no `{role}` method for {name}.",
            advice=f"It has such methods for: {', '.join(sorted(known)) or 'nothing'}.",
        )
