"""The package websockets: `hub`, by its own `broadcast` to all connections."""

import functools

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from bench.entry import serve as serve_figures
from bench.hub import SIZES, client_process, publish_all, rates
from bench.outcome import Outcome, Params, check_of

__all__: list[str] = []

BUFFERED_BYTES_MAX = 1 << 17
MARK = '"event_id":'


async def _rate(connections: int, events: int) -> tuple[float, int]:
    found: set[ServerConnection] = set()

    async def handle(connection: ServerConnection) -> None:
        found.add(connection)
        await connection.recv()
        await connection.send("ready")
        await connection.wait_closed()

    def is_blocked() -> bool:
        return any(each.transport.get_write_buffer_size() > BUFFERED_BYTES_MAX for each in found)

    def publish(data: bytes) -> None:
        broadcast(found, data.decode())

    async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
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
    serve_figures({"hub": hub})
