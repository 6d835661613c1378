"""One WebSocket: its frames to a session of the hub, and the session's frames back.

One task reads, and the next frame waits until the session has handled the one before. No task
writes: the hub says which sessions have something, and `Writer` takes it from all of them in the
next step of the loop, so that what was published in one step leaves in one frame. A peer that does
not read lets the session's own queue grow: the hub sees how old its head is, and decides.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, Protocol

from callboard.actors.streaming.ports import Closing, Codec, Session, SessionHub
from callboard.actors.streaming.protocol import Command, Connect, Disconnect
from callboard.messages.control.principals import Principal

from ..codecs.payload import BadFrame
from ..protocols import StreamConnection
from ..settings import WebLimits

__all__ = ["SocketCodec", "Stream", "Writer"]

LOGGER: Final = logging.getLogger("callboard.web")


class Writer:
    """Writes for all streams of a server, each in the step after the hub has called it ready."""

    def __init__(self) -> None:
        self._ready: list[Stream] = []

    def ready(self, stream: "Stream") -> None:
        """Something waits for this stream, or the hub has ended it."""
        if not self._ready:
            asyncio.get_running_loop().call_soon(self._write)
        self._ready.append(stream)

    def _write(self) -> None:
        ready, self._ready = self._ready, []
        for stream in ready:
            try:
                stream.write()
            except Exception:
                LOGGER.exception("a stream failed")
                stream.session.refuse(Disconnect.INTERNAL, "internal error")


class SocketCodec(Codec, Protocol):
    """A codec that also reads."""

    @property
    def is_text(self) -> bool:
        """Whether its frames are text, or bytes."""

    def decode(self, frame: bytes) -> Sequence[tuple[int, Command | None]]:
        """The numbered commands of a frame; None is a pong. Raises `BadFrame`."""


class Stream:
    """One WebSocket after its accept."""

    def __init__(
        self,
        connection: StreamConnection,
        codec: SocketCodec,
        limits: WebLimits,
        *,
        known: Callable[[], None],
        closings: Mapping[int, Closing],
        is_joined: bool = True,
    ) -> None:
        """`known` is called when the client has said who it is.

        `closings` has other codes and reasons for some of the hub's; without `is_joined` each
        line of a frame becomes a message of its own.
        """
        self._connection: Final = connection
        self._codec: Final = codec
        self._limits: Final = limits
        self._known: Final = known
        self._closings: Final = closings
        self._is_joined: Final = is_joined
        self._is_known = False
        self.session: Session

    def begin(
        self, hub: SessionHub, remote: str, principal: Principal | None, writer: Writer
    ) -> Session:
        """Open the session."""

        def ready() -> None:
            writer.ready(self)

        self._connection.on_unblocked = ready
        self.session = hub.open(self._codec, remote, principal, ready)
        return self.session

    async def run(self, receive: Callable[[], Any], *, introduces: bool) -> None:
        """Serve the connection until one side ends it; `introduces` connects for the client."""
        try:
            if introduces:
                await self.session.handle(0, Connect())
                self._note_known()
            await self._read(receive)
        except Exception:
            LOGGER.exception("a stream failed")
            self.session.refuse(Disconnect.INTERNAL, "internal error")
            self.write()
        finally:
            self.session.end()

    async def _read(self, receive: Callable[[], Any]) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            if message["type"] != "websocket.receive":
                continue
            try:
                commands = self._codec.decode(self._frame(message))
            except BadFrame as error:
                self.session.refuse(Disconnect.BAD_REQUEST, error.message)
                continue
            for number, command in commands:
                if self.session.closing is not None:
                    break
                if command is None:
                    self.session.pong()
                else:
                    await self.session.handle(number, command)
            self._note_known()

    def _frame(self, message: MutableMapping[str, Any]) -> bytes:
        text: str | None = message.get("text")
        if (text is not None) != self._codec.is_text:
            raise BadFrame("A text frame came where bytes are spoken, or the other way round.")
        frame: bytes = message["bytes"] if text is None else text.encode()
        if not self._is_known and len(frame) > self._limits.unknown_bytes_max:
            raise BadFrame("The first message is too large.")
        return frame

    def write(self) -> None:
        """Write what waits, as far as the peer takes it."""
        connection, session, is_text = self._connection, self.session, self._codec.is_text
        while not connection.is_blocked:
            frame = session.take_now(self._limits.joined_bytes_max)
            if not frame:
                break
            if self._is_joined:
                connection.write(frame, is_text=is_text)
            else:
                for line in frame.split(b"\n"):
                    connection.write(line, is_text=is_text)
        connection.flush()
        closing = session.closing
        if closing is not None:
            connection.end(*self._closings.get(closing.code, closing))

    def _note_known(self) -> None:
        if not self._is_known and self.session.principal is not None:
            self._is_known = True
            self._known()
