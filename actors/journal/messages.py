"""The contracts of a log that is an actor: append, read, and wait for new events."""

from pydantic import Field

from callboard.messages.core.contract import Contract, Request
from callboard.messages.storage.events import ANY, Appended, NewEvent, RecordedEvent

__all__ = [
    "AppendEvents",
    "AwaitHead",
    "EventsAppended",
    "EventsRead",
    "LogHead",
    "ReadEvents",
    "ReadStream",
    "VersionOf",
]


class EventsAppended(Contract, name="callboard.log.events_appended"):
    """The place of the events; see `Appended`."""

    first: int
    last: int
    version: int
    is_repeat: bool

    def appended(self) -> Appended:
        """The same values as an `Appended`."""
        return Appended(self.first, self.last, self.version, self.is_repeat)


class AppendEvents(Request[EventsAppended], name="callboard.log.append_events"):
    """Append events to a stream; the reply comes once they are durable."""

    stream: str = Field(min_length=1)
    events: tuple[tuple[bytes, str, bytes, int, bytes], ...]
    """The fields of `NewEvent`, in order."""
    expected: int = ANY
    follows: bytes = b""

    def new_events(self) -> tuple[NewEvent, ...]:
        """The events as `NewEvent`s."""
        return tuple(map(NewEvent._make, self.events))


class EventsRead(Contract, name="callboard.log.events_read"):
    """A page of events."""

    events: tuple[tuple[int, str, int, bytes, str, int, bytes, bytes, float], ...]
    """The fields of `RecordedEvent`, in order."""

    def recorded(self) -> list[RecordedEvent]:
        """The events as `RecordedEvent`s."""
        return list(map(RecordedEvent._make, self.events))


class ReadEvents(Request[EventsRead], name="callboard.log.read_events"):
    """Read events of all streams; see `EventStore.read`."""

    after: int = Field(ge=0)
    limit: int = Field(ge=1)
    kinds: tuple[str, ...] | None = None


class ReadStream(Request[EventsRead], name="callboard.log.read_stream"):
    """Read events of one stream; see `EventStore.read_stream`."""

    stream: str
    after: int = Field(default=0, ge=0)
    limit: int = Field(default=1_000, ge=1)
    backwards: bool = False


class LogHead(Contract, name="callboard.log.head"):
    """The position of the log's last event."""

    head: int


class AwaitHead(Request[LogHead], name="callboard.log.await_head"):
    """Ask for the log's head; the reply waits until it is above `after`, at most `wait_s`."""

    after: int = -1
    wait_s: float = Field(default=0.0, ge=0)


class VersionOf(Request[LogHead], name="callboard.log.version_of"):
    """Ask for the version of a stream's last event; the reply has it as `head`."""

    stream: str
