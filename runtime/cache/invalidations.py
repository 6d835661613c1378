"""Messages over Redis about the writes and deletes of other nodes, and proof that none is missing.

This uses Redis' publish and subscribe, not its client-side tracking. A message names the writer and
the version, so the writer keeps its own entry, and a late message does not remove a newer one.
Tracking names only keys. It would remove from a node what that node has just written, and redis-py
has it for blocking clients only. Keys that Redis evicts or that are flushed by hand, which only
tracking reports, make no copy in a local tier wrong.

The step that writes also sends the message (see `scripts`), so no write is without its message. A
message may be lost with the connection, so the subscriber sends pings on the same connection. The
answer to a ping proves that all messages published before the ping have arrived.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

import msgpack

from .circuit import Circuit
from .redis import CALL_S_MAX, UNREACHABLE, connect

__all__ = [
    "VERSION_BYTES",
    "Invalidation",
    "Subscription",
    "decode_invalidation",
    "encode_invalidation",
]

LOGGER: Final = logging.getLogger("callboard.cache")

FLUSH: Final = "*"
"""In place of keys: clear everything."""

VERSION_BYTES: Final = 8
CANCEL_AGAIN_S: Final = 0.1


class Invalidation(NamedTuple):
    """The contents of one message."""

    origin: str
    versions: Mapping[str, bytes | None] | None
    """For each key the written version, or None for a delete. None as a whole: clear everything."""


def encode_invalidation(origin: str, values: Mapping[str, bytes] | Collection[str] | None) -> bytes:
    """The message that `origin` wrote these values, or deleted these keys."""
    body: Any
    if values is None:
        body = FLUSH
    elif isinstance(values, Mapping):
        body = {key: value[:VERSION_BYTES] for key, value in values.items()}
    else:
        body = dict.fromkeys(values)
    packed: bytes = msgpack.packb((origin, body))
    return packed


def decode_invalidation(message: bytes) -> Invalidation:
    """The contents of a message. An unreadable message means: clear everything."""
    try:
        origin, body = msgpack.unpackb(message)
        if isinstance(origin, str) and isinstance(body, dict):
            return Invalidation(origin, body)
        return Invalidation(str(origin), None)
    except (ValueError, TypeError, msgpack.UnpackException):
        return Invalidation("", None)


class Subscription:
    """Listens on one channel until it is closed. It reconnects by itself."""

    def __init__(
        self,
        url: str,
        channel: str,
        *,
        ping_s: float,
        on_message: Callable[[bytes], None],
        on_gap: Callable[[], None],
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        """`on_gap` is called whenever messages may be missing. Neither callback may wait."""
        self.confirmed_s = float("-inf")
        """All messages published before this moment, by `clock`, have arrived."""
        self.begun = 0
        """The number of subscriptions made."""
        self.lost = 0
        """The number of subscriptions lost."""
        self._url = url
        self._channel = channel
        self._ping_s = ping_s
        self._on_message = on_message
        self._on_gap = on_gap
        self._clock = clock
        self._circuit = Circuit(chance)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Stop listening."""
        task = self._task
        if task is None:
            return
        while not task.done():
            # More than once: `asyncio.wait_for` of Python 3.11, which the client of Redis uses,
            # loses a cancellation that comes just as its work is done.
            task.cancel()
            await asyncio.wait((task,), timeout=CANCEL_AGAIN_S)
        await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            client = connect(self._url, CALL_S_MAX, connections_max=1)
            listener = client.pubsub()
            begun = self.begun
            try:
                await self._listen(listener)
            except Exception as error:  # noqa: BLE001 - without it, others' changes are never seen
                if not isinstance(error, UNREACHABLE):
                    LOGGER.warning("listening for invalidations failed, retrying: %r", error)
                self.lost += self.begun > begun
                self._circuit.begin_probe()
                self._circuit.record_failure()
            finally:
                with contextlib.suppress(*UNREACHABLE):
                    await listener.aclose()
                    await client.aclose(close_connection_pool=True)
            await asyncio.sleep(self._circuit.delay_s())

    async def _listen(self, listener: Any) -> None:
        """Listen. Raises one of `UNREACHABLE` when the connection is lost, or silent too long."""
        async with asyncio.timeout(CALL_S_MAX):
            await listener.subscribe(self._channel)
        asked_s = self._clock()
        is_answered = False
        while True:
            wait_s = max(0.0, asked_s + self._ping_s - self._clock())
            message = await listener.get_message(timeout=wait_s)
            match message and message["type"]:
                case "message":
                    self._on_message(message["data"])
                case "subscribe":
                    # A second one means that the library has reconnected by itself.
                    self.begun += 1
                    self._on_gap()
                    self._circuit.record_success()
                    self.confirmed_s, is_answered = asked_s, True
                case "pong":
                    self.confirmed_s, is_answered = asked_s, True
                case _:
                    if self._clock() < asked_s + self._ping_s:
                        continue
                    if not is_answered:
                        raise TimeoutError
                    asked_s, is_answered = self._clock(), False
                    async with asyncio.timeout(CALL_S_MAX):
                        await listener.ping()
