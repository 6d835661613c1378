"""The process behind `callboard up`: it holds Ray's head, and starts and stops the system.

    python -m callboard.runtime.cli.up_daemon NAME OPTIONS      # a JSON object of `Settings`

Ray's head is an embedded one: it listens on this machine only, takes free ports, and ends with this
process, also by kill -9. The system itself is a detached one, so its root and hosts are supervised
as on a cluster, and drivers attach to it.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from callboard.messages.core.errors import CallboardError

from ..api.approvals import start_approvals
from ..api.composition import detached_systems, make_engine, session_here
from ..api.local_systems import LocalFolder, LocalSystem
from ..api.start import start
from ..hosting.settings import Settings
from ..hosting.ui_settings import UiSettings
from ..transport.process_watch import identity_of
from ..web.settings import WebSettings
from .outcome import ExitCode

__all__ = ["main"]

LOGGER: Final = logging.getLogger("callboard.up")
NOT_OURS: Final = (
    "CALLBOARD_ADDRESS", "CALLBOARD_ENGINE", "CALLBOARD_NAME", "CALLBOARD_UI", "RAY_ADDRESS",
    "RAY_AUTH_TOKEN",
)  # fmt: skip
"""Variables that mean other systems than this one."""


def main(name: str, options: str) -> int:
    """Run the system until SIGTERM; gives the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    folder = LocalFolder(name)
    folder.make()
    lock = folder.lock()
    if not lock.take():
        return ExitCode.USAGE  # Another one has come first.
    try:
        for variable in NOT_OURS:
            os.environ.pop(variable, None)
        folder.write_token()
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(folder.token)
        asyncio.run(_Daemon(folder, json.loads(options)).run())
    except CallboardError as error:
        LOGGER.error("%s", error)  # noqa: TRY400 - it says what to do
        return ExitCode.FAILED
    finally:
        folder.forget()
        lock.release()
    return ExitCode.OK


class _Daemon:
    def __init__(self, folder: LocalFolder, options: Mapping[str, Any]) -> None:
        self._folder = folder
        self._options = options
        self._state = LocalSystem(name=folder.name, daemon=identity_of(os.getpid()))
        self._ending = asyncio.Event()

    async def run(self) -> None:
        """Start, wait for a signal, and stop."""
        loop, running = asyncio.get_running_loop(), asyncio.current_task()
        assert running is not None

        def end() -> None:
            if self._state.is_up:
                self._ending.set()
            else:
                running.cancel()

        self._folder.write(self._state)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        settings = self._settings()
        engine = make_engine(replace(settings, detached=False, address=None))
        try:
            await engine.start()
            # Ray takes SIGTERM over.
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, end)
            address, session = session_here()
            self._say(address=address, session=session)
            await self._hold(replace(settings, address=address, modules=()))
        except asyncio.CancelledError:
            LOGGER.info("the start of %s was ended", self._folder.name)
        finally:
            await engine.stop()

    def _settings(self) -> Settings:
        options = dict(self._options)
        web = WebSettings(port=options.pop("port", 0))
        pipelines = tuple(options.pop("pipelines", ()))
        return Settings(
            **options,
            name=self._folder.name,
            detached=True,
            address="",
            metrics="auto",
            alerts=True,
            ui=UiSettings(web=web, pipelines=pipelines, prints_link=False),
        )

    def _say(self, **facts: Any) -> None:
        self._state = replace(self._state, **facts)
        self._folder.write(self._state)

    async def _hold(self, settings: Settings) -> None:
        name = settings.name
        try:
            async with start(settings) as system:
                await start_approvals(system)
                self._say(urls=await system.ui.urls())
                LOGGER.info("%s is up", name)
                await self._ending.wait()
        finally:
            try:
                await detached_systems().stop_system(name, settings.stop_timeout_s)
            except CallboardError as error:
                LOGGER.warning("%s did not stop in order: %s", name, error)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
