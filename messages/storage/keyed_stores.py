"""The store of keyed actors' states: its port, and its client for a store that is an actor."""

import contextlib
from typing import Any, Final, Protocol

from ..core.contract import Contract, Request
from ..core.errors import HostLost, StateConflict
from ..core.ref import Ref

__all__ = [
    "ActorStore",
    "EncodedState",
    "KeyedStore",
    "LoadState",
    "LoadedState",
    "MemoryStore",
    "SaveState",
    "SavedState",
]

LOAD_TRIES: Final = 3


class EncodedState(Contract, name="callboard.encoded_state"):
    """A state as a store keeps it: reading it needs none of the user's code."""

    contract: str
    """The name of the state's contract; empty when the actor keeps no state."""
    version: int
    """The version of the contract."""
    fingerprint: int
    """A number that tells two schemas of the same version apart."""
    body: bytes
    """The fields, encoded."""
    buffers: tuple[bytes, ...] = ()
    """Large values of the fields, apart from the body."""
    writer: str = ""
    """The id of the writer: one incarnation of one activation."""


class LoadedState(Contract, name="callboard.loaded_state"):
    """A state and its version; no state and version 0 when none was ever saved."""

    state: EncodedState | None = None
    version: int = 0


class LoadState(Request[LoadedState], name="callboard.load_state"):
    """Load the state of a key."""

    kind: str
    key: str


class SavedState(Contract, name="callboard.saved_state"):
    """The version of the saved state."""

    version: int


class SaveState(Request[SavedState], name="callboard.save_state"):
    """Save a state in place of the one with `version`."""

    kind: str
    key: str
    state: EncodedState | None
    version: int


class KeyedStore(Protocol):
    """A store of states by kind (the name of the actor class) and key."""

    async def load(self, kind: str, key: str) -> LoadedState:
        """The state that was saved last. Raises `StoreFailed`."""

    async def save(self, kind: str, key: str, state: EncodedState | None, version: int) -> int:
        """Save a state in place of the one with `version`; gives the new version, `version + 1`.

        Raises `StateConflict`, and changes nothing, when the stored state is newer; and
        `StoreFailed`. A store with an older state, or none, has lost a state and accepts the
        new one.
        """


class MemoryStore:
    """A `KeyedStore` in a dictionary.

    Sending it to another process copies it. Put it into a `StoreActor` so that states
    outlive a host.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], LoadedState] = {}

    async def load(self, kind: str, key: str) -> LoadedState:
        """See `KeyedStore`."""
        return self._kept.get((kind, key)) or LoadedState()

    async def save(self, kind: str, key: str, state: EncodedState | None, version: int) -> int:
        """See `KeyedStore`."""
        before = (await self.load(kind, key)).version
        if before > version:
            raise StateConflict(
                f"the state of {kind} {key!r} has version {before}; this save replaces {version}.",
                advice="Load it again: another incarnation has saved a newer state.",
                may_have_run=False,
            )
        self._kept[kind, key] = LoadedState(state=state, version=version + 1)
        return version + 1


class ActorStore:
    """A `KeyedStore` that is an actor, on any host."""

    def __init__(self, ref: Ref[Any]) -> None:
        self._ref = ref

    async def load(self, kind: str, key: str) -> LoadedState:
        """See `KeyedStore`. Repeated when the store's host dies meanwhile."""
        for _ in range(LOAD_TRIES - 1):
            with contextlib.suppress(HostLost):
                return await self._ref.ask(LoadState(kind=kind, key=key))
        return await self._ref.ask(LoadState(kind=kind, key=key))

    async def save(self, kind: str, key: str, state: EncodedState | None, version: int) -> int:
        """See `KeyedStore`."""
        request = SaveState(kind=kind, key=key, state=state, version=version)
        return (await self._ref.ask(request)).version
