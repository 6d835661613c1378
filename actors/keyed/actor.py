"""The base class of keyed actors, and the actor that keeps states for all hosts."""

from typing import Any, ClassVar

from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import SpecError
from callboard.messages.storage.keyed_stores import (
    KeyedStore,
    LoadedState,
    LoadState,
    MemoryStore,
    SavedState,
    SaveState,
)

from ..kernel.actor import Actor, Behaviour, OnError, behaviour_of, handler
from ..kernel.context import Context

__all__ = ["KeyedActor", "StoreActor", "check_keyed"]


class KeyedActor(Actor):
    """An actor that belongs to a key: every contract it handles has the field that `key` names.

    The system has at most one actor of a key. A message for the key activates it, and its key
    region passivates it when it is idle. `snapshot` and `restore` carry its state across.
    """

    key: ClassVar[str] = ""

    def snapshot(self) -> Any:
        """The state to store (a contract, or None); may be async. Called between messages."""
        return None

    def restore(self, state: Any) -> Any:
        """Restore the stored state, None the first time; may be async."""

    async def started(self, ctx: Context) -> None:
        """Called after `restore`, before the first message."""

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """Called before the last save, when the actor stops in order."""


class StoreActor(Actor):
    """Stores states for the actors of all hosts; by default in its memory."""

    on_error: ClassVar[OnError] = OnError.RESUME

    def __init__(self, store: KeyedStore | None = None) -> None:
        self._store: KeyedStore = MemoryStore() if store is None else store

    @handler
    async def load(self, request: LoadState) -> LoadedState:
        """Load the state of a key."""
        return await self._store.load(request.kind, request.key)

    @handler
    async def save(self, request: SaveState) -> SavedState:
        """Store a state; raises `StateConflict`."""
        version = await self._store.save(request.kind, request.key, request.state, request.version)
        return SavedState(version=version)


def check_keyed(actor: type[Any]) -> Behaviour:
    """The behaviour of a keyed actor class; raises `SpecError` with class, contract and field."""
    behaviour = behaviour_of(actor)
    if not issubclass(actor, KeyedActor):
        raise SpecError(
            f"{actor.__qualname__} is not a keyed actor.", advice="Derive it from KeyedActor."
        )
    if not isinstance(actor.key, str) or not actor.key.isidentifier():
        raise SpecError(
            f"{actor.__qualname__}.key is {actor.key!r}.",
            advice="Set it to the name of the field that holds the key in each contract.",
        )
    for row in behaviour.handlers.values():
        contract: type[Contract] = row.contract
        if actor.key not in contract.model_fields:
            raise SpecError(
                f"{actor.__qualname__} handles {contract.contract_name}, which has no field "
                f"{actor.key!r}.",
                advice="Add the field: each contract of a keyed actor has it.",
            )
    return behaviour
