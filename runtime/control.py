"""The control plane of one system: the control host, its root and desk, and the engine.

It lives in the driver's process, and ends with it; or, when the system is detached, in a
process of its own.
"""

from collections.abc import Callable
from typing import Final

from callboard.messages.control import CONTROL_SLOT
from callboard.messages.errors import CallboardError
from callboard.messages.ports import Engine

from .environment import Environment
from .root.desk import open_desk
from .root.root import Root
from .settings import Settings
from .wiring import make_host

__all__ = ["Control"]


class Control:
    """Root, desk and hosts of one system, on the running event loop.

    `on_failed` is called once when the root gives up.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        environment: Environment,
        on_failed: Callable[[CallboardError], None],
    ) -> None:
        self._settings = settings
        self._engine = engine
        self.host, self._watchdog = make_host(
            slot=CONTROL_SLOT,
            epoch=environment.epoch(),
            name="driver",
            settings=settings,
            blobs=engine.blobs(),
            environment=environment,
        )
        engine.attach(self.host)
        self.root: Final = Root(self.host, engine, settings, on_failed, environment)
        open_desk(self.host, self.root, settings.name)

    async def start(self) -> None:
        """Bring up the hosts; raises a `ClusterError` when they cannot be had."""
        await self.root.start(self._settings.hosts or self._engine.default_hosts())

    async def stop(self, timeout_s: float) -> None:
        """Stop all actors in order, and forget everything."""
        await self.root.stop(timeout_s)
        self._watchdog.stop()
        await self.host.close()
