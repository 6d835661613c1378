"""Ports of what is kept besides events: states by id, read models, and caches."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

__all__ = ["Cache", "ReadModelStore", "StateRow", "StateStore"]


class StateRow(NamedTuple):
    """A state as the primary store keeps it."""

    id: str
    version: int
    """Grows with every change; a row is only replaced by one with a higher version."""
    data: bytes


class StateStore(Protocol):
    """The primary store of states. Every method blocks: it is called in a thread.

    Raises what an `EventStore` raises.
    """

    def open(self) -> None:
        """See `EventStore.open`."""

    def upsert(self, table: str, rows: Sequence[StateRow]) -> list[bool]:
        """Keep these rows, in one transaction; for each, whether it was newer than what was."""

    def find_by_ids(self, table: str, ids: Sequence[str]) -> list[StateRow | None]:
        """The rows of these ids, in their order, read as one batch."""

    def delete(self, table: str, ids: Sequence[str]) -> None:
        """Forget them."""

    def close(self) -> None:
        """Let go of it; may be called twice."""


class ReadModelStore(Protocol):
    """Keeps read models and how far each has come. Every method blocks.

    A read model is a mapping of texts to bytes under a name.
    """

    def open(self) -> None:
        """See `EventStore.open`."""

    def position(self, model: str) -> int:
        """The position of the last event that is in it; 0 when it is new."""

    def apply(
        self, model: str, before: int, after: int, changes: Mapping[str, bytes | None]
    ) -> bool:
        """Bring the model from one position to another, in one transaction; None deletes.

        False, and nothing is changed, when it does not stand at `before`: somebody else has
        applied these events.
        """

    def get_many(self, model: str, keys: Sequence[str]) -> list[bytes | None]:
        """The values of these keys."""

    def items(
        self, model: str, prefix: str = "", *, after: str = "", limit: int = 1_000
    ) -> list[tuple[str, bytes]]:
        """Keys with the prefix and their values, in the order of the keys, behind `after`."""

    def promote(self, name: str, model: str) -> None:
        """Let a name mean this model from now on, at once for all readers."""

    def meaning(self, name: str) -> str:
        """The model that a name means; the name itself when it was never switched."""

    def drop(self, model: str) -> None:
        """Forget a model and its position."""

    def close(self) -> None:
        """Let go of it; may be called twice."""


class Cache(Protocol):
    """A cache of bytes by key. It may forget at any time, and never fails.

    What cannot be reached is as good as empty: only speed is lost.
    """

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of these keys, in one batch; None for what is not there."""

    async def set_many(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        """Keep these values for about `ttl_s` (its expiry is jittered, never later)."""

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Forget these keys, here and wherever else they are cached."""

    async def close(self) -> None:
        """Let go of it; may be called twice."""
