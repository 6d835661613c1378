"""The package picows: `hub`, a loop over its connections, without a protocol above WebSocket."""

import functools
import importlib
from typing import Any

import uvloop

from bench.entry import serve
from bench.hub import SIZES, client_process, publish_all, rates
from bench.outcome import Outcome, Params, check_of

__all__: list[str] = []

BUFFERED_BYTES_MAX = 1 << 17
MARK = '"event_id":'


async def _rate(connections: int, events: int) -> tuple[float, int]:
    picows: Any = importlib.import_module("picows")
    text = picows.WSMsgType.TEXT
    found: list[Any] = []

    class Listener(picows.WSListener):
        def on_ws_frame(self, transport: Any, _frame: Any) -> None:
            found.append(transport)
            transport.send(text, b"ready")

    def is_blocked() -> bool:
        return any(
            each.underlying_transport.get_write_buffer_size() > BUFFERED_BYTES_MAX for each in found
        )

    def publish(data: bytes) -> None:
        for each in found:
            each.send(text, data)

    server = await picows.ws_create_server(lambda _request: Listener(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with client_process(port, "/") as clients:
            await clients.order(open=connections, hello=["hello"], ready="ready")
            await clients.report()
            publishing = functools.partial(publish_all, events, publish, is_blocked)
            return await rates(clients, events, connections, MARK, publishing)


def hub(params: Params) -> Outcome:
    """Each event is a message."""
    figures, counts = {}, []
    for size in SIZES:
        rate, count = uvloop.run(_rate(params[size], params[f"{size}_events"]))
        figures[f"deliveries_{size}_per_s"] = rate
        counts.append(count)
    return Outcome(figures, check_of(counts), ("no protocol above WebSocket, no compression",))


if __name__ == "__main__":
    serve({"hub": hub})
