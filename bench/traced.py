"""What traces cost an ask: by the processor time of the whole process, its sending thread included.

The collector is a process of its own (`python -m bench.traced`), so that its time does not count.
"""

import asyncio
import contextlib
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import callboard
from bench.ours.ask import Answerer, Question
from bench.workload import ask_request
from callboard.telemetry import TracingSettings

__all__ = ["can_trace", "trace_figures"]

ROUNDS = 5
WINDOW = 500


class _Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take a request, and forget it."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def _collector() -> Iterator[str]:
    """The URL of a collector that forgets what it gets."""
    command = [sys.executable, "-m", "bench.traced"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1/traces"
        finally:
            process.kill()


def can_trace() -> bool:
    """Whether the extra `tracing` is installed."""
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ImportError:
        return False


async def _ask_us(asks: int, tracing: TracingSettings | None) -> float:
    """The processor time of one ask to another host of the same process, in microseconds."""
    taken = []
    async with callboard.start(
        engine="inline", hosts=1, journal="off", metrics_s=0, tracing=tracing
    ) as system:
        answerer = await system.spawn(Answerer)
        for _ in range(ROUNDS):
            begun_s = time.process_time()
            for start in range(0, asks, WINDOW):
                numbers = range(start, min(start + WINDOW, asks))
                window = [answerer.ask(Question(**ask_request(number))) for number in numbers]
                for each in window:
                    await each
            taken.append((time.process_time() - begun_s) / asks * 1e6)
    return statistics.median(taken)


def trace_figures(asks: int) -> dict[str, float]:
    """An ask without traces, in one that is not recorded, and in one that is (two spans)."""
    with _collector() as endpoint:
        ways = {
            "ask_untraced_us": None,
            "ask_unrecorded_us": TracingSettings(endpoint=endpoint, ratio=0.0),
            "ask_traced_us": TracingSettings(endpoint=endpoint, delay_s=0.1),
        }
        return {name: asyncio.run(_ask_us(asks, tracing)) for name, tracing in ways.items()}


def _serve() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve()
