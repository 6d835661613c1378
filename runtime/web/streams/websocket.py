"""One WebSocket: its frames to a session of the hub, and the session's frames back.

One task reads, and the next frame waits until the session has handled the one before. Another task
writes what the session has for it, joined. A peer that does not read lets the session's own queue
grow, so that the hub sees how old its head is, and decides.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, Protocol

from callboard.actors.streaming.ports import Closing, Codec, Session
from callboard.actors.streaming.protocol import Command, Connect, Disconnect

from ..codecs.payload import BadFrame
from ..protocols import StreamConnection
from ..settings import WebLimits

__all__ = ["SocketCodec", "Stream"]

LOGGER: Final = logging.getLogger("callboard.web")
BLOCKED_CHECK_S: Final = 1.0
"""How often a writer that waits for its peer looks whether the hub has ended the session."""


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
        session: Session,
        codec: SocketCodec,
        limits: WebLimits,
        *,
        known: Callable[[], None],
        closings: Mapping[int, Closing],
        is_joined: bool,
    ) -> None:
        """`known` is called once, when the client has said who it is, or is gone.

        `closings` has other codes and reasons for some of the hub's; without `is_joined` each
        line of a frame becomes a message of its own.
        """
        self._connection: Final = connection
        self._session: Final = session
        self._codec: Final = codec
        self._limits: Final = limits
        self._known: Final = known
        self._closings: Final = closings
        self._is_joined: Final = is_joined
        self._is_known = False

    async def run(self, receive: Callable[[], Any]) -> None:
        """Serve the connection until one side ends it."""
        writer = asyncio.create_task(self._write(), name="callboard-stream")
        loop = asyncio.get_running_loop()
        stale = loop.call_later(self._limits.unknown_s, self._end_stale)
        try:
            if self._session.principal is not None:
                await self._session.handle(1, Connect())
            await self._read(receive)
        except Exception:
            LOGGER.exception("a stream failed")
            self._session.refuse(Disconnect.INTERNAL, "internal error")
            await writer
        finally:
            stale.cancel()
            self._session.end()
            writer.cancel()
            self._note_known(is_gone=True)

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
                self._session.refuse(Disconnect.BAD_REQUEST, error.message)
                continue
            for number, command in commands:
                if self._session.closing is not None:
                    break
                if command is None:
                    self._session.pong()
                else:
                    await self._session.handle(number, command)
            self._note_known()

    def _frame(self, message: MutableMapping[str, Any]) -> bytes:
        text: str | None = message.get("text")
        if (text is not None) != self._codec.is_text:
            raise BadFrame("A text frame came where bytes are spoken, or the other way round.")
        frame: bytes = message["bytes"] if text is None else text.encode()
        if not self._is_known and len(frame) > self._limits.unknown_bytes_max:
            raise BadFrame("The first message is too large.")
        return frame

    async def _write(self) -> None:
        session, connection, is_text = self._session, self._connection, self._codec.is_text
        while (frame := await session.take()) is not None:
            if self._is_joined:
                connection.write(frame, is_text=is_text)
            else:
                for line in frame.split(b"\n"):
                    connection.write(line, is_text=is_text)
            while connection.is_blocked and session.closing is None:
                await connection.unblocked(BLOCKED_CHECK_S)
        closing = session.closing
        if closing is not None:
            connection.end(*self._closings.get(closing.code, closing))

    def _end_stale(self) -> None:
        if not self._is_known and self._session.principal is None:
            self._session.refuse(Disconnect.STALE, "not authenticated in time")

    def _note_known(self, *, is_gone: bool = False) -> None:
        if not self._is_known and (is_gone or self._session.principal is not None):
            self._is_known = True
            self._known()
