"""The identity of a log: positions count in it, and in no other log."""

from collections.abc import Awaitable, Callable

from callboard.messages.storage.events import RecordedEvent

__all__ = ["identity_of"]


async def identity_of(read: Callable[[int, int], Awaitable[list[RecordedEvent]]]) -> str:
    """The id of the log's first event, as text; empty while it has none.

    `read` is the method of that name of a log. A copy of a log has the same identity, because its
    positions mean the same events. Raises what the log raises.
    """
    found = await read(0, 1)
    return found[0].id.hex() if found else ""
