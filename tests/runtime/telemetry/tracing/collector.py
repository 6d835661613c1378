"""A collector of traces: a real HTTP server that decodes the published Protobuf of OTLP."""

import dataclasses
import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

__all__ = ["WAIT_S", "CollectedSpan", "Collector", "collecting"]

WAIT_S: Final = 20.0


@dataclasses.dataclass(frozen=True)
class CollectedSpan:
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    is_error: bool
    message: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    links: tuple[str, ...]
    began_ns: int
    ended_ns: int


class Collector:
    """The spans that have come, and how the next requests are answered."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[CollectedSpan] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.answers: Final = threading.Event()
        """Cleared, requests hang."""
        self.answers.set()
        self._news: Final = threading.Condition()

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        with self._news:
            self.bodies.append(body)
            self.headers.append(headers)
            for group in request.resource_spans:
                resource = _plain(group.resource.attributes)
                for scope in group.scope_spans:
                    self.spans += [_collected(span, resource) for span in scope.spans]
            self._news.notify_all()

    def wait(self, until: Callable[[list[CollectedSpan]], bool]) -> list[CollectedSpan]:
        """The spans, once they are enough. Call it in a thread."""
        with self._news:
            if not self._news.wait_for(lambda: until(self.spans), WAIT_S):
                raise TimeoutError(f"only {[span.name for span in self.spans]} have come")
            return list(self.spans)

    def named(self, name: str) -> list[CollectedSpan]:
        return [span for span in self.spans if span.name == name]


def _plain(attributes: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in attributes
    }


def _collected(span: Any, resource: dict[str, Any]) -> CollectedSpan:
    return CollectedSpan(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.status.code == 2,
        span.status.message,
        _plain(span.attributes),
        resource,
        tuple(link.span_id.hex() for link in span.links),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a port of its own, until the end."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.answers.wait(WAIT_S)
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if collector.status == 200 and self.path == "/v1/traces":
                collector.take(body, dict(self.headers))
            self.send_response(collector.status if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing: the tests read what comes."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield collector
    finally:
        collector.answers.set()
        server.shutdown()
        thread.join()
        server.server_close()
