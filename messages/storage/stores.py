"""The ports of stores other than the log: states by id, read models, and caches."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

__all__ = ["Cache", "ReadModelStore", "StateRow", "StateStore"]


class StateRow(NamedTuple):
    """A state as the primary store keeps it."""

    id: str
    """The id of the execution."""
    version: int
    """Grows with every change; only a row with a higher version replaces another."""
    data: bytes
    """The state, as the codec encodes it."""


class StateStore(Protocol):
    """The primary store of states. Every method blocks: call it in a thread.

    Every method raises what an `EventStore` raises.
    """

    def open(self) -> None:
        """See `EventStore.open`."""

    def upsert(self, table: str, rows: Sequence[StateRow]) -> list[bool]:
        """Store these rows in one transaction.

        Gives for each whether it was stored: it is new, or its version is higher.
        """

    def find_by_ids(self, table: str, ids: Sequence[str]) -> list[StateRow | None]:
        """The rows of these ids, in their order, read as one batch; None for a missing row."""

    def delete(self, table: str, ids: Sequence[str]) -> None:
        """Delete these rows."""

    def close(self) -> None:
        """See `EventStore.close`."""


class ReadModelStore(Protocol):
    """A store of read models and their positions. Every method blocks: call it in a thread.

    A read model is a mapping of texts to bytes under a name. Every method raises what an
    `EventStore` raises.
    """

    def open(self) -> None:
        """See `EventStore.open`."""

    def position(self, model: str) -> int:
        """The position of the last event in the model; 0 for a new model."""

    def apply(
        self, model: str, before: int, after: int, changes: Mapping[str, bytes | None]
    ) -> bool:
        """Move the model from the position `before` to `after`, with these changes of rows.

        One transaction; None deletes a row. Gives False, and changes nothing, when the position
        is not `before`: another projector has applied these events.
        """

    def get_many(self, model: str, keys: Sequence[str]) -> list[bytes | None]:
        """The values of these keys; None for a missing row."""

    def items(
        self, model: str, prefix: str = "", *, after: str = "", limit: int = 1_000
    ) -> list[tuple[str, bytes]]:
        """Keys with the prefix and their values, sorted by key, those after `after`."""

    def promote(self, name: str, model: str) -> None:
        """Make the name refer to this model, for all readers at once."""

    def meaning(self, name: str) -> str:
        """The model that the name refers to; the name itself if no model was promoted."""

    def drop(self, model: str) -> None:
        """Delete a model and its position."""

    def close(self) -> None:
        """See `EventStore.close`."""


class Cache(Protocol):
    """A cache of bytes by key. It may drop entries at any time, and never raises.

    A cache that cannot be reached behaves like an empty one.
    """

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of these keys, in one batch; None for a missing key."""

    async def set_many(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        """Cache these values for at most `ttl_s` seconds (a jitter shortens the time)."""

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete these keys, in this cache and in the caches of other processes."""

    async def close(self) -> None:
        """Release the cache; may be called twice."""
