"""Opening a system on the running event loop, and leaving it: the driver's two ways in."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Final, Unpack

from ..hosting.settings import Settings, SettingsOptions, settings_of
from .system import System

__all__ = ["attach", "start"]

INTERRUPTED_STOP_S: Final = 1.5
"""How long actors may take to stop after Ctrl-C: ending Ray takes about as long again, and
everything has to be gone within 5 s."""


@contextlib.asynccontextmanager
async def start(
    settings: Settings | None = None, /, **options: Unpack[SettingsOptions]
) -> AsyncIterator[System]:
    """Start a system on the running event loop and stop it at the end.

    A detached one goes on: only this driver leaves it at the end. `options` are the fields
    of `Settings`; what they leave out or None, the environment may say (`CALLBOARD_HOSTS`
    and so on). Raises `SpecError` for a wrong one, `NameTaken` for a detached system that
    runs already, and `ClusterUnreachable` or another `ClusterError` when the hosts cannot be
    had.
    """
    system = System(settings if settings is not None else settings_of(options, os.environ))
    async with _open(system):
        yield system


@contextlib.asynccontextmanager
async def attach(
    name: str,
    *,
    address: str | None = None,
    start_timeout_s: float | None = None,
) -> AsyncIterator[System]:
    """Take part in a running detached system, and leave it at the end.

    `address` is its cluster's, `"auto"` for the one of this machine; None: what
    `CALLBOARD_ADDRESS` or `RAY_ADDRESS` say. Several drivers may be there at once. This one's
    asks end with it; the system, its actors and its executions go on.

    The root may die meanwhile: the driver waits until it is back. When the system is
    stopped, or this process was silent for so long that it was dropped, waits end with
    `HostLost`. Raises `ActorNotFound` when no such system runs, `SpecError` without an
    address, `ClusterError` when the cluster cannot be used.
    """
    options = {
        "name": name,
        "address": address,
        "start_timeout_s": start_timeout_s,
        "detached": True,
    }
    system = System(settings_of(options, os.environ), joins=True)
    async with _open(system):
        yield system


@contextlib.asynccontextmanager
async def _open(system: System) -> AsyncIterator[None]:
    interrupted = False
    try:
        await system.open()
        yield
    except (asyncio.CancelledError, KeyboardInterrupt):
        interrupted = True
        if system.failure is not None:
            raise system.failure from None
        raise
    finally:
        timeout_s = INTERRUPTED_STOP_S if interrupted else system.settings.stop_timeout_s
        await asyncio.shield(asyncio.ensure_future(system.close(timeout_s)))
