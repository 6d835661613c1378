"""The base class of keyed actors, and the actor that keeps states for all hosts."""

import enum
import types
from collections.abc import Iterable
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    Union,
    get_args,
    get_origin,
)
from uuid import UUID

from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import SpecError
from callboard.messages.storage.keyed_stores import (
    ClaimingStore,
    KeyedStore,
    LoadedState,
    LoadState,
    MemoryStore,
    SavedState,
    SaveState,
)

from ..kernel.actor import Actor, Behaviour, OnError, behaviour_of, handler
from ..kernel.context import Context

__all__ = ["KeyedActor", "StoreActor", "check_keyed", "contract_offered", "key_kinds"]

KEY_TYPES: Final = (str, int, bytes, UUID)
"""The types of keys. Within one type, the texts of two keys differ (`key_text`)."""
KEY_KINDS: Final = frozenset(kind.__name__ for kind in KEY_TYPES)


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
        """Load the state of a key; raises `WriterFenced` when a newer incarnation has it."""
        if request.fence and isinstance(self._store, ClaimingStore):
            return await self._store.claim(request.kind, request.key, request.fence)
        return await self._store.load(request.kind, request.key)

    @handler
    async def save(self, request: SaveState) -> SavedState:
        """Store a state; raises `StateConflict` and `WriterFenced`."""
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
    named: dict[str, str] = {}
    for row in behaviour.handlers.values():
        contract: type[Contract] = row.contract
        field = contract.model_fields.get(actor.key)
        if field is None:
            raise SpecError(
                f"{actor.__qualname__} handles {contract.contract_name}, which has no field "
                f"{actor.key!r}.",
                advice="Add the field: each contract of a keyed actor has it.",
            )
        for kind in key_kinds(field.annotation):
            if kind not in KEY_KINDS:
                raise SpecError(
                    f"{actor.__qualname__}.key {actor.key!r} is a {kind} in "
                    f"{contract.contract_name}.",
                    advice="A key is a str, an int, bytes, a UUID, or an Enum of those.",
                    field=actor.key,
                )
            named.setdefault(kind, contract.contract_name)
    if len(named) > 1:
        found = ", ".join(f"{kind} (in {contract})" for kind, contract in sorted(named.items()))
        raise SpecError(
            f"the keys {actor.key!r} of {actor.__qualname__} have several types: {found}.",
            advice="Give the field one type: 12 and '12' are the same key in a store.",
            field=actor.key,
        )
    return behaviour


def contract_offered(behaviour: Behaviour) -> str:
    """The name of a contract that a keyed actor handles: all of them are routed alike."""
    contract: type[Contract] = next(iter(behaviour.handlers.values())).contract
    return contract.contract_name


def key_kinds(annotation: Any) -> set[str]:
    """The types of the keys that an annotation allows: only keys of one type differ by their text.

    A type that is none of a key has its own name.
    """
    annotation = getattr(annotation, "__supertype__", annotation)  # Of a `NewType`.
    origin = get_origin(annotation)
    if origin is Annotated:
        return key_kinds(get_args(annotation)[0])
    if origin is Literal:
        return _kinds_of_values(get_args(annotation))
    if origin in {Union, types.UnionType}:
        return {kind for part in get_args(annotation) for kind in key_kinds(part)}
    if annotation is types.NoneType:
        return set()  # A message without a key is refused when it is sent.
    if not isinstance(annotation, type):
        return {str(annotation)}
    if issubclass(annotation, enum.Enum):
        return _kinds_of_values([member.value for member in annotation])
    return {_kind_of(annotation)}


def _kinds_of_values(values: Iterable[Any]) -> set[str]:
    return {
        _kind_of(type(value.value if isinstance(value, enum.Enum) else value)) for value in values
    }


def _kind_of(cls: type) -> str:
    return next((kind.__name__ for kind in KEY_TYPES if issubclass(cls, kind)), cls.__qualname__)
