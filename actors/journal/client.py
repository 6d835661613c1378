"""The client of a log that is an actor: the calls of a journal, from any host."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Self

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import AskError
from callboard.messages.core.ref import Ref
from callboard.messages.core.timeouts import checked_timeout
from callboard.messages.storage.events import ANY, Appended, NewEvent, RecordedEvent

from .messages import AppendEvents, AwaitHead, ReadEvents, ReadStream, VersionOf
from .position import FollowedPosition, Listener

__all__ = ["LogClient"]

WAIT_S: Final = 1.0
"""How long a request for a new head waits in the log, in seconds. A stop of the log waits, too."""
RETRY: Final = Backoff(min_s=0.2, max_s=0.2)


class LogClient:
    """Appends to and reads from a `LogActor`; belongs to one event loop.

    Each call takes at most `timeout_s` seconds, and waits while the actor restarts. It raises
    what the journal raises, or an `AskError`. An append that failed with an `AskError` whose
    `may_have_run` is true may have happened: append the same events again, which their ids make
    safe.
    """

    def __init__(self, ref: Ref[Any], *, timeout_s: float = 30.0) -> None:
        self.ref: Final = ref
        self._timeout_s = checked_timeout(timeout_s)
        # An ask that fails (the log restarts, or is gone) is retried; readers get the error.
        self._position = FollowedPosition(
            self._await_head,
            name=f"the log at {ref}",
            every_s=0.0,
            backoff=RETRY,
            transient=AskError,
        )

    @property
    def head(self) -> int:
        """The highest position that this client has seen."""
        return self._position.value

    async def append(
        self,
        stream: str,
        events: Sequence[NewEvent],
        expected: int = ANY,
        *,
        follows: bytes = b"",
    ) -> Appended:
        """See `Journal.append`."""
        request = AppendEvents(
            stream=stream, events=tuple(events), expected=expected, follows=follows
        )
        reply = await self.ref.ask(request, timeout_s=self._timeout_s)
        return reply.appended()

    async def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """See `EventStore.read`; the actor limits a page, which may be shorter than `limit`."""
        request = ReadEvents(
            after=after, limit=limit, kinds=None if kinds is None else tuple(kinds)
        )
        return (await self.ref.ask(request, timeout_s=self._timeout_s)).recorded()

    async def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """See `EventStore.read_stream`; a page may be shorter than `limit`."""
        request = ReadStream(stream=stream, after=after, limit=limit, backwards=backwards)
        return (await self.ref.ask(request, timeout_s=self._timeout_s)).recorded()

    async def version_of(self, stream: str) -> int:
        """See `EventStore.version_of`."""
        return (await self.ref.ask(VersionOf(stream=stream), timeout_s=self._timeout_s)).head

    async def open(self) -> None:
        """Read the log's head. Raises an `AskError` when the log does not answer."""
        self._position.move((await self.ref.ask(AwaitHead(), timeout_s=self._timeout_s)).head)

    def on_commit(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on the loop with each new head; call the result to end that."""
        return self._position.on_move(listener)

    async def _await_head(self, after: int) -> int:
        request = AwaitHead(after=after, wait_s=WAIT_S)
        return (await self.ref.ask(request, timeout_s=WAIT_S + self._timeout_s)).head

    async def close(self) -> None:
        """Stop listening; the log itself stays open."""
        await self._position.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()
