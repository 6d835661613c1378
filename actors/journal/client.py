"""A log that is an actor, from any host: the same calls as the journal itself."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Self

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import AskError
from callboard.messages.core.ref import Ref
from callboard.messages.storage.events import ANY, Appended, NewEvent, RecordedEvent

from .messages import AppendEvents, AwaitHead, ReadEvents, ReadStream, VersionOf
from .position import FollowedPosition, Listener

__all__ = ["LogClient"]

WAIT_S: Final = 1.0
"""How long a question for news waits in the log: an ordered stop of the log waits for it."""
RETRY: Final = Backoff(min_s=0.2, max_s=0.2)


class LogClient:
    """Appends to and reads from a `LogActor`; belongs to one event loop.

    While the actor is restarted its callers wait. An append that failed with an error whose
    `may_have_run` is not False may have happened: append the same events again, their ids make
    that safe.
    """

    def __init__(self, ref: Ref[Any], *, timeout_s: float = 30.0) -> None:
        self.ref: Final = ref
        self._timeout_s = timeout_s
        # While the log is being restarted, or gone for now, whoever reads hears the reason.
        self._position = FollowedPosition(
            self._news, name=f"the log at {ref}", every_s=0.0, backoff=RETRY, passing=AskError
        )

    @property
    def head(self) -> int:
        """The highest position that has been seen here."""
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
        """See `EventStore.read`; the actor bounds a page, so it may give fewer than there are."""
        request = ReadEvents(
            after=after, limit=limit, kinds=None if kinds is None else tuple(kinds)
        )
        return (await self.ref.ask(request, timeout_s=self._timeout_s)).recorded()

    async def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """See `EventStore.read_stream`; a page may be shorter than asked for."""
        request = ReadStream(stream=stream, after=after, limit=limit, backwards=backwards)
        return (await self.ref.ask(request, timeout_s=self._timeout_s)).recorded()

    async def version_of(self, stream: str) -> int:
        """See `EventStore.version_of`."""
        return (await self.ref.ask(VersionOf(stream=stream), timeout_s=self._timeout_s)).head

    async def open(self) -> None:
        """Look at the head for the first time."""
        self._position.move((await self.ref.ask(AwaitHead(), timeout_s=self._timeout_s)).head)

    def on_commit(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on the loop with each new head that is seen; gives what ends that."""
        return self._position.on_move(listener)

    async def _news(self, after: int) -> int:
        request = AwaitHead(after=after, wait_s=WAIT_S)
        return (await self.ref.ask(request, timeout_s=WAIT_S + self._timeout_s)).head

    async def close(self) -> None:
        """Listen no more; the log goes on."""
        await self._position.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()
