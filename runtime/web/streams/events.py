"""Server-sent events: one channel of the hub as a response that does not end."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from starlette.responses import Response

from callboard.actors.streaming.ports import Closing, Session

from ..codecs.sse import COMMENT, ServerSentEvents, end

__all__ = ["EventStream"]

SILENCE_S: Final = 15.0
"""After so long without an event a comment shows that the connection lives."""
GONE: Final = Closing(1000, "")


class EventStream(Response):
    """The events of a session, until one side ends it."""

    media_type = "text/event-stream"

    def __init__(
        self, session: Session, codec: ServerSentEvents, ended: Callable[[], None]
    ) -> None:
        """`codec` is that of the session; `ended` is called once."""
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self._session: Final = session
        self._codec: Final = codec
        self._ended: Final = ended
        del self.headers["content-length"]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send events; the client's end is noticed in the moment that it comes."""
        writer = asyncio.create_task(self._write(send), name="callboard-events")
        leaving = asyncio.create_task(_left(receive), name="callboard-events-end")
        try:
            await asyncio.wait({writer, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._session.end()
            for task in (writer, leaving):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            self._ended()

    async def _write(self, send: Any) -> None:
        start = {"status": 200, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        while (frame := await self._next()) is not None:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
            while self._codec.is_over:
                frame = self._session.take_now() or b""
                await send({"type": "http.response.body", "body": frame, "more_body": bool(frame)})
                if not frame:
                    return  # The client comes back, from its position.
        last = end(*(self._session.closing or GONE))
        await send({"type": "http.response.body", "body": last})

    async def _next(self) -> bytes | None:
        try:
            async with asyncio.timeout(SILENCE_S):
                return await self._session.take()
        except TimeoutError:
            return COMMENT


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
