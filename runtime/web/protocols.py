"""What the server changes of uvicorn's two protocols: limits of time, and a short way out.

Both classes extend uvicorn's own. They add what no server of Python has by itself: a connection
that says nothing, half a head, or that never reads, ends; and a ping flood costs no memory. A
stream is written past uvicorn's `send`, which costs more than the rest of a delivery.
"""

import asyncio
import json
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Final, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from ..transport.tcp import tune
from .settings import WebLimits

__all__ = ["CONNECTION", "HttpProtocol", "StreamConnection", "stream_connection"]

LOGGER: Final = logging.getLogger("callboard.web.server")
"""Uvicorn and websockets write here. They log what strangers send, so only errors pass."""
LOGGER.setLevel(logging.ERROR)
CONNECTION: Final = "callboard.connection"
"""The extension of a scope that holds the connection itself."""
SHORT_MAX: Final = 125
MEDIUM_MAX: Final = 65_535
TEXT: Final = 0x81
BINARY: Final = 0x82
"""The first byte of an unbroken frame."""
CLOSE_REPLY_S: Final = 2.0
"""How long a peer that has taken everything may wait with its close."""
FLUSH_BYTES: Final = 1 << 16
TOO_MANY_FRAMES: Final = 3013
REASON_BYTES_MAX: Final = 123


class _Patient:
    """Cuts a connection off whose peer takes nothing; what both protocols do before uvicorn's."""

    limits: ClassVar[WebLimits] = WebLimits()
    """A server sets its own in a subclass."""
    transport: asyncio.Transport
    _stalled: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """The peer does not take what waits: it has some seconds."""
        super().pause_writing()  # type: ignore[misc]
        loop = asyncio.get_running_loop()
        self._stalled = loop.call_later(self.limits.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The peer has taken it."""
        self._forget_stall()
        super().resume_writing()  # type: ignore[misc]

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._forget_stall()
        super().connection_lost(exc)  # type: ignore[misc]

    def _forget_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class HttpProtocol(_Patient, H11Protocol):
    """One HTTP connection, until it is a WebSocket."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.logger = LOGGER
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the peer some seconds for its first head, or refuse one connection too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections_max:
            transport.abort()
            return
        _notice_vanished(transport, self.limits.stalled_s)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Read on; a head must be whole in time, also one after others."""
        super().data_received(data)
        self._watch_head()

    def _watch_head(self) -> None:
        is_ours = self.transport.get_protocol() is self
        if not is_ours or self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_watching()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.head_timeout_s, self._cut_off)

    def _cut_off(self) -> None:
        self._head_timer = None
        # After an upgrade the transport has another protocol, which goes on.
        if self.transport.get_protocol() is self and self.conn.their_state is h11.IDLE:
            self.transport.abort()

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def on_response_complete(self) -> None:
        """Wait for another request only as long as uvicorn's own timer for that."""
        self._stop_watching()
        super().on_response_complete()
        if self.conn.trailing_data[0]:
            self._watch_head()  # A part of another request has come already.

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._stop_watching()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, as a problem like others."""
        fields = {"type": "about:blank", "title": "Bad Request", "status": 400}
        body = json.dumps({**fields, "detail": "This is no HTTP request.", "code": "bad_request"})
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            for event in (response, h11.Data(data=body.encode()), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class StreamConnection(_Patient, WebSocketsSansIOProtocol):
    """One WebSocket. `write` and `end` are for the endpoints of streams, in place of `send`."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.logger = LOGGER
        self.conn.logger = LOGGER
        # With a debug level of websockets' own logger it would log frames, and so tokens.
        self.conn.debug = False
        self.on_unblocked: Callable[[], None] = _nothing
        """Called when the peer has taken what waited, so that `write` may go on."""
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._controls = 0
        self._counted_at = 0.0

    def handle_connect(self, event: Any) -> None:
        """Begin the endpoint, and give it this connection."""
        super().handle_connect(event)
        if not self.close_sent:
            cast("dict[str, Any]", self.scope["extensions"])[CONNECTION] = self

    # --- for endpoints -------------------------------------------------------------------------

    @property
    def is_blocked(self) -> bool:
        """Whether the peer does not take what waits: `write` no more until `on_unblocked`."""
        return not self.writable.is_set()

    def write(self, message: bytes, *, is_text: bool) -> None:
        """Send one message, which the peer reads as text or as bytes; `flush` sends it."""
        first, size = TEXT if is_text else BINARY, len(message)
        if size <= SHORT_MAX:
            head = bytes((first, size))
        elif size <= MEDIUM_MAX:
            head = bytes((first, SHORT_MAX + 1)) + size.to_bytes(2, "big")
        else:
            head = bytes((first, SHORT_MAX + 2)) + size.to_bytes(8, "big")
        self._unsent += head, message
        self._unsent_bytes += size
        if self._unsent_bytes > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Give what was written to the kernel, in one call: a call costs more than its bytes."""
        unsent, self._unsent, self._unsent_bytes = self._unsent, [], 0
        if unsent and not self.close_sent and not self.disconnected:
            self.transport.write(b"".join(unsent))

    def keep_alive(self, every_s: float) -> None:
        """Send pings of WebSocket's own, for clients that know no others."""
        self.ping_interval = every_s
        self.ping_timeout = every_s
        self.start_keepalive()

    def end(self, code: int, reason: str) -> None:
        """Close with a code and a reason, after all that was written."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.flush()
        self.stop_keepalive()
        self.conn.send_close(code, _cut(reason))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        # A peer that reads answers at once; one that does not gets the time of a stalled one.
        waits = self.transport.get_write_buffer_size() > 0
        after_s = self.limits.stalled_s if waits else CLOSE_REPLY_S
        self.close_timer = self.loop.call_later(after_s, self.transport.abort)

    # --- what the peer may not do --------------------------------------------------------------

    def resume_writing(self) -> None:
        """The peer has taken what waited: go on."""
        super().resume_writing()
        self.on_unblocked()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the endpoint."""
        self.on_unblocked = _nothing
        super().connection_lost(exc)

    def handle_ping(self) -> None:
        """Answer, unless the peer floods or does not take the answers."""
        if self._is_flooded() or self.is_blocked:
            self.conn.data_to_send()  # A pong that nobody takes would only fill the memory.
        else:
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Take it, unless the peer floods."""
        if not self._is_flooded():
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        """Add a part of a message; an empty one would add to the list, and never to the size."""
        if self._is_flooded():
            return
        if event.data or event.fin:
            super().handle_cont(event)

    def _is_flooded(self) -> bool:
        now = self.loop.time()
        if now - self._counted_at >= 1.0:
            self._counted_at, self._controls = now, 0
        self._controls += 1
        if self._controls > self.limits.control_frames_per_s:
            self.end(TOO_MANY_FRAMES, "too many frames")
        return self.close_sent


def stream_connection(scope: Any) -> StreamConnection:
    """The connection of a WebSocket's scope."""
    found = scope["extensions"][CONNECTION]
    assert isinstance(found, StreamConnection)
    return found


def _nothing() -> None:
    pass


def _cut(reason: str) -> str:
    """A reason on one line, of the bytes that a close frame has room for."""
    data = " ".join(reason.split()).encode("utf-8", "replace")[:REASON_BYTES_MAX]
    return data.decode("utf-8", "ignore")


def _notice_vanished(transport: asyncio.Transport, after_s: float) -> None:
    """Let the kernel end a connection whose peer has acknowledged nothing for so long."""
    found = transport.get_extra_info("socket")
    if found is None or not isinstance(transport.get_extra_info("sockname"), tuple):
        return
    tune(found)
    if sys.platform == "linux":
        # Longer than between nodes: for the kernel, a reader that pauses is one that vanished.
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(after_s * 1000))
