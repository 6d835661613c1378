"""What other nodes wrote or deleted, heard over Redis; and since when nothing was missed.

Redis' publish and subscribe, not its client-side tracking: a message of ours says who wrote and
which version, so the writer keeps its own entry and a late message does not remove a newer
one. Tracking names only keys, would remove from a node what it has just written itself, and
exists in redis-py for blocking clients alone. What tracking sees and this does not (keys that
Redis evicts or that are flushed by hand) makes no copy in a local tier wrong.

Messages are sent within the step that writes (see `scripts`), so there is no write without its
message. They may be lost with the connection; therefore the subscriber sends pings on the same
connection. When a ping is answered, all that was published before it was sent has been heard.
"""

import asyncio
import contextlib
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

FLUSH: Final = "*"
"""In place of keys: forget everything."""

VERSION_BYTES: Final = 8


class Invalidation(NamedTuple):
    """What one message says."""

    origin: str
    versions: Mapping[str, bytes | None] | None
    """By key the version that was written, None for a delete; None in all: forget everything."""


def encode_invalidation(origin: str, values: Mapping[str, bytes] | Collection[str] | None) -> bytes:
    """The message that these values were written, or these keys deleted, by `origin`."""
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
    """What `encode_invalidation` made; anything else means: forget everything."""
    try:
        origin, body = msgpack.unpackb(message)
        if isinstance(origin, str) and isinstance(body, dict):
            return Invalidation(origin, body)
        return Invalidation(str(origin), None)
    except (ValueError, TypeError, msgpack.UnpackException):
        return Invalidation("", None)


class Subscription:
    """Listens on one channel until it is closed; comes back by itself when it is cut off."""

    def __init__(
        self,
        url: str,
        channel: str,
        *,
        ping_s: float,
        heard: Callable[[bytes], None],
        began: Callable[[], None],
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        """`began` is called whenever messages may have been missed; both never wait."""
        self.confirmed_s = float("-inf")
        """All that was published before this moment, by `clock`, has been heard."""
        self.begun = 0
        """How often a subscription was made."""
        self.lost = 0
        """How often one was lost."""
        self._url = url
        self._channel = channel
        self._ping_s = ping_s
        self._heard = heard
        self._began = began
        self._clock = clock
        self._circuit = Circuit(chance)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            client = connect(self._url, CALL_S_MAX, connections_max=1)
            listener = client.pubsub()
            begun = self.begun
            try:
                await self._listen(listener)
            except UNREACHABLE:
                self.lost += self.begun > begun
                self._circuit.probes()
                self._circuit.failed()
            finally:
                with contextlib.suppress(*UNREACHABLE):
                    await listener.aclose()
                    await client.aclose(close_connection_pool=True)
            await asyncio.sleep(self._circuit.delay_s())

    async def _listen(self, listener: Any) -> None:
        """Raises one of `UNREACHABLE` when the connection is lost, or silent for too long."""
        async with asyncio.timeout(CALL_S_MAX):
            await listener.subscribe(self._channel)
        asked_s = self._clock()
        is_answered = False
        while True:
            wait_s = max(0.0, asked_s + self._ping_s - self._clock())
            message = await listener.get_message(timeout=wait_s)
            match message and message["type"]:
                case "message":
                    self._heard(message["data"])
                case "subscribe":
                    # A second one would mean that the library has connected again by itself.
                    self.begun += 1
                    self._began()
                    self._circuit.answered()
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
