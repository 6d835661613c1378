"""The store of keyed actors' states: its port, and its client for a store that is an actor."""

import contextlib
from typing import Any, Final, Protocol, runtime_checkable

from ..core.contract import Contract, Request
from ..core.errors import HostLost, StateConflict
from ..core.ref import Ref
from .errors import WriterFenced

__all__ = [
    "ActorStore",
    "ClaimingStore",
    "EncodedState",
    "KeyedStore",
    "LoadState",
    "LoadedState",
    "MemoryStore",
    "SaveState",
    "SavedState",
    "check_fence",
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
    """The fencing token of the incarnation that wrote it, as text; other text, of an earlier
    release, counts as token 0."""

    @property
    def fence(self) -> int:
        """The fencing token of the incarnation that wrote it."""
        return int(self.writer) if self.writer.isdecimal() else 0


class LoadedState(Contract, name="callboard.loaded_state"):
    """A state and its version; no state and version 0 when none was ever saved."""

    state: EncodedState | None = None
    version: int = 0


class LoadState(Request[LoadedState], name="callboard.load_state"):
    """Load the state of a key."""

    kind: str
    key: str
    fence: int = 0
    """The fencing token of the loading incarnation, which claims the key; 0 to only look."""


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
        new one. A store that compares the tokens (`EncodedState.fence`) raises `WriterFenced`
        for a lower one than that of the stored state.
        """


@runtime_checkable
class ClaimingStore(KeyedStore, Protocol):
    """A `KeyedStore` that learns of each new incarnation before its first save."""

    async def claim(self, kind: str, key: str, fence: int) -> LoadedState:
        """Load, and refuse from now on the saves of lower tokens for this key.

        Raises `WriterFenced` when a higher token has claimed the key or saved its state.
        """


def check_fence(kind: str, key: str, fence: int, newest: int) -> None:
    """Raise `WriterFenced` for a token below the newest one of the key."""
    if fence < newest:
        raise WriterFenced(
            f"the key {key!r} of {kind} belongs to an incarnation with fencing token {newest}; "
            f"this one has {fence}.",
            advice="A newer process has taken the key over, and this one ends. If none has: the "
            "clock of the machine that started the system is behind that of an earlier one.",
            may_have_run=False,
        )


class MemoryStore:
    """A `KeyedStore` in a dictionary.

    Sending it to another process copies it. Put it into a `StoreActor` so that states
    outlive a host.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], LoadedState] = {}
        self._claims: dict[tuple[str, str], int] = {}
        """The newest token of each key; the state itself has none before its first save."""

    async def load(self, kind: str, key: str) -> LoadedState:
        """See `KeyedStore`."""
        return self._kept.get((kind, key)) or LoadedState()

    async def claim(self, kind: str, key: str, fence: int) -> LoadedState:
        """See `ClaimingStore`."""
        check_fence(kind, key, fence, self._claims.get((kind, key), 0))
        self._claims[kind, key] = fence
        return await self.load(kind, key)

    async def save(self, kind: str, key: str, state: EncodedState | None, version: int) -> int:
        """See `KeyedStore`."""
        if state is not None:
            await self.claim(kind, key, state.fence)
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
        return await self.claim(kind, key, 0)

    async def claim(self, kind: str, key: str, fence: int) -> LoadedState:
        """See `ClaimingStore`. Repeated when the store's host dies meanwhile."""
        request = LoadState(kind=kind, key=key, fence=fence)
        for _ in range(LOAD_TRIES - 1):
            with contextlib.suppress(HostLost):
                return await self._ref.ask(request)
        return await self._ref.ask(request)

    async def save(self, kind: str, key: str, state: EncodedState | None, version: int) -> int:
        """See `KeyedStore`."""
        request = SaveState(kind=kind, key=key, state=state, version=version)
        return (await self._ref.ask(request)).version
