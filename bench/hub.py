"""What all sides of `hub` share: the process of the clients, the events, and the check.

A publisher gives a few events at a time, and goes on when no peer has more than the kernel takes:
nothing is dropped, and every delivery is counted at the client.
"""

import asyncio
import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bench.outcome import Params, check_of
from bench.timing import NS_PER_S, percentile

__all__ = [
    "HUB_FULL",
    "HUB_OURS",
    "HUB_OURS_SMOKE",
    "HUB_SMOKE",
    "SIZES",
    "ClientProcess",
    "client_process",
    "event_data",
    "expected_hub",
    "latencies",
    "publish_all",
    "rates",
]

ROOT: Final = Path(__file__).parent.parent
SIZES: Final = ("few", "many")
"""Two numbers of connections."""
EVENT_BYTES: Final = 200
AT_ONCE: Final = 16
"""Events of one turn of the publisher."""
REPORT_BYTES_MAX: Final = 1 << 24
HUB_FULL: Final = {"few": 100, "few_events": 4_000, "many": 1_000, "many_events": 400}
HUB_SMOKE: Final = {"few": 2, "few_events": 40, "many": 4, "many_events": 20}
HUB_OURS: Final = {
    "few": 100,
    "few_events": 10_000,
    "many": 1_000,
    "many_events": 1_000,
    "latency_events": 5_000,
    "agent_events": 5_000,
    "idle": 1_000,
    "storm": 2_000,
}
HUB_OURS_SMOKE: Final = {
    **HUB_SMOKE,
    "latency_events": 20,
    "agent_events": 0,
    "idle": 5,
    "storm": 5,
}


def expected_hub(params: Params) -> str:
    """The check: every event at every connection."""
    return check_of([params[size] * params[f"{size}_events"] for size in SIZES])


def event_data(number: int) -> bytes:
    """An event as JSON, of 200 bytes."""
    head = f'{{"event_id":"{number:08d}","at":{time.monotonic_ns()},"payload":"'
    return f'{head}{"x" * (EVENT_BYTES - len(head) - 2)}"}}'.encode()


class ClientProcess:
    """The load generator, seen from the server's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def order(self, **fields: Any) -> None:
        """Give an order; returns when it has been taken."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(fields).encode() + b"\n")
        await self.report()

    async def report(self) -> dict[str, Any]:
        """The next report."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise AssertionError("the clients have failed")
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.asynccontextmanager
async def client_process(
    port: int, path: str, *, niceness: int = 0
) -> AsyncIterator[ClientProcess]:
    """Start the clients of a server, and end them; `niceness` is how far they give way."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.hub_clients",
        str(port),
        path,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=REPORT_BYTES_MAX,
        preexec_fn=functools.partial(os.nice, niceness),
    )
    try:
        yield ClientProcess(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def publish_all(
    count: int, publish: Callable[[bytes], None], is_blocked: Callable[[], bool]
) -> None:
    """Publish so many events, a few at a time, as fast as the peers take them."""
    for first in range(0, count, AT_ONCE):
        for number in range(first, min(first + AT_ONCE, count)):
            publish(event_data(number))
        await asyncio.sleep(0)
        while is_blocked():  # noqa: ASYNC110 - the kernel reports no end of this
            await asyncio.sleep(0.0005)


async def rates(
    clients: ClientProcess,
    count: int,
    connections: int,
    mark: str,
    publishing: Callable[[], Awaitable[None]],
) -> tuple[float, int]:
    """Deliveries per second from the first event on, and their count at the clients."""
    await clients.order(count=count * connections, mark=mark)
    begun_ns = time.monotonic_ns()
    await publishing()
    report = await clients.report()
    return count * connections / ((report["done_ns"] - begun_ns) / NS_PER_S), report["deliveries"]


def latencies(name: str, times_ns: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile."""
    return {
        f"{name}_p50_ms": percentile(times_ns, 50) / 1e6,
        f"{name}_p99_ms": percentile(times_ns, 99) / 1e6,
    }
