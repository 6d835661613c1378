"""Where the states of keyed actors are kept: the port, and how to ask a store that is an actor."""

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
    """A state as a store keeps it: it needs none of the user's code."""

    contract: str
    """Empty when the actor keeps no state."""
    version: int
    fingerprint: int
    body: bytes
    buffers: tuple[bytes, ...] = ()
    writer: str = ""
    """Who wrote it: one incarnation of one activation."""


class LoadedState(Contract, name="callboard.loaded_state"):
    """A state and its version: 0, and no state, when nothing has ever been saved."""

    state: EncodedState | None = None
    version: int = 0


class LoadState(Request[LoadedState], name="callboard.load_state"):
    """What is kept of a key."""

    kind: str
    key: str


class SavedState(Contract, name="callboard.saved_state"):
    """The version that the saved state has."""

    version: int


class SaveState(Request[SavedState], name="callboard.save_state"):
    """Keep a state in place of the one with `version`."""

    kind: str
    key: str
    state: EncodedState | None
    version: int


class KeyedStore(Protocol):
    """Keeps states by kind (the actor class' name) and key."""

    async def load(self, kind: str, key: str) -> LoadedState:
        """What was saved last."""

    async def save(self, kind: str, key: str, state: EncodedState | None, version: int) -> int:
        """Keep a state in place of the one with `version`; gives `version + 1`, its own.

        Raises `StateConflict`, and keeps what it has, when that is newer. A store that has
        an older one, or none, has lost something: it takes what it can get.
        """


class MemoryStore:
    """Keeps states in a dictionary.

    Sent to another process it is a copy: put it into a `StoreActor` when states are to
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
                f"the state of {kind} {key!r} is version {before}; who saves has {version}.",
                advice="An old incarnation wrote after a newer one: its write is refused.",
                may_have_run=False,
            )
        self._kept[kind, key] = LoadedState(state=state, version=version + 1)
        return version + 1


class ActorStore:
    """A store that is an actor, on whatever host."""

    def __init__(self, ref: Ref[Any]) -> None:
        self._ref = ref

    async def load(self, kind: str, key: str) -> LoadedState:
        """See `KeyedStore`. Asked again when the store's host dies meanwhile."""
        for _ in range(LOAD_TRIES - 1):
            with contextlib.suppress(HostLost):
                return await self._ref.ask(LoadState(kind=kind, key=key))
        return await self._ref.ask(LoadState(kind=kind, key=key))

    async def save(self, kind: str, key: str, state: EncodedState | None, version: int) -> int:
        """See `KeyedStore`."""
        request = SaveState(kind=kind, key=key, state=state, version=version)
        return (await self._ref.ask(request)).version
