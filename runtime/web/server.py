"""The edge of a hub: page, API and streams on one port, in the hub's process.

server = WebServer(WebSettings(), authenticator, routers=[routes], page=folder)
url = await server.start(hub)
...
await server.stop()
"""

import asyncio
import contextlib
import importlib
import logging
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.responses import JSONResponse, Response
from uvicorn import Config, Server

from callboard.actors.streaming.ports import Authenticator, SessionHub
from callboard.messages.core.errors import UsageError

from ..transport.tcp import bind
from .gate import Gate, Receive, Scope, Send
from .page_files import PageFiles
from .problems import install_problems, problem
from .protocols import LOGGER, HttpProtocol, StreamConnection
from .settings import WebSettings
from .streams.endpoints import CENTRIFUGO_PATH, PLAIN_PATH, Streams

__all__ = ["WebServer"]

FRAME_BYTES_MAX: Final = 1 << 16
"""The largest message of a client of a stream."""
KEEP_ALIVE_S: Final = 15
"""For how long an HTTP connection waits for another request."""
ORDERLY: Final = 0.5
"""The part of the time to stop that streams have to end in order."""
STREAM_PATHS: Final = (CENTRIFUGO_PATH, PLAIN_PATH)


class WebServer:
    """An `Edge` of the hub. `refusals` counts by reason what it did not serve."""

    def __init__(
        self,
        settings: WebSettings,
        authenticator: Authenticator,
        *,
        routers: Sequence[APIRouter] = (),
        page: Path | None = None,
    ) -> None:
        """`routers` are further routes; `page` is the folder of the page's files."""
        self.refusals: Final[Counter[str]] = Counter()
        self._settings: Final = settings
        self._streams: Final = Streams(
            authenticator, settings.limits, self.refusals, needs_token=settings.needs_token
        )
        self._app: Final = self._new_app(routers, page)
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    def _new_app(self, routers: Sequence[APIRouter], page: Path | None) -> FastAPI:
        version = str(importlib.import_module("callboard").__version__)
        app = FastAPI(title="Callboard", version=version, docs_url=None, redoc_url=None)
        install_problems(app)
        app.add_api_route("/healthz", self._healthz, tags=["health"], summary="Whether it serves")
        app.add_api_route("/readyz", self._readyz, tags=["health"], summary="Whether its hub does")
        app.include_router(self._streams.router)
        for router in routers:
            app.include_router(router)
        if page is not None:
            app.router.routes.extend(PageFiles(page).routes())
        return app

    async def start(self, hub: SessionHub) -> str:
        """Serve, and give the address as a URL. Raises `UsageError` if the port is taken."""
        settings = self._settings
        host = "127.0.0.1" if settings.host == "localhost" else settings.host.strip("[]")
        try:
            listener = bind(host, range(settings.port, settings.port + 1))
        except OSError as error:
            raise UsageError(
                f"The web server cannot listen on {settings.host}:{settings.port}: "
                f"{error.strerror or error}.",
                advice="Choose another port, or 0 for a free one.",
            ) from error
        port: int = listener.getsockname()[1]
        gate = Gate(
            self._dispatch,
            hosts=settings.names(port),
            origins=settings.pages(port),
            prefix=settings.prefix,
            limits=settings.limits,
            refusals=self.refusals,
        )
        self._server = _Server(_config(gate, settings))
        self._streams.hub = hub
        self._serving = asyncio.create_task(self._server.serve([listener]), name="callboard-web")
        await self._server.is_up.wait()
        return settings.url(port)

    async def stop(self) -> None:
        """End all connections in order, and those that do not end by force, within two seconds."""
        server, serving = self._server, self._serving
        if server is None or serving is None:
            return
        self._server = self._serving = None
        limit_s = self._settings.limits.stop_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s * ORDERLY):
                await self._streams.end()
        server.should_exit = True
        await asyncio.wait({serving}, timeout=limit_s * ORDERLY)
        for connection in tuple(server.server_state.connections):
            connection.transport.abort()
        await serving

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(self._settings.prefix)
        if path in STREAM_PATHS:
            await self._streams.websocket(scope, receive, send, path)
        else:
            await send({"type": "websocket.close"})

    async def _healthz(self) -> Response:
        """The process answers."""
        return JSONResponse({"status": "ok"})

    async def _readyz(self) -> Response:
        """The hub takes connections."""
        hub = self._streams.hub
        if self._server is None or hub is None or hub.is_full:
            return problem(503, "The hub takes no further connection.", code="not_available")
        return JSONResponse({"status": "ok"})


class _Server(Server):
    """Uvicorn's server as a part of a process that has signals of its own."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.is_up: Final = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone: the host of the hub handles them."""
        yield


def _config(gate: Gate, settings: WebSettings) -> Config:
    limits = {"limits": settings.limits}
    return Config(
        gate,
        http=type("SettledHttpProtocol", (HttpProtocol,), limits),
        ws=type("SettledStreamConnection", (StreamConnection,), limits),
        ws_max_size=FRAME_BYTES_MAX,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=settings.limits.header_bytes_max,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )


class _OwnDefects(logging.Filter):
    """Leaves out what is no defect: requests cut off at the end, and bytes that are no text."""

    def filter(self, record: logging.LogRecord) -> bool:
        found = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        return not isinstance(found, asyncio.CancelledError | UnicodeDecodeError)


LOGGER.addFilter(_OwnDefects())
