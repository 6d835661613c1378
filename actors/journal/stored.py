"""The base of logs that read their store directly: the journal, and followed logs."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from callboard.messages.storage.events import EventStore, RecordedEvent

from ..kernel.threads import ThreadRunner
from .position import Listener, Position

__all__ = ["StoredLog"]

ReturnT = TypeVar("ReturnT")
READERS: Final = 4


class StoredLog:
    """Reads a log from its store, in a few threads. Belongs to one event loop."""

    def __init__(self, store: EventStore, position: Position, name: str) -> None:
        self.store: Final = store
        self.position: Final = position
        """The position of the last known event."""
        self._readers: Final = ThreadRunner(name, READERS)

    @property
    def head(self) -> int:
        """The position of the last known event."""
        return self.position.value

    async def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """See `EventStore.read`."""
        return await self.call(lambda: self.store.read(after, limit, kinds=kinds))

    async def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """See `EventStore.read_stream`."""
        return await self.call(
            lambda: self.store.read_stream(stream, after=after, limit=limit, backwards=backwards)
        )

    async def call(self, function: Callable[..., ReturnT], *args: Any) -> ReturnT:
        """Run a blocking call of the store in a thread for reads."""
        return await self._readers.call(function, *args)

    def on_commit(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on the loop with each new head; call the result to end that."""
        return self.position.on_move(listener)
